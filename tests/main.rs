//! Tests of the workspace as a whole, in one binary: it links candle once.

mod golden;
mod oracle;
