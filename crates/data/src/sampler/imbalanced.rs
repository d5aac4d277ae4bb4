//! Samples as many examples as there are, with replacement, each class with the same probability.
//!
//! The weight of an example is 1 / n_class: the same as `weighted` with its defaults.
//!
//! ufoym's `ImbalancedDatasetSampler`, 2018, <https://github.com/ufoym/imbalanced-dataset-sampler>.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{Groups, Sampler, Weighted};

/// `sampler = { kind = "imbalanced" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Imbalanced {
    /// Which classes are balanced: `joint`, a factor's name, or `years`.
    pub over: String,
}

impl Default for Imbalanced {
    fn default() -> Imbalanced {
        Imbalanced { over: "joint".to_owned() }
    }
}

impl Sampler for Imbalanced {
    fn over(&self) -> &str {
        &self.over
    }

    fn n_samples(&self, groups: &Groups, _: usize) -> usize {
        groups.n_examples()
    }

    fn order(&self, groups: &Groups, epoch_idx: usize, rng: &mut Rng) -> Vec<usize> {
        Weighted::default().order(groups, epoch_idx, rng)
    }
}
