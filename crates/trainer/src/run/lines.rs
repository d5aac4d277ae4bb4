//! A table that grows by a row at a time, and that a resumed run cuts back to where it goes on.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use base::files::write_whole;

use super::{RunError, at};

/// A CSV file whose first column counts steps.
pub(crate) struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    /// Opens the table for a run that goes on after `step` steps: later rows, and a row that was not
    /// finished, are dropped.
    pub(crate) fn open(path: &Path, header: &str, step: usize) -> Result<Lines, RunError> {
        let old = fs::read_to_string(path).unwrap_or_default();
        let mut text = format!("{header}\n");
        for row in old.split_inclusive('\n').skip(1).filter(|it| it.ends_with('\n')) {
            let counted = row.split(',').next().and_then(|it| it.trim().parse::<usize>().ok());
            if counted.is_some_and(|it| it <= step) {
                text += row;
            }
        }
        write_whole(path, text.as_bytes()).map_err(at(path))?;
        let file = File::options().append(true).open(path).map_err(at(path))?;
        Ok(Lines { path: path.to_owned(), file })
    }

    /// The file, to be brought to disk.
    pub(crate) fn file(&self) -> Result<File, RunError> {
        self.file.try_clone().map_err(at(&self.path))
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, row: &str) -> Result<(), RunError> {
        // One write, so that a row is there or not, except where the disk is full.
        self.file.write_all(format!("{row}\n").as_bytes()).map_err(at(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Lines;

    #[test]
    fn a_resumed_table_forgets_what_comes_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps.csv");
        let mut lines = Lines::open(&path, "step,loss", 0).unwrap();
        for step in 1..=5 {
            lines.add(&format!("{step},0.5")).unwrap();
        }
        // A row that a kill has cut off.
        fs::write(&path, fs::read_to_string(&path).unwrap() + "6,0.").unwrap();
        let mut lines = Lines::open(&path, "step,loss", 3).unwrap();
        lines.add("4,0.25").unwrap();
        let want = "step,loss\n1,0.5\n2,0.5\n3,0.5\n4,0.25\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), want);
    }
}
