//! Tests of the workspace as a whole, in one binary: it links candle once.

mod competition;
mod configs;
mod golden;
mod learning;
mod oracle;
mod repeatability;
mod serving;
mod small;
mod zoo;
