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
    Output::at(Path::new("-"))?.write_new(&script)?;
    Ok(End::Done)
}
