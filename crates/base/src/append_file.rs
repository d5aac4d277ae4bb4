//! An append-only file of whole records.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::files::write_atomic;

/// An append-only file of whole records. A record that cannot be written, for example on a full disk, is
/// retried with the next one, so that there is no gap.
#[derive(Debug)]
pub struct AppendFile {
    path: PathBuf,
    file: File,
    /// Bytes of whole records in the file.
    n_written: u64,
    /// Whether a partial record may follow them.
    has_partial_record: bool,
    /// Records that are not in the file yet.
    pending: Vec<u8>,
}

impl AppendFile {
    /// Opens a file whose content is replaced by `kept`.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn open(path: &Path, kept: &[u8]) -> io::Result<AppendFile> {
        write_atomic(path, kept)?;
        let file = File::options().append(true).open(path)?;
        let n_written = kept.len() as u64;
        Ok(AppendFile {
            path: path.to_owned(),
            file,
            n_written,
            has_partial_record: false,
            pending: Vec::new(),
        })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A handle of the file, to sync it to disk.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// The number of bytes, including pending records.
    pub fn n_bytes(&self) -> u64 {
        self.n_written + self.pending.len() as u64
    }

    /// Appends a record.
    ///
    /// # Errors
    /// Any I/O error; the record is then retried with the next one.
    pub fn add(&mut self, record: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(record);
        if self.has_partial_record {
            self.file.set_len(self.n_written)?;
        }
        // A single write, so that a record is complete or absent, unless the disk is full.
        self.has_partial_record = true;
        self.file.write_all(&self.pending)?;
        self.has_partial_record = false;
        self.n_written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::AppendFile;

    #[test]
    fn a_failed_record_is_retried_with_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut file = AppendFile::open(&path, b"one,").unwrap();
        // A file that cannot be written to, and then a partially written record.
        let writable = std::mem::replace(&mut file.file, File::open(&path).unwrap());
        assert!(file.add(b"two,").is_err());
        fs::write(&path, b"one,tw").unwrap();
        assert!(file.add(b"three,").is_err());
        file.file = writable;
        file.add(b"four,").unwrap();
        file.add(b"five,").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one,two,three,four,five,");
        assert_eq!(file.n_bytes(), 24);
    }
}
