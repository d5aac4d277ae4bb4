//! What is worked out of an image as it is in its file, and remembered from one epoch to the next.

use std::cell::OnceCell;

use sha2::{Digest as _, Sha256};

/// Where things are remembered, by a name that says what they are and of which bytes.
///
/// Forgetting is harmless: what is not recalled is worked out again, and comes out the same.
pub trait Memory: Send + Sync {
    /// What was kept, if anything was.
    fn recall(&self, key: &str) -> Option<Vec<u8>>;

    /// Keeps something, if possible.
    fn keep(&self, key: &str, value: &[u8]);
}

/// What is remembered of one image.
pub(crate) struct Memories<'a> {
    memory: &'a dyn Memory,
    bytes: &'a [u8],
    /// The SHA-256 of the bytes, once it is asked for.
    name: OnceCell<String>,
}

impl<'a> Memories<'a> {
    pub(crate) fn new(memory: &'a dyn Memory, bytes: &'a [u8]) -> Memories<'a> {
        Memories { memory, bytes, name: OnceCell::new() }
    }

    /// Recalls `what`, or makes and keeps it. A memory that cannot be read counts as none.
    pub(crate) fn recall_or<T, E>(
        &self,
        what: &str,
        read: impl FnOnce(&[u8]) -> Option<T>,
        write: impl FnOnce(&T) -> Vec<u8>,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let hex = |it: &[u8]| it.iter().map(|it| format!("{it:02x}")).collect::<String>();
        let name = self.name.get_or_init(|| hex(&Sha256::digest(self.bytes)));
        let key = format!("{what}-{name}");
        if let Some(it) = self.memory.recall(&key).as_deref().and_then(read) {
            return Ok(it);
        }
        let made = make()?;
        self.memory.keep(&key, &write(&made));
        Ok(made)
    }
}
