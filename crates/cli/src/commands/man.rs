//! `maskfit man`

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use anyhow::{Context as _, anyhow};
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use crate::{
    End,
    args::{Args, NAME},
    output::{Output, Own, folder},
    phrases::count,
};

/// The pages that this command has written.
const OWN: Own<'static> = Own { what: "a man page of maskfit", is_own: &is_own };

/// Bytes at the beginning of a page that contain its title.
const HEAD: u64 = 200;

/// Writes the pages of all commands to a folder; without one, prints the page of a command.
///
/// - `named`: the words of the command, none for the program.
pub(crate) fn man(named: &[String], output: Option<&Path>) -> anyhow::Result<End> {
    let mut program = Args::command();
    program.build();
    let Some(dir) = output else {
        let command = named.iter().try_fold(&program, |command, name| {
            command.find_subcommand(name).ok_or_else(|| {
                let known: Vec<&str> = visible(command).map(Command::get_name).collect();
                let known = match known.as_slice() {
                    [] => "it has none".to_owned(),
                    known => format!("choose one of {}", known.join(", ")),
                };
                anyhow!("`{}` has no command `{name}`: {known}", path(command))
            })
        })?;
        Output::at(Path::new("-"))?.write_new(&page(command)?)?;
        return Ok(End::Done);
    };
    let dir = folder(dir)?;
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let mut pages = Vec::new();
    let mut todo = vec![&program];
    while let Some(command) = todo.pop() {
        let file = dir.join(format!("{}.1", path(command).replace(' ', "-")));
        let output = Output::at(&file)?;
        output.check(&OWN)?;
        pages.push((output, page(command)?));
        todo.extend(visible(command));
    }
    for (output, page) in &pages {
        output.write(&OWN, page)?;
    }
    say!("{}: {}", count(&pages.len().to_string(), "page"), dir.display());
    Ok(End::Done)
}

/// Returns the commands of a command that its help lists.
fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|it| !it.is_hide_set())
}

/// Returns a command as it is typed, such as `maskfit kfold plan`.
fn path(command: &Command) -> &str {
    command.get_bin_name().unwrap_or(NAME)
}

/// Formats the page of a command. Its synopsis is the usage of the help, since that of `clap_mangen` lists all options
/// without their values.
fn page(command: &Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
    let man = Man::new(command.clone().override_usage(usage))
        .source(concat!("maskfit ", env!("CARGO_PKG_VERSION")));
    man.render(&mut page)?;
    Ok(page)
}

/// Whether a file is a page of this program: its title begins with the name.
fn is_own(file: File) -> io::Result<bool> {
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    let head = String::from_utf8_lossy(&head);
    Ok(head.lines().any(|it| it.starts_with(".TH maskfit")))
}
