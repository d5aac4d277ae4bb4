//! `maskfit completions`

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use crate::{
    End,
    args::{Args, NAME},
    output::Output,
};

/// Prints the script of a shell.
pub(crate) fn completions(shell: Shell) -> anyhow::Result<End> {
    let mut script = Vec::new();
    generate(shell, &mut Args::command(), NAME, &mut script);
    if shell == Shell::Bash {
        script = with_files(&String::from_utf8(script)?).into_bytes();
    }
    Output::at(Path::new("-"))?.write_new(&script)?;
    Ok(End::Done)
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
