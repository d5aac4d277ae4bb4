//! `maskfit completions`

use std::path::Path;

use clap::{Arg, Command, CommandFactory as _, ValueHint};
use clap_complete::{Shell, generate};

use crate::{
    End,
    args::{Args, NAME},
    output::Output,
};

/// Prints the script of a shell.
pub(crate) fn completions(shell: Shell) -> anyhow::Result<End> {
    let mut script = Vec::new();
    generate(shell, &mut hinted(Args::command()), NAME, &mut script);
    if shell == Shell::Bash {
        script = with_files(&String::from_utf8(script)?).into_bytes();
    }
    Output::at(Path::new("-"))?.write_new(&script)?;
    Ok(End::Done)
}

/// Adds to each argument what completes it: folders, files, or nothing that a shell knows.
fn hinted(command: Command) -> Command {
    let with_hint = |arg: Arg| {
        let hint = hint(&arg);
        arg.value_hint(hint)
    };
    command.mut_args(with_hint).mut_subcommands(hinted)
}

/// Returns what completes an argument, by its type and the name of its value in the help.
fn hint(arg: &Arg) -> ValueHint {
    let given = arg.get_value_hint();
    // A shell lists what an argument may be, if clap knows it.
    if !arg.get_action().takes_values() || !arg.get_possible_values().is_empty() {
        return given;
    }
    let name = arg.get_value_names().and_then(|it| it.first()).map_or("", |it| it.as_str());
    match (given, name) {
        (ValueHint::Unknown, _) => ValueHint::Other,
        (ValueHint::AnyPath, "FILE" | "CONFIG") => ValueHint::FilePath,
        (ValueHint::AnyPath, "DIR" | "FOLDER" | "RUN" | "KFOLD" | "BUNDLE") => ValueHint::DirPath,
        _ => given,
    }
}

/// Lets bash complete files where a command takes them. Where nothing is typed yet, clap's script lists the options,
/// although only a command with further words needs a list.
fn with_files(script: &str) -> String {
    let (mut has_words, mut before) = (false, "");
    let mut changed = String::new();
    for line in script.lines() {
        if let Some(words) = line.trim_start().strip_prefix("opts=\"") {
            let mut words = words.trim_end_matches('"').split_whitespace();
            has_words = words.any(|it| !it.starts_with('-'));
        }
        let is_list = before.trim() == "esac" && line.contains("compgen -W \"${opts}\"");
        match line.split_once(" || ${COMP_CWORD} -eq ") {
            Some((begin, _)) if !has_words => changed += &format!("{begin} ]] ; then\n"),
            _ if is_list && !has_words => {}
            _ => changed += &format!("{line}\n"),
        }
        before = line;
    }
    changed
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, ValueHint};

    use super::hinted;
    use crate::args::Args;

    #[test]
    fn paths_are_completed_and_other_values_are_not() {
        let program = hinted(Args::command());
        for (command, argument, want) in [
            ("predict", "images", ValueHint::AnyPath),
            ("predict", "runs", ValueHint::DirPath),
            ("predict", "output", ValueHint::FilePath),
            ("predict", "device", ValueHint::Other),
            ("predict", "batch_size", ValueHint::Other),
            ("submit", "images", ValueHint::DirPath),
            ("train", "config", ValueHint::FilePath),
            ("train", "set", ValueHint::Other),
            ("init", "dir", ValueHint::DirPath),
            ("serve", "listen", ValueHint::Other),
        ] {
            let command = program.find_subcommand(command).unwrap();
            let found = command.get_arguments().find(|it| it.get_id() == argument).unwrap();
            assert_eq!(found.get_value_hint(), want, "{argument}");
        }
        let weights = program.find_subcommand("weights").unwrap();
        let inspect = weights.find_subcommand("inspect").unwrap();
        let file = inspect.get_arguments().find(|it| it.get_id() == "file").unwrap();
        assert_eq!(file.get_value_hint(), ValueHint::FilePath);
    }
}
