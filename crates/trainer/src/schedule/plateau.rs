//! Times `factor` when evaluations are no better any more.
//!
//! An evaluation is better where it beats the best one by the `threshold`: best · (1 ± threshold), or
//! best ± threshold. After more than `patience` in a row that are not, the rate drops, and for `cooldown`
//! evaluations none of them counts.
//!
//! PyTorch's `ReduceLROnPlateau`, on `eval.best_by`. It is worked out anew from all evaluations each time,
//! so that it has nothing to keep. We differ in that a drop is never too small to be done.

use base::Clock;
use serde::{Deserialize, Serialize};

use super::{Rates, Schedule, factor_problem, floor_problem};

/// `[schedule] kind = "plateau"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plateau {
    /// What is kept at each drop.
    pub factor: f64,
    /// Evaluations in a row that may be no better.
    pub patience: usize,
    /// By how much a better one is better.
    pub threshold: f64,
    /// What that is measured in.
    pub threshold_mode: ThresholdMode,
    /// Evaluations after a drop that do not count.
    pub cooldown: usize,
    /// The least share of the peak that is left.
    pub floor: f64,
}

/// What a threshold is measured in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdMode {
    /// The best score.
    #[default]
    Rel,
    /// The metric's own unit.
    Abs,
}

impl Default for Plateau {
    /// PyTorch's.
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
    /// Whether a score is enough better than the best before.
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
