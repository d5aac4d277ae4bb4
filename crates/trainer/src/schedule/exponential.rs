//! Multiplies the learning rate by `gamma` every epoch.
//!
//! gamma^epoch, with whole epochs: PyTorch's `ExponentialLR`, stepped once per epoch.

use base::Clock;
use serde::{Deserialize, Serialize};

use super::{Rates, Schedule, factor_problem};

/// `[schedule] kind = "exponential"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exponential {
    /// The factor of each epoch.
    pub gamma: f64,
}

impl Default for Exponential {
    /// The value of a competition entry.
    fn default() -> Exponential {
        Exponential { gamma: 0.995 }
    }
}

impl Schedule for Exponential {
    fn at(&self, clock: &Clock) -> Rates {
        Rates::of(self.gamma.powf(clock.epoch_idx() as f64))
    }

    fn problem(&self) -> Option<String> {
        factor_problem("gamma", self.gamma)
    }
}
