//! Times `gamma` after each of some epochs.
//!
//! gamma^(the number of milestones that are over): PyTorch's `MultiStepLR`, stepped once an epoch.

use base::Clock;
use serde::{Deserialize, Serialize};

use super::{Rates, Schedule, factor_problem};

/// `[schedule] kind = "multi_step"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MultiStep {
    /// The epochs after which the rate drops, rising.
    pub milestones: Vec<usize>,
    /// What is kept at each drop.
    pub gamma: f64,
}

impl Default for MultiStep {
    /// As residual networks were first trained on ImageNet, in 90 epochs.
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
        let rises = self.milestones.is_sorted_by(|a, b| a < b);
        let is_list = rises && self.milestones.first().is_some_and(|&it| it > 0);
        let what = || "`milestones` are epochs, at least one, from 1 and rising".to_owned();
        (!is_list).then(what).or_else(|| factor_problem("gamma", self.gamma))
    }
}
