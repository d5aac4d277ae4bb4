//! Samples as many examples as there are, with replacement, each class with the same probability.
//!
//! The weight of an example is 1 / n_class: the same as `weighted` with its defaults.
//!
//! ufoym's `ImbalancedDatasetSampler`, 2018, <https://github.com/ufoym/imbalanced-dataset-sampler>.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{ByClass, Sampler, Weighted};

/// `sampler = { kind = "imbalanced" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Imbalanced {
    /// Which classes are balanced: `joint`, a factor's name, or its number's, such as `age.number`.
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

    fn n_samples(&self, by_class: &ByClass, _: usize) -> usize {
        by_class.n_examples()
    }

    fn order(&self, by_class: &ByClass, epoch_idx: usize, rng: &mut Rng) -> Vec<usize> {
        Weighted::default().order(by_class, epoch_idx, rng)
    }
}
