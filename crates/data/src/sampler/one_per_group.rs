//! Samples one random image per group, in random order.
//!
//! Where a group's images are similar, an epoch over all of them repeats each group several times.

use base::Rng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use serde::{Deserialize, Serialize};

use super::{ByClass, Sampler};

/// `sampler = { kind = "one_per_group" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnePerGroup {}

impl Sampler for OnePerGroup {
    fn n_samples(&self, by_class: &ByClass, _: usize) -> usize {
        by_class.groups.len()
    }

    fn order(&self, by_class: &ByClass, _: usize, rng: &mut Rng) -> Vec<usize> {
        let mut order: Vec<usize> =
            by_class.groups.iter().filter_map(|it| it.choose(rng)).copied().collect();
        order.shuffle(rng);
        order
    }
}
