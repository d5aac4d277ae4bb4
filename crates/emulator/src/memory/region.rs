//! Bytes with a bit for each that says whether it was written, and the record of who touched them.

use super::races::Races;

/// A piece of global or shared memory.
pub(crate) struct Region {
    pub(crate) data: Vec<u8>,
    written: Vec<u64>,
    pub(crate) races: Races,
}

impl Region {
    /// Bytes that are not written yet. The pages are the operating system's zeros until they are touched.
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            data: vec![0; bytes],
            written: vec![0; bytes.div_ceil(64)],
            races: Races::new(bytes),
        }
    }

    /// Makes every byte unwritten.
    pub(crate) fn clear(&mut self) {
        self.written.fill(0);
    }

    /// Whether all of `bytes` bytes were written.
    #[inline(always)]
    pub(crate) fn is_written(&self, at: usize, bytes: usize) -> bool {
        let (word, bit) = (at / 64, at % 64);
        if bit + bytes <= 64 {
            let bits = ones(bytes) << bit;
            self.written[word] & bits == bits
        } else {
            self.first_unwritten(at, bytes).is_none()
        }
    }

    /// The first byte of a range that was not written.
    pub(crate) fn first_unwritten(&self, at: usize, bytes: usize) -> Option<usize> {
        let end = at + bytes;
        let mut from = at;
        while from < end {
            let (word, bit) = (from / 64, from % 64);
            let n = (64 - bit).min(end - from);
            let missing = !(self.written[word] >> bit) & ones(n);
            if missing != 0 {
                return Some(from + missing.trailing_zeros() as usize);
            }
            from += n;
        }
        None
    }

    /// Notes that bytes were written.
    #[inline(always)]
    pub(crate) fn set_written(&mut self, at: usize, bytes: usize) {
        self.change(at, bytes, |word, bits| *word |= bits);
    }

    /// Notes that bytes hold nothing.
    pub(crate) fn forget(&mut self, at: usize, bytes: usize) {
        self.change(at, bytes, |word, bits| *word &= !bits);
    }

    #[inline(always)]
    fn change(&mut self, at: usize, bytes: usize, f: impl Fn(&mut u64, u64)) {
        let end = at + bytes;
        let mut from = at;
        while from < end {
            let (word, bit) = (from / 64, from % 64);
            let n = (64 - bit).min(end - from);
            f(&mut self.written[word], ones(n) << bit);
            from += n;
        }
    }
}

#[inline(always)]
fn ones(n: usize) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}
