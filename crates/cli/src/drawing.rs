//! Charts and contact sheets.
//!
//! plotters draws into memory with fonts embedded in the program, so that the output is the same on every
//! machine and no installed fonts are needed.

mod area;
mod bars;
mod curves;
mod histogram;
mod label;
mod sheet;
mod sketch;

pub(crate) use area::{CORRECT, GREY, INCORRECT, INK, OWN_PNG, png};
pub(crate) use bars::{Bar, BarGroup, Bars};
pub(crate) use curves::{Axis, Curves, Mark, Panel, number};
pub(crate) use histogram::{Cut, Histogram};
pub(crate) use label::{choose_font, missing_letters};
pub(crate) use sheet::{Cell, Sheet, thumbnail};
