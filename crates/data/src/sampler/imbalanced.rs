//! As many draws as there are examples, with replacement, each class as likely as any other.
//!
//! An example weighs 1 / n_class: `weighted` at its defaults.
//!
//! ufoym's `ImbalancedDatasetSampler`, 2018, <https://github.com/ufoym/imbalanced-dataset-sampler>.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{Groups, Sampler, Weighted};

/// `sampler = { kind = "imbalanced" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Imbalanced {
    /// Whose classes: `joint`, a factor's name, or `years`.
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

    fn n_draws(&self, groups: &Groups, _: usize) -> usize {
        groups.n_examples()
    }

    fn order(&self, groups: &Groups, epoch_idx: usize, rng: &mut Rng) -> Vec<usize> {
        Weighted::default().order(groups, epoch_idx, rng)
    }
}
