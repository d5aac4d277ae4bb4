//! A folder of results that appears whole: its files are written to a hidden folder beside it, which is renamed
//! when all of them are there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use base::files::{replace, write_atomic};

use crate::output::folder;

/// A folder that does not exist yet, or is empty.
pub(crate) struct NewFolder {
    path: PathBuf,
    /// Where it is written; removed if it is not finished.
    partial: PathBuf,
}

impl NewFolder {
    /// Checks that a folder can be written, before any long work.
    ///
    /// # Errors
    /// A file or a folder with files is there, or no folder to put it in.
    pub(crate) fn at(path: &Path) -> anyhow::Result<NewFolder> {
        let path = folder(path)?;
        let Some(name) = path.file_name() else {
            bail!("--output {}: name a new folder", path.display());
        };
        let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        if path.is_file() {
            bail!("{}: is a file: choose a new folder with `-o`", path.display());
        }
        let is_used = fs::read_dir(path).is_ok_and(|mut it| it.next().is_some());
        if is_used {
            bail!("{}: already exists: choose a new folder with `-o`", path.display());
        }
        if !parent.is_dir() {
            let parent = parent.display();
            bail!("--output {}: folder {parent} does not exist: create it", path.display());
        }
        // Processes do not disturb each other: each has its own.
        let hidden = format!(".{}.{}.partial", name.to_string_lossy(), std::process::id());
        Ok(NewFolder { path: path.to_owned(), partial: parent.join(hidden) })
    }

    /// Returns the folder as it is named.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the folder to write to; creates it first.
    pub(crate) fn begun(&self) -> anyhow::Result<&Path> {
        fs::create_dir_all(&self.partial).with_context(|| self.path.display().to_string())?;
        Ok(&self.partial)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let written = write_atomic(&self.begun()?.join(name), bytes);
        written.with_context(|| self.path.join(name).display().to_string())
    }

    /// Makes the folder appear.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        // An empty folder is replaced.
        let finished = replace(self.begun()?, &self.path);
        finished.with_context(|| self.path.display().to_string())
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // Nothing is there if it was finished or never begun.
        drop(fs::remove_dir_all(&self.partial));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::NewFolder;

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let names = || fs::read_dir(dir.path()).unwrap().count();
        let path = dir.path().join("out");
        let folder = NewFolder::at(&path).unwrap();
        folder.write("a", b"1").unwrap();
        assert!(!path.exists());
        drop(folder);
        assert_eq!(names(), 0);

        fs::create_dir(&path).unwrap();
        let folder = NewFolder::at(&path).unwrap();
        folder.write("a", b"1").unwrap();
        folder.finish().unwrap();
        assert_eq!((names(), fs::read(path.join("a")).unwrap()), (1, b"1".to_vec()));
        for taken in [path.clone(), path.join("a"), dir.path().join("absent/b")] {
            assert!(NewFolder::at(&taken).is_err());
        }
    }
}
