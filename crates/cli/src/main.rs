//! `maskfit`, the command-line program: trains, cross-validates and submits image classifiers.

/// Prints a line of the result: to stdout, or to stderr if a file of the result goes to stdout.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::output::say(format_args!($($text)*))
    };
}

/// Prints a note or the status to stderr, except with `--quiet`.
macro_rules! status {
    ($($text:tt)*) => {
        $crate::output::message($crate::output::Verbosity::Normal, format_args!($($text)*))
    };
}

/// Prints a detail to stderr, with `--verbose`.
macro_rules! detail {
    ($($text:tt)*) => {
        $crate::output::message($crate::output::Verbosity::Verbose, format_args!($($text)*))
    };
}

/// Prints an error to stderr.
macro_rules! complain {
    ($($text:tt)*) => {
        $crate::output::message($crate::output::Verbosity::Quiet, format_args!($($text)*))
    };
}

mod args;
mod bundles;
mod commands;
mod continued;
mod drawing;
mod epoch_table;
mod exit;
mod folds;
mod held_out;
mod json;
mod known_runs;
mod labelled_table;
mod layout;
mod new_folder;
mod output;
mod phrases;
mod preparation;
mod pretrained;
mod recipes;
#[cfg(test)]
mod reference;
mod runs;
mod settings;
mod shares;
mod style;
mod tables;
mod terminal;
mod trained_on;
mod wrap;

use std::{
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    thread,
};

use clap::{
    Parser as _,
    error::{ContextKind, ContextValue, ErrorKind},
};
use ops::Isa;
use output::Verbosity;

/// How a command ends without an error.
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
        return ExitCode::from(exit::FAILED);
    }
    let args = match args::Args::try_parse() {
        Ok(it) => it,
        Err(mut err) => {
            remove_value_tip(&mut err);
            // Help goes to stdout and is not an error; everything else is a user error.
            style::Colour::among(std::env::args_os()).apply();
            match (err.use_stderr(), err.print()) {
                (true, _) => return ExitCode::from(exit::FAILED),
                (false, Err(err)) => output::failed(err),
                (false, Ok(())) => {}
            }
            return ExitCode::from(printed());
        }
    };
    args.color.apply();
    match (args.quiet, args.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    }
    .apply();
    detail!("instruction set: {}", Isa::chosen().name());
    let ended = panic::catch_unwind(AssertUnwindSafe(|| commands::run(args)));
    if let Some(note) = drawing::missing_letters() {
        status!("{note}");
    }
    ExitCode::from(code(ended))
}

/// Removes the tip to pass an unknown option as a value, after `--`, which is never what was meant.
fn remove_value_tip(err: &mut clap::Error) {
    let is_option =
        |it: &ContextValue| matches!(it, ContextValue::String(it) if it.starts_with("--"));
    if err.kind() == ErrorKind::UnknownArgument
        && err.get(ContextKind::InvalidArg).is_some_and(is_option)
        && let Some(ContextValue::StyledStrs(mut tips)) = err.remove(ContextKind::Suggested)
    {
        tips.retain(|it| !it.to_string().contains("as a value, use"));
        if !tips.is_empty() {
            err.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
        }
    }
}

/// Returns the exit code of a command by how it has ended, and prints its error.
fn code(ended: thread::Result<anyhow::Result<End>>) -> u8 {
    match ended {
        Ok(Ok(End::Done)) => printed(),
        Ok(Ok(End::Stopped)) => exit::INTERRUPTED,
        // As if it had been asked for no more than was read.
        Ok(Err(err)) if output::is_reader_gone(&err) => exit::DONE,
        Ok(Err(err)) => {
            let message = full_text(&err);
            json::emit("error", serde_json::json!({ "message": message }));
            complain!("error: {message}");
            exit::FAILED
        }
        Err(_) => {
            complain!("error: this is a bug in maskfit, please report it with the lines above");
            exit::BUG
        }
    }
}

/// Returns the exit code of a command that has ended well, unless its result could not be printed.
fn printed() -> u8 {
    match output::problem() {
        None => exit::DONE,
        Some(problem) => {
            complain!("error: {problem}");
            exit::FAILED
        }
    }
}

/// Selects the instruction set that `MASKFIT_ISA` names, if it is set.
fn choose_isa() -> Result<(), String> {
    match std::env::var("MASKFIT_ISA") {
        Ok(name) => Isa::choose(&name).map_err(|err| format!("MASKFIT_ISA: {err}")),
        Err(_) => Ok(()),
    }
}

/// Formats an error with its causes, without repetition: some messages already contain their cause.
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
    use std::panic;

    use anyhow::{Context as _, anyhow};

    use super::{End, code, full_text};

    #[test]
    fn causes_are_not_repeated() {
        let io = || std::io::Error::other("no space");
        let named = anyhow::Error::new(io()).context("a.txt: no space");
        assert_eq!(full_text(&named), "a.txt: no space");
        let unnamed = Err::<(), _>(io()).context("a.txt").unwrap_err();
        assert_eq!(full_text(&unnamed), "a.txt: no space");
    }

    #[test]
    fn a_bug_has_an_exit_code_of_its_own() {
        let bug =
            panic::catch_unwind(|| -> anyhow::Result<End> { panic!("on purpose, in a test") });
        assert_eq!(code(bug), 2);
        assert_eq!(code(Ok(Err(anyhow!("on purpose, in a test")))), 1);
        assert_eq!(code(Ok(Ok(End::Stopped))), 130);
        assert_eq!(code(Ok(Ok(End::Done))), 0);
    }
}
