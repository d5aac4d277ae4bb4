//! From the data's shares in the first epoch towards the same number of each class.
//!
//! D_c = n_c / n_min; in epoch e, from 0, class c gives ⌊min(D_c^(λ^(start + e)), max_d) · n⌋
//! examples, with replacement only where it has fewer; n is n_min, or a number. So λ^0 = 1 is the data
//! as it is, and an epoch becomes shorter and shorter. Classes without examples do not count.
//!
//! catalyst's `DynamicBalanceClassSampler`, <https://github.com/catalyst-team/catalyst>, after Wang et
//! al., "Dynamic Curriculum Learning for Imbalanced Data Classification", 2019,
//! <https://arxiv.org/abs/1901.06783>. It rounds down as catalyst does, where 109 / 83 · 83 is a little
//! less than 109.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{
    Groups, Sampler,
    balance_class::{Mode, To},
    stratified,
};

/// `sampler = { kind = "dynamic_balance" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DynamicBalance {
    /// Whose classes: `joint`, a factor's name, or `years`.
    pub over: String,
    /// λ: how much of the imbalance's exponent each epoch keeps.
    pub exp_lambda: f64,
    /// The epoch that the first one is taken for.
    pub start_epoch: usize,
    /// How many times more a frequent class may give than the rarest.
    pub max_d: f64,
    /// How many examples the rarest class gives: as many as it has (`downsampling`), or a number.
    pub mode: Mode,
}

impl Default for DynamicBalance {
    /// catalyst's.
    fn default() -> DynamicBalance {
        DynamicBalance {
            over: "joint".to_owned(),
            exp_lambda: 0.9,
            start_epoch: 0,
            max_d: f64::INFINITY,
            mode: Mode::To(To::Downsampling),
        }
    }
}

impl DynamicBalance {
    /// How many examples of each class an epoch has.
    fn counts(&self, groups: &Groups, epoch_idx: usize) -> Vec<usize> {
        let least = groups.counts().filter(|&it| it > 0).min().unwrap_or(0) as f64;
        let n = match self.mode {
            Mode::To(_) => least,
            Mode::Number(n) => n as f64,
        };
        let exponent = self.exp_lambda.powf(self.start_epoch as f64 + epoch_idx as f64);
        let count = |it: usize| match it {
            0 => 0,
            it => ((it as f64 / least).powf(exponent).min(self.max_d) * n) as usize,
        };
        groups.counts().map(count).collect()
    }
}

impl Sampler for DynamicBalance {
    fn over(&self) -> &str {
        &self.over
    }

    fn n_draws(&self, groups: &Groups, epoch_idx: usize) -> usize {
        self.counts(groups, epoch_idx).into_iter().fold(0, usize::saturating_add)
    }

    fn order(&self, groups: &Groups, epoch_idx: usize, rng: &mut Rng) -> Vec<usize> {
        stratified(groups, &self.counts(groups, epoch_idx), rng)
    }

    fn problem(&self) -> Option<String> {
        if !(self.exp_lambda > 0.0 && self.exp_lambda < 1.0) {
            return Some(format!("`exp_lambda` is between 0 and 1, not {}", self.exp_lambda));
        }
        if self.max_d.is_nan() || self.max_d < 1.0 {
            return Some(format!("`max_d` is at least 1, not {}", self.max_d));
        }
        if self.mode == Mode::To(To::Upsampling) {
            return Some("`mode` is \"downsampling\" or a number of examples".to_owned());
        }
        self.mode.problem()
    }
}
