//! Times `gamma` every so many epochs.
//!
//! gamma^⌊epoch / epochs⌋: PyTorch's `StepLR`, stepped once an epoch.

use base::Clock;
use serde::{Deserialize, Serialize};

use super::{Rates, Schedule, factor_problem};

/// `[schedule] kind = "step"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// How long the rate stays the same, in epochs.
    pub epochs: usize,
    /// What is kept at each drop.
    pub gamma: f64,
}

impl Default for Step {
    /// The competition's own code's.
    fn default() -> Step {
        Step { epochs: 20, gamma: 0.5 }
    }
}

impl Schedule for Step {
    fn at(&self, clock: &Clock) -> Rates {
        let n_drops = clock.epoch_idx() / self.epochs.max(1);
        Rates::of(self.gamma.powf(n_drops as f64))
    }

    fn problem(&self) -> Option<String> {
        let epochs = (self.epochs == 0).then(|| "`epochs` is at least 1".to_owned());
        epochs.or_else(|| factor_problem("gamma", self.gamma))
    }
}
