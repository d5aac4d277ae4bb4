//! Where a command's result goes, and where everything else that is said goes.
//!
//! A result is a file, written whole or not at all, or goes to the output: `-`, or `/dev/stdout`. In that
//! case nothing else goes there: what is said goes to the error output.

use std::{
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, bail};
use base::files::{descriptor, write_whole_with};

/// Whether the result goes to the output.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Writes a line for a person, as the macro `say!`.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    // Where nobody listens any more, that is no reason to stop a run.
    drop(match IS_TAKEN.load(Ordering::Relaxed) {
        true => writeln!(io::stderr(), "{line}"),
        false => writeln!(io::stdout(), "{line}"),
    });
}

/// Where a result goes.
#[derive(Debug)]
pub(crate) enum Output {
    /// To the output, and everything else to the error output.
    Stdout,
    /// To a file, or to what else the path is of: a pipe, a device.
    Path(PathBuf),
}

impl Output {
    /// What `--output` names. A place that cannot be written to is said before all the work.
    pub(crate) fn at(path: &Path) -> anyhow::Result<Output> {
        if path == Path::new("-") || descriptor(path) == Some(1) {
            IS_TAKEN.store(true, Ordering::Relaxed);
            return Ok(Output::Stdout);
        }
        let dir = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !dir.is_dir() {
            bail!("--output {}: there is no folder {}: make it", path.display(), dir.display());
        }
        if path.is_dir() {
            bail!("--output {}: is a folder: name a file", path.display());
        }
        Ok(Output::Path(path.to_owned()))
    }

    /// Writes the result.
    pub(crate) fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        self.write_with(|out| Ok(out.write_all(bytes)?))
    }

    /// As [`Output::write`], of what `write` writes bit by bit. Where that fails, a file stays as it was.
    pub(crate) fn write_with(
        &self,
        write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let written = match self {
            Output::Stdout => {
                let mut out = io::stdout();
                write(&mut out).and_then(|()| Ok(out.flush()?))
            }
            Output::Path(path) => write_whole_with(path, |file| write(file)),
        };
        // What else fails says itself where.
        match written {
            Err(err) if err.is::<io::Error>() => Err(err).context(self.to_string()),
            other => other,
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Stdout => f.write_str("the output"),
            Output::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The folder that `--output` names, for a command that writes several files.
pub(crate) fn folder(path: &Path) -> anyhow::Result<&Path> {
    match path == Path::new("-") || descriptor(path).is_some() {
        true => {
            bail!("--output {}: this command writes several files: name a folder", path.display())
        }
        false => Ok(path),
    }
}
