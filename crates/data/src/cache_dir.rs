//! The on-disk cache of values computed from images: a small file per value, named by its key.
//!
//! A key contains the SHA-256 of the image's bytes, so one folder serves every data set, and a changed image
//! has another key. The folder may be deleted at any time.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use augment::Cache;
use base::files::write_atomic;

/// A cache folder.
#[derive(Clone, Debug)]
pub struct CacheDir(PathBuf);

impl CacheDir {
    /// Returns the cache of images within the program's cache folder.
    pub fn within(cache: &Path) -> CacheDir {
        CacheDir(cache.join("images"))
    }

    /// Returns the folder.
    pub fn dir(&self) -> &Path {
        &self.0
    }
}

impl Cache for CacheDir {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        fs::read(self.0.join(key)).ok()
    }

    fn put(&self, key: &str, value: &[u8]) {
        // A cache that cannot be written costs time, and does not fail the run. Two threads may save the same
        // value: they write the same bytes. The folder is created when the first write fails without it.
        let write = || write_atomic(&self.0.join(key), value);
        drop(write().or_else(|err| match err.kind() {
            io::ErrorKind::NotFound => fs::create_dir_all(&self.0).and_then(|()| write()),
            _ => Err(err),
        }));
    }
}

#[cfg(test)]
mod tests {
    use augment::Cache as _;

    use super::CacheDir;

    #[test]
    fn folder_may_be_deleted_at_any_time() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CacheDir::within(&dir.path().join("of/mine"));
        for value in [b"one", b"two"] {
            assert_eq!(cache.get("key"), None);
            cache.put("key", value);
            assert_eq!(cache.get("key").as_deref(), Some(&value[..]));
            std::fs::remove_dir_all(cache.dir()).unwrap();
        }
    }
}
