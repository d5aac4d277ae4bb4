//! Where the result and the messages of a command go.
//!
//! - Results go to stdout: scores, tables, the paths of what was written, and whatever a command was asked
//!   for. A result that is a file is written to its path, whole or not at all, or to stdout: `-`, or
//!   `/dev/stdout`; then everything else goes to stderr. It replaces only a file of its kind ([`Own`]), and a file
//!   of any other kind is an error before any work.
//! - With `--json` stdout has the events of the command for other programs (`json.rs`), and results for people go to
//!   stderr, except with `--quiet`.
//! - A result that cannot be written is an error: a full disk, a device. A pipe whose reader ends early, such as
//!   `head`, is none: it stops a result that is a file, and no other command.
//! - Progress, notes and status go to stderr, wrapped, and `--quiet` leaves them out.
//! - Details go to stderr with `--verbose` only.
//! - Errors go to stderr.

use std::{
    fmt,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use anyhow::{Context as _, anyhow, bail};
use base::files::{descriptor, write_atomic_with, write_new};

use crate::{style::labelled, wrap::wrapped_message};

/// Whether the result goes to stdout.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether events go to stdout.
static HAS_EVENTS: AtomicBool = AtomicBool::new(false);

/// Why a line of a result could not be printed to stdout: the first error.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// How much to print.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) enum Verbosity {
    /// Results and errors.
    Quiet,
    /// Progress, notes and status as well.
    Normal,
    /// Details as well.
    Verbose,
}

static VERBOSITY: AtomicU8 = AtomicU8::new(Verbosity::Normal as u8);

impl Verbosity {
    /// Applies it to everything that is printed from now on.
    pub(crate) fn apply(self) {
        VERBOSITY.store(self as u8, Ordering::Relaxed);
    }

    /// Returns whether messages of this level are printed.
    pub(crate) fn is_on(self) -> bool {
        VERBOSITY.load(Ordering::Relaxed) >= self as u8
    }
}

/// Prints a line of a result; the macro `say!` calls this.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    if has_events() && !Verbosity::Normal.is_on() {
        return;
    }
    if IS_TAKEN.load(Ordering::Relaxed) || has_events() {
        drop(writeln!(anstream::stderr(), "{line}"));
    } else if let Err(err) = writeln!(anstream::stdout(), "{line}") {
        failed(err);
    }
}

/// Sends events to stdout from now on, and lines of results to stderr.
pub(crate) fn begin_events() {
    HAS_EVENTS.store(true, Ordering::Relaxed);
}

/// Returns whether events go to stdout.
pub(crate) fn has_events() -> bool {
    HAS_EVENTS.load(Ordering::Relaxed)
}

/// Prints the line of an event.
pub(crate) fn event(line: &str) {
    if let Err(err) = writeln!(io::stdout(), "{line}") {
        failed(err);
    }
}

/// Keeps an error of stdout until the end of the command: the run that is printed goes on.
pub(crate) fn failed(err: io::Error) {
    if err.kind() != io::ErrorKind::BrokenPipe {
        drop(FAILED.set(err));
    }
}

/// Returns why stdout could not be written to, if something was printed to it in vain.
pub(crate) fn problem() -> Option<String> {
    if let Err(err) = io::stdout().flush() {
        failed(err);
    }
    FAILED.get().map(|err| format!("stdout: {err}"))
}

/// Prints a message to stderr; the macros `status!`, `detail!` and `complain!` call this.
///
/// - `level`: the least verbosity at which it is printed.
pub(crate) fn message(level: Verbosity, line: fmt::Arguments<'_>) {
    if level.is_on() {
        let mut text = line.to_string();
        // Errors and details may be searched for; `next:` is followed by a command to paste.
        if level == Verbosity::Normal && !text.starts_with("next: ") {
            text = wrapped_message(&text);
        }
        drop(writeln!(anstream::stderr(), "{}", labelled(&text)));
    }
}

/// The files that a result may replace: those that the same command has written, recognised by their content.
pub(crate) struct Own<'a> {
    /// What they are, such as `a report`.
    pub(crate) what: &'a str,
    /// Whether a file is one of them.
    pub(crate) is_own: &'a dyn Fn(File) -> io::Result<bool>,
}

impl Own<'_> {
    /// Refuses to replace any other file.
    fn check(&self, path: &Path) -> anyhow::Result<()> {
        // A pipe, a device or an open file is written to, not replaced.
        if !path.is_file() || descriptor(path).is_some() {
            return Ok(());
        }
        let shown = path.display();
        match File::open(path).and_then(|it| (self.is_own)(it)) {
            Ok(true) => Ok(()),
            Ok(false) => bail!("{shown}: already exists, and is not {}: {REMEDY}", self.what),
            Err(err) => bail!("{shown}: {err}"),
        }
    }
}

/// What to do about a file that is not replaced.
const REMEDY: &str = "name another file with `-o`, or remove it";

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
            if has_events() {
                bail!("--output -: with `--json` stdout has the events: give a file");
            }
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

    /// Fails early where the result would replace another file than its own.
    pub(crate) fn check(&self, own: &Own<'_>) -> anyhow::Result<()> {
        match self {
            Output::Stdout => Ok(()),
            Output::Path(path) => own.check(path),
        }
    }

    /// Fails early where a file is there, for a result that never replaces one.
    pub(crate) fn check_new(&self) -> anyhow::Result<()> {
        match self {
            Output::Path(path) if path.is_file() && descriptor(path).is_none() => Err(taken(path)),
            _ => Ok(()),
        }
    }

    /// Writes the result, replacing only its own.
    pub(crate) fn write(&self, own: &Own<'_>, bytes: &[u8]) -> anyhow::Result<()> {
        self.write_with(own, |out| Ok(out.write_all(bytes)?))
    }

    /// Writes the result, and never replaces a file.
    pub(crate) fn write_new(&self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Output::Stdout => to_stdout(|out| Ok(out.write_all(bytes)?)),
            Output::Path(path) => new_file(path, bytes),
        }
    }

    /// Writes the result piece by piece with `write`. If that fails, or another file than its own has appeared
    /// meanwhile, an existing file is not changed.
    pub(crate) fn write_with(
        &self,
        own: &Own<'_>,
        write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match self {
            Output::Stdout => to_stdout(write),
            Output::Path(path) => {
                let written = write_atomic_with(path, |file| {
                    write(file)?;
                    own.check(path)
                });
                at_place(written, self)
            }
        }
    }
}

/// Writes a result to stdout.
fn to_stdout(write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut out = io::stdout();
    at_place(write(&mut out).and_then(|()| Ok(out.flush()?)), &Output::Stdout)
}

/// Names the place of an I/O error; all other errors name theirs themselves.
fn at_place(written: anyhow::Result<()>, place: &Output) -> anyhow::Result<()> {
    match written {
        Err(err) if err.is::<io::Error>() => Err(err).context(place.to_string()),
        other => other,
    }
}

/// Whether an error is that the reader of a result that goes to stdout has ended.
pub(crate) fn is_reader_gone(err: &anyhow::Error) -> bool {
    let of_pipe = err.downcast_ref::<io::Error>();
    IS_TAKEN.load(Ordering::Relaxed)
        && of_pipe.is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe)
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Stdout => f.write_str("stdout"),
            Output::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Writes a file that is never to replace one.
pub(crate) fn new_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    match write_new(path, bytes) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Err(taken(path)),
        written => written.with_context(|| path.display().to_string()),
    }
}

/// The error that a file is there already.
pub(crate) fn taken(path: &Path) -> anyhow::Error {
    anyhow!("{}: already exists: {REMEDY}", path.display())
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
