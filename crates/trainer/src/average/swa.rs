//! Stochastic weight averaging: the mean of the weights at the ends of the last epochs.
//!
//! average ← average + (weights - average) / (n + 1). The batch-norm statistics of
//! earlier weights do not apply to their mean, so they are recomputed over the training images before the
//! average is used.
//!
//! Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018,
//! <https://arxiv.org/abs/1803.05407>, as in `torch.optim.swa_utils`.

use base::{Epochs, Length};
use serde::{Deserialize, Serialize};

use super::Rule;

/// `[average] kind = "swa"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Swa {
    /// When averaging begins.
    pub from: Length,
    /// How often the average is updated from then on.
    pub every: Length,
}

impl Default for Swa {
    /// The paper's settings: the last quarter of the run, once per epoch.
    fn default() -> Swa {
        Swa { from: Length::Percent(75.0), every: Length::Epochs(1.0) }
    }
}

impl Rule for Swa {
    fn share(&self, step: usize, epochs: &Epochs, n_before: u64) -> Option<f64> {
        let has_begun = step >= self.from.to_steps(epochs).max(1);
        // The last step always updates, so that a run shorter than `every` has an average.
        let is_due = self.every.is_up(step, epochs) || step == epochs.total();
        (has_begun && is_due).then(|| 1.0 / (n_before + 1) as f64)
    }

    fn begins(&self, epochs: &Epochs) -> usize {
        self.from.to_steps(epochs)
    }

    fn measures(&self) -> bool {
        true
    }

    fn problem(&self) -> Option<String> {
        self.every.is_none().then(|| "`every` is longer than 0".to_owned())
    }
}
