//! The program from outside: what a person types, and what comes back.

#![expect(clippy::unwrap_used, reason = "in a test a panic is a failure")]

mod bench;
mod conventions;
mod eda;
mod predict;
mod rates;
mod refused;
mod runs;
mod weights;
