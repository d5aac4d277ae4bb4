//! Tests of the workspace as a whole, in one binary: it links candle once.

#![expect(clippy::unwrap_used, reason = "in a test a panic is a failure")]
#![expect(clippy::print_stderr, reason = "a failing test prints its progress")]

mod competition;
mod configs;
mod explain;
mod exported;
mod golden;
mod labels;
mod learning;
mod library;
mod lr_find;
mod oracle;
mod phases;
mod repeatability;
mod resuming;
mod scale;
mod serving;
mod small;
mod soup;
mod zoo;
