//! `maskfit`: trains, cross-validates and submits image classifiers.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the program: it talks to its user"
)]

mod args;
mod commands;
mod runs;
mod tables;
mod terminal;

use std::{
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
};

use clap::Parser as _;

/// The user's mistake, or the world's.
const FAILED: u8 = 1;
/// Ours.
const BUG: u8 = 2;
/// What a shell expects of a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// How a command ends that does not fail.
enum End {
    Done,
    Stopped,
}

fn main() -> ExitCode {
    ops::keep_freed_memory();
    let args = match args::Args::try_parse() {
        Ok(it) => it,
        Err(err) => {
            // Help goes to the output and is no failure; everything else is the user's mistake.
            drop(err.print());
            return ExitCode::from(if err.use_stderr() { FAILED } else { 0 });
        }
    };
    match panic::catch_unwind(AssertUnwindSafe(|| commands::run(args))) {
        Ok(Ok(End::Done)) => ExitCode::SUCCESS,
        Ok(Ok(End::Stopped)) => ExitCode::from(INTERRUPTED),
        Ok(Err(err)) => {
            eprintln!("error: {err:#}");
            ExitCode::from(FAILED)
        }
        Err(_) => {
            eprintln!(
                "error: this is a bug in maskfit, not in what you did: please report the lines above"
            );
            ExitCode::from(BUG)
        }
    }
}
