//! The arguments of commands that compare with other libraries: `--python PATH` and `--keep FOLDER`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::bail;
use tempfile::TempDir;

/// An interpreter with the libraries, and the folder of the files that are compared.
pub(crate) struct Peers {
    /// `python3` unless another is named.
    pub(crate) python: PathBuf,
    keep: Option<PathBuf>,
    temporary: TempDir,
}

impl Peers {
    /// Parses the arguments.
    ///
    /// - `words`: `--python PATH`; `--keep FOLDER`, to keep the files.
    pub(crate) fn of(words: &[String]) -> anyhow::Result<Peers> {
        let (mut python, mut keep) = (PathBuf::from("python3"), None);
        for pair in words.chunks(2) {
            match pair {
                [name, path] if name == "--python" => python = PathBuf::from(path),
                [name, path] if name == "--keep" => keep = Some(PathBuf::from(path)),
                _ => bail!("expected `--python PATH` or `--keep FOLDER`, not `{}`", pair.join(" ")),
            }
        }
        // A name without a folder is looked for in PATH.
        if python.components().count() > 1 && !python.is_file() {
            bail!("--python {}: there is no such file", python.display());
        }
        if let Some(dir) = &keep {
            fs::create_dir_all(dir)?;
        }
        Ok(Peers { python, keep, temporary: tempfile::tempdir()? })
    }

    /// The folder; a temporary one is removed with this.
    pub(crate) fn dir(&self) -> &Path {
        self.keep.as_deref().unwrap_or(self.temporary.path())
    }
}
