//! Samplers: which examples an epoch sees, and in which order. One file a sampler.

mod shuffled;

use base::Rng;

use shuffled::Shuffled;

base::choice! {
    /// `[data] sampler`: which examples an epoch sees, and in which order.
    pub enum SamplerConfig: dyn Sampler {
        /// Every example once, in random order.
        "shuffled" => Shuffled(Shuffled),
    }
}

/// An order of examples.
pub trait Sampler {
    /// The examples of an epoch, as positions in `classes`, which has the class of each.
    fn order(&self, classes: &[usize], epoch_idx: usize, rng: &mut Rng) -> Vec<usize>;
}
