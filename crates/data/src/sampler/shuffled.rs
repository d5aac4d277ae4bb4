//! Samples every example once, in random order.

use base::Rng;
use rand::seq::SliceRandom as _;
use serde::{Deserialize, Serialize};

use super::{Groups, Sampler};

/// `sampler = { kind = "shuffled" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shuffled {}

impl Sampler for Shuffled {
    fn n_samples(&self, groups: &Groups, _: usize) -> usize {
        groups.n_examples()
    }

    fn order(&self, groups: &Groups, _: usize, rng: &mut Rng) -> Vec<usize> {
        let mut order: Vec<usize> = (0..groups.n_examples()).collect();
        order.shuffle(rng);
        order
    }
}
