//! A constant rate for most of the run, then cosine annealing.
//!
//! 1 for the first `pct_start` of the steps, then half a cosine wave to 1 / `final_div`: fastai's
//! `fit_flat_cos`.

use base::Clock;
use serde::{Deserialize, Serialize};

use super::{Rates, Schedule, divisor_problem, half_wave, share_problem};

/// `[schedule] kind = "flat_cosine"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlatCosine {
    /// The share of the run with a constant rate.
    pub pct_start: f64,
    /// The peak divided by the final rate.
    pub final_div: f64,
}

impl Default for FlatCosine {
    /// fastai's defaults.
    fn default() -> FlatCosine {
        FlatCosine { pct_start: 0.75, final_div: 1e5 }
    }
}

impl Schedule for FlatCosine {
    fn at(&self, clock: &Clock) -> Rates {
        let share = (clock.progress() - self.pct_start) / (1.0 - self.pct_start);
        Rates::of(half_wave(1.0, 1.0 / self.final_div, share))
    }

    fn problem(&self) -> Option<String> {
        share_problem("pct_start", self.pct_start)
            .or_else(|| divisor_problem("final_div", self.final_div))
    }
}
