//! Polynomial decay: a power of the remaining share of the run.
//!
//! floor + (1 - floor) (1 - progress)^power, updated every step: PyTorch's `PolynomialLR`, which has no
//! floor, and timm's `PolyLRScheduler`.

use base::Clock;
use serde::{Deserialize, Serialize};

use super::{Rates, Schedule, floor_problem};

/// `[schedule] kind = "polynomial"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Polynomial {
    /// The exponent. 1 is linear; larger values fall faster at the beginning.
    pub power: f64,
    /// The final rate, as a share of the peak.
    pub floor: f64,
}

impl Default for Polynomial {
    /// PyTorch's defaults.
    fn default() -> Polynomial {
        Polynomial { power: 1.0, floor: 0.0 }
    }
}

impl Schedule for Polynomial {
    fn at(&self, clock: &Clock) -> Rates {
        let left = 1.0 - clock.progress().clamp(0.0, 1.0);
        Rates::of(self.floor + (1.0 - self.floor) * left.powf(self.power))
    }

    fn problem(&self) -> Option<String> {
        let is_power = self.power > 0.0 && self.power.is_finite();
        let power = (!is_power).then(|| format!("`power` is above 0, not {}", self.power));
        power.or_else(|| floor_problem(self.floor))
    }
}
