//! Samples one random image per person, in random order.
//!
//! Where a person's images are similar, an epoch over all of them repeats each person several times.

use base::Rng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use serde::{Deserialize, Serialize};

use super::{Groups, Sampler};

/// `sampler = { kind = "one_per_person" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnePerPerson {}

impl Sampler for OnePerPerson {
    fn n_samples(&self, groups: &Groups, _: usize) -> usize {
        groups.people.len()
    }

    fn order(&self, groups: &Groups, _: usize, rng: &mut Rng) -> Vec<usize> {
        let mut order: Vec<usize> =
            groups.people.iter().filter_map(|it| it.choose(rng)).copied().collect();
        order.shuffle(rng);
        order
    }
}
