//! A cache of values computed from the original image file, kept from one epoch to the next.

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};

/// A cache. Keys name the kind of value and the file's bytes.
///
/// Losing entries is harmless: a missing value is computed again, with the same result.
pub trait Cache: Send + Sync {
    /// Returns the cached value, if there is one.
    fn get(&self, key: &str) -> Option<Vec<u8>>;

    /// Stores a value, if possible.
    fn put(&self, key: &str, value: &[u8]);
}

/// A cache in memory, over another one if there is one.
pub(crate) struct Memory<'a> {
    cache: Option<&'a dyn Cache>,
    values: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl<'a> Memory<'a> {
    pub(crate) fn over(cache: Option<&'a dyn Cache>) -> Memory<'a> {
        Memory { cache, values: Mutex::default() }
    }
}

impl Cache for Memory<'_> {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.get(key).cloned().or_else(|| self.cache?.get(key))
    }

    fn put(&self, key: &str, value: &[u8]) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.insert(key.to_owned(), value.to_vec());
        if let Some(cache) = self.cache {
            cache.put(key, value);
        }
    }
}

/// The cache entries of one image.
pub(crate) struct ImageCache<'a> {
    cache: &'a dyn Cache,
    bytes: &'a [u8],
    /// The SHA-256 of the bytes, computed on first use.
    name: OnceCell<String>,
}

impl<'a> ImageCache<'a> {
    pub(crate) fn new(cache: &'a dyn Cache, bytes: &'a [u8]) -> ImageCache<'a> {
        ImageCache { cache, bytes, name: OnceCell::new() }
    }

    /// Returns the cached value of `what`, or computes and stores it. A value that cannot be read counts as
    /// missing.
    pub(crate) fn get_or_compute<T, E>(
        &self,
        what: &str,
        read: impl FnOnce(&[u8]) -> Option<T>,
        write: impl FnOnce(&T) -> Vec<u8>,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let hex = |it: &[u8]| it.iter().map(|it| format!("{it:02x}")).collect::<String>();
        let name = self.name.get_or_init(|| hex(&Sha256::digest(self.bytes)));
        let key = format!("{what}-{name}");
        if let Some(it) = self.cache.get(&key).as_deref().and_then(read) {
            return Ok(it);
        }
        let made = make()?;
        self.cache.put(&key, &write(&made));
        Ok(made)
    }
}
