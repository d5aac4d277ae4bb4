//! Multiplies the learning rate by `factor` when evaluations stop improving.
//!
//! An evaluation improves where it beats the best one by the `threshold`: best · (1 ± threshold), or
//! best ± threshold. After more than `patience` evaluations in a row without improvement, the rate drops, and
//! the next `cooldown` evaluations are not counted.
//!
//! PyTorch's `ReduceLROnPlateau`, on `eval.best_by`. It is recomputed from all evaluations each time,
//! so it has no state. We differ in that a drop is never too small to be applied (PyTorch's `eps`).

use base::Clock;
use serde::{Deserialize, Serialize};

use super::{Rates, Schedule, factor_problem, floor_problem};

/// `[schedule] kind = "plateau"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plateau {
    /// The factor of each drop.
    pub factor: f64,
    /// The number of evaluations in a row that may fail to improve.
    pub patience: usize,
    /// The minimum improvement that counts.
    pub threshold: f64,
    /// Whether the threshold is relative or absolute.
    pub threshold_mode: ThresholdMode,
    /// The number of evaluations after a drop that are not counted.
    pub cooldown: usize,
    /// The minimum rate, as a share of the peak.
    pub floor: f64,
}

/// How a threshold is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdMode {
    /// Relative to the best score.
    #[default]
    Rel,
    /// Absolute, in the metric's unit.
    Abs,
}

impl Default for Plateau {
    /// PyTorch's defaults.
    fn default() -> Plateau {
        Plateau {
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            threshold_mode: ThresholdMode::default(),
            cooldown: 0,
            floor: 0.0,
        }
    }
}

impl Plateau {
    /// Returns whether a score improves on the best so far by the threshold.
    fn improves(&self, score: f64, best: f64, more_is_better: bool) -> bool {
        let sign = if more_is_better { 1.0 } else { -1.0 };
        let bar = match self.threshold_mode {
            ThresholdMode::Rel => best * (1.0 + sign * self.threshold),
            ThresholdMode::Abs => best + sign * self.threshold,
        };
        if more_is_better { score > bar } else { score < bar }
    }
}

impl Schedule for Plateau {
    fn at(&self, _: &Clock) -> Rates {
        Rates::of(1.0)
    }

    fn left(&self, scores: &[f64], more_is_better: bool) -> f64 {
        let mut best = if more_is_better { f64::NEG_INFINITY } else { f64::INFINITY };
        let (mut left, mut n_bad, mut n_cool) = (1.0, 0, 0);
        for &score in scores {
            match self.improves(score, best, more_is_better) {
                true => (best, n_bad) = (score, 0),
                false => n_bad += 1,
            }
            if n_cool > 0 {
                (n_cool, n_bad) = (n_cool - 1, 0);
            }
            if n_bad > self.patience {
                left = f64::max(left * self.factor, self.floor);
                (n_cool, n_bad) = (self.cooldown, 0);
            }
        }
        left
    }

    fn problem(&self) -> Option<String> {
        let is_threshold = self.threshold >= 0.0 && self.threshold.is_finite();
        let what = || format!("`threshold` is 0 or more, not {}", self.threshold);
        factor_problem("factor", self.factor)
            .or_else(|| (!is_threshold).then(what))
            .or_else(|| floor_problem(self.floor))
    }
}
