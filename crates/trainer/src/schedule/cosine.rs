//! Cosine annealing from 1 to `floor`.
//!
//! floor + (1 - floor) (1 + cos(π · progress)) / 2, updated every step.
//!
//! Loshchilov & Hutter, "SGDR", 2016, <https://arxiv.org/abs/1608.03983>, without restarts.

use base::Clock;
use serde::{Deserialize, Serialize};

use super::{Rates, Schedule, floor_problem, half_wave};

/// `[schedule] kind = "cosine"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cosine {
    /// The final rate, as a share of the peak.
    pub floor: f64,
}

impl Schedule for Cosine {
    fn at(&self, clock: &Clock) -> Rates {
        Rates::of(half_wave(1.0, self.floor, clock.progress()))
    }

    fn problem(&self) -> Option<String> {
        floor_problem(self.floor)
    }
}
