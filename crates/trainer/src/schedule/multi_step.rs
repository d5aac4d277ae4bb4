//! Multiplies the learning rate by `gamma` after each milestone.
//!
//! gamma^(the number of milestones passed): PyTorch's `MultiStepLR`, stepped once per epoch.

use base::Clock;
use serde::{Deserialize, Serialize};

use super::{Rates, Schedule, factor_problem};

/// `[schedule] kind = "multi_step"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MultiStep {
    /// The epochs after which the rate drops, in increasing order.
    pub milestones: Vec<usize>,
    /// The factor of each drop.
    pub gamma: f64,
}

impl Default for MultiStep {
    /// The schedule of the first residual networks on ImageNet, over 90 epochs.
    fn default() -> MultiStep {
        MultiStep { milestones: vec![30, 60], gamma: 0.1 }
    }
}

impl Schedule for MultiStep {
    fn at(&self, clock: &Clock) -> Rates {
        let n_drops = self.milestones.iter().filter(|&&it| it <= clock.epoch_idx()).count();
        Rates::of(self.gamma.powf(n_drops as f64))
    }

    fn problem(&self) -> Option<String> {
        let is_increasing = self.milestones.is_sorted_by(|a, b| a < b);
        let is_valid = is_increasing && self.milestones.first().is_some_and(|&it| it > 0);
        let what = || "`milestones` are one or more epochs, from 1 and increasing".to_owned();
        (!is_valid).then(what).or_else(|| factor_problem("gamma", self.gamma))
    }
}
