//! Tests of the server over HTTP: in this process, on a free port, with small bundles.

#![expect(clippy::unwrap_used, reason = "in a test a panic is a failure")]

mod encoded;
mod explanations;
mod hostile;
mod malformed;
mod predictions;
mod protocol;
mod raw;
mod reloads;
mod small;
mod stopping;
mod turns;
