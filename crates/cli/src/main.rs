//! `maskfit`: trains, cross-validates and submits image classifiers.

/// Writes a line for a person: to the output, unless a result goes there.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::output::say(format_args!($($text)*))
    };
}

/// Writes a line to the error output, whatever the output is for.
macro_rules! complain {
    ($($text:tt)*) => {
        drop(std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("{}\n", format_args!($($text)*)),
        ))
    };
}

mod args;
mod commands;
mod drawing;
mod output;
mod pretrained;
mod runs;
mod shares;
mod tables;
mod terminal;

use std::{
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
};

use clap::Parser as _;
use ops::Isa;

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

#[global_allocator]
static ALLOCATOR: ops::LineAllocator = ops::LineAllocator;

fn main() -> ExitCode {
    ops::keep_freed_memory();
    if let Err(err) = choose_isa().and_then(|()| drawing::choose_font()) {
        complain!("error: {err}");
        return ExitCode::from(FAILED);
    }
    let args = match args::Args::try_parse() {
        Ok(it) => it,
        Err(err) => {
            // Help goes to the output and is no failure; everything else is the user's mistake.
            drop(err.print());
            return ExitCode::from(if err.use_stderr() { FAILED } else { 0 });
        }
    };
    let ended = panic::catch_unwind(AssertUnwindSafe(|| commands::run(args)));
    if let Some(note) = drawing::missing_letters() {
        complain!("{note}");
    }
    match ended {
        Ok(Ok(End::Done)) => ExitCode::SUCCESS,
        Ok(Ok(End::Stopped)) => ExitCode::from(INTERRUPTED),
        Ok(Err(err)) => {
            complain!("error: {}", full_text(&err));
            ExitCode::from(FAILED)
        }
        Err(_) => {
            complain!(
                "error: this is a bug in maskfit, not in what you did: please report the lines above"
            );
            ExitCode::from(BUG)
        }
    }
}

/// Computes with the instruction set that the environment names, if it names one.
fn choose_isa() -> Result<(), String> {
    match std::env::var("MASKFIT_ISA") {
        Ok(name) => Isa::choose(&name).map_err(|err| format!("MASKFIT_ISA: {err}")),
        Err(_) => Ok(()),
    }
}

/// An error with what caused it, each thing said once: some errors name their cause themselves.
fn full_text(err: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in err.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::full_text;

    #[test]
    fn a_cause_is_said_once() {
        let io = || std::io::Error::other("no space");
        let named = anyhow::Error::new(io()).context("a.txt: no space");
        assert_eq!(full_text(&named), "a.txt: no space");
        let unnamed = Err::<(), _>(io()).context("a.txt").unwrap_err();
        assert_eq!(full_text(&unnamed), "a.txt: no space");
    }
}
