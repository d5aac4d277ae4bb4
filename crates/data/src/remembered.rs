//! What was worked out of images, on disk: a small file for each thing, named by its key.
//!
//! A key has the SHA-256 of the image's bytes, so one folder serves every data set, and an image
//! that changes is another. The folder may be deleted at any time.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use augment::Memory;
use base::files::write_atomic;

/// A folder that remembers.
#[derive(Clone, Debug)]
pub struct Remembered(PathBuf);

impl Remembered {
    /// In a folder of the cache.
    pub fn within(cache: &Path) -> Remembered {
        Remembered(cache.join("images"))
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.0
    }
}

impl Memory for Remembered {
    fn recall(&self, key: &str) -> Option<Vec<u8>> {
        fs::read(self.0.join(key)).ok()
    }

    fn keep(&self, key: &str, value: &[u8]) {
        // A cache that cannot be written costs time, not a run. Two threads may keep the same thing:
        // they write the same bytes. The folder is made when it is missed.
        let write = || write_atomic(&self.0.join(key), value);
        drop(write().or_else(|err| match err.kind() {
            io::ErrorKind::NotFound => fs::create_dir_all(&self.0).and_then(|()| write()),
            _ => Err(err),
        }));
    }
}
