//! Named random streams: every stream is a pure function of the run's seed and a name.
//!
//! Candle's CPU generator cannot be seeded, so it is not used.
//! Named streams, instead of a shared one, keep runs comparable: one more random number in the
//! augmentations does not change the initial weights.

use rand::SeedableRng as _;
pub use rand_chacha::ChaCha8Rng as Rng;
use serde::{Deserialize, Serialize};

/// The random seed of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// Returns the stream called `name`, for example `"init/stem.conv.weight"` or `"augment/3/1207"`.
    pub fn stream(self, name: &str) -> Rng {
        Rng::seed_from_u64(self.0 ^ fnv1a(name.as_bytes()))
    }
}

/// FNV-1a, 64 bits: a hash that is the same on every machine and in every release of Rust.
///
/// `std`'s hasher may change between releases, and with it every run's weights.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use rand::RngCore as _;

    use super::{Seed, fnv1a};

    #[test]
    fn the_hash_agrees_with_the_reference_vectors() {
        // The reference vectors of the FNV authors.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_stream_is_a_function_of_seed_and_name() {
        let first = |seed: u64, name: &str| Seed(seed).stream(name).next_u64();
        assert_eq!(first(1, "init/a"), first(1, "init/a"));
        assert_ne!(first(1, "init/a"), first(1, "init/b"));
        assert_ne!(first(1, "init/a"), first(2, "init/a"));
    }

    #[test]
    fn a_stream_never_changes_between_releases() {
        // Recorded once: changing this changes the bits of every published run.
        assert_eq!(Seed(0).stream("test").next_u64(), 2_937_910_630_148_494_228);
    }
}
