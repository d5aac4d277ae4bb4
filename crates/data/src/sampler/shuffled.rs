//! Every example once, in random order.

use base::Rng;
use rand::seq::SliceRandom as _;
use serde::{Deserialize, Serialize};

use super::Sampler;

/// `sampler = { kind = "shuffled" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shuffled {}

impl Sampler for Shuffled {
    fn order(&self, classes: &[usize], _: usize, rng: &mut Rng) -> Vec<usize> {
        let mut order: Vec<usize> = (0..classes.len()).collect();
        order.shuffle(rng);
        order
    }
}
