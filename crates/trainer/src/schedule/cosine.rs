//! Half a cosine wave from 1 down to `floor`.
//!
//! floor + (1 - floor) (1 + cos(π · progress)) / 2, step by step.
//!
//! Loshchilov & Hutter, "SGDR", 2016, <https://arxiv.org/abs/1608.03983>, without the restarts.

use std::f64::consts::PI;

use base::Clock;
use serde::{Deserialize, Serialize};

use super::{Rates, Schedule};

/// `[schedule] kind = "cosine"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cosine {
    /// Where the curve ends, as a share of the peak.
    pub floor: f64,
}

impl Schedule for Cosine {
    fn at(&self, clock: &Clock) -> Rates {
        let wave = 0.5 * (1.0 + (PI * clock.progress().clamp(0.0, 1.0)).cos());
        Rates::of(self.floor + (1.0 - self.floor) * wave)
    }

    fn problem(&self) -> Option<String> {
        let is_share = (0.0..=1.0).contains(&self.floor);
        (!is_share).then(|| format!("`floor` is a share of the peak, not {}", self.floor))
    }
}
