//! Multiplies the learning rate by `gamma` every `epochs` epochs.
//!
//! gamma^⌊epoch / epochs⌋: PyTorch's `StepLR`, stepped once per epoch.

use base::Clock;
use serde::{Deserialize, Serialize};

use super::{Rates, Schedule, factor_problem};

/// `[schedule] kind = "step"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// The number of epochs between drops.
    pub epochs: usize,
    /// The factor of each drop.
    pub gamma: f64,
}

impl Default for Step {
    /// The values of the competition's baseline code.
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
