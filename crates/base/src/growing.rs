//! A file that grows by whole records.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::files::write_whole;

/// A file that grows by whole records. What cannot be written, as on a full disk, is tried again with
/// the next record, so that there is no gap.
#[derive(Debug)]
pub struct Growing {
    path: PathBuf,
    file: File,
    /// Bytes of whole records in the file.
    n_written: u64,
    /// Whether a part of a record may follow them.
    is_torn: bool,
    /// Records that are not in the file yet.
    waiting: Vec<u8>,
}

impl Growing {
    /// A file that begins with `kept`, whatever it held before.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, kept: &[u8]) -> io::Result<Growing> {
        write_whole(path, kept)?;
        let file = File::options().append(true).open(path)?;
        let n_written = kept.len() as u64;
        Ok(Growing { path: path.to_owned(), file, n_written, is_torn: false, waiting: Vec::new() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, to be brought to disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// How many bytes it has, with those that wait.
    pub fn n_bytes(&self) -> u64 {
        self.n_written + self.waiting.len() as u64
    }

    /// Adds a record.
    ///
    /// # Errors
    /// What the system says; the record waits for the next one.
    pub fn add(&mut self, record: &[u8]) -> io::Result<()> {
        self.waiting.extend_from_slice(record);
        if self.is_torn {
            self.file.set_len(self.n_written)?;
        }
        // One write, so that a record is there or not, except where the disk is full.
        self.is_torn = true;
        self.file.write_all(&self.waiting)?;
        self.is_torn = false;
        self.n_written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::Growing;

    #[test]
    fn what_could_not_be_written_comes_with_the_next_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut growing = Growing::open(&path, b"one,").unwrap();
        // A file that cannot be written to, and a part of a record that was.
        let writable = std::mem::replace(&mut growing.file, File::open(&path).unwrap());
        assert!(growing.add(b"two,").is_err());
        fs::write(&path, b"one,tw").unwrap();
        assert!(growing.add(b"three,").is_err());
        growing.file = writable;
        growing.add(b"four,").unwrap();
        growing.add(b"five,").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one,two,three,four,five,");
        assert_eq!(growing.n_bytes(), 24);
    }
}
