//! Samples every example once, in random order.

use base::Rng;
use rand::seq::SliceRandom as _;
use serde::{Deserialize, Serialize};

use super::{ByClass, Sampler};

/// `sampler = { kind = "shuffled" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shuffled {}

impl Sampler for Shuffled {
    fn n_samples(&self, by_class: &ByClass, _: usize) -> usize {
        by_class.n_examples()
    }

    fn order(&self, by_class: &ByClass, _: usize, rng: &mut Rng) -> Vec<usize> {
        let mut order: Vec<usize> = (0..by_class.n_examples()).collect();
        order.shuffle(rng);
        order
    }
}
