//! Where the result and the messages of a command go.
//!
//! A result is written to a file, whole or not at all, or to stdout: `-`, or `/dev/stdout`. If it goes to
//! stdout, all messages go to stderr.

use std::{
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, bail};
use base::files::{descriptor, write_atomic_with};

/// Whether the result goes to stdout.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Prints a line; the macro `say!` calls this.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    // A closed pipe must not stop a run, so errors are ignored.
    drop(match IS_TAKEN.load(Ordering::Relaxed) {
        true => writeln!(io::stderr(), "{line}"),
        false => writeln!(io::stdout(), "{line}"),
    });
}

/// Where a result goes.
#[derive(Debug)]
pub(crate) enum Output {
    /// Stdout; messages go to stderr.
    Stdout,
    /// A file, pipe or device.
    Path(PathBuf),
}

impl Output {
    /// Parses `--output`. Fails early if the path cannot be written to.
    pub(crate) fn at(path: &Path) -> anyhow::Result<Output> {
        if path == Path::new("-") || descriptor(path) == Some(1) {
            IS_TAKEN.store(true, Ordering::Relaxed);
            return Ok(Output::Stdout);
        }
        let dir = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !dir.is_dir() {
            bail!(
                "--output {}: folder {} does not exist: create it",
                path.display(),
                dir.display()
            );
        }
        if path.is_dir() {
            bail!("--output {}: is a folder: give a file", path.display());
        }
        Ok(Output::Path(path.to_owned()))
    }

    /// Writes the result.
    pub(crate) fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        self.write_with(|out| Ok(out.write_all(bytes)?))
    }

    /// Writes the result piece by piece with `write`. If that fails, an existing file is not changed.
    pub(crate) fn write_with(
        &self,
        write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let written = match self {
            Output::Stdout => {
                let mut out = io::stdout();
                write(&mut out).and_then(|()| Ok(out.flush()?))
            }
            Output::Path(path) => write_atomic_with(path, |file| write(file)),
        };
        // All other errors name their place themselves.
        match written {
            Err(err) if err.is::<io::Error>() => Err(err).context(self.to_string()),
            other => other,
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Stdout => f.write_str("stdout"),
            Output::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Parses `--output` of a command that writes several files: a folder.
pub(crate) fn folder(path: &Path) -> anyhow::Result<&Path> {
    match path == Path::new("-") || descriptor(path).is_some() {
        true => {
            bail!("--output {}: this command writes several files: give a folder", path.display())
        }
        false => Ok(path),
    }
}
