//! Samples with class shares that move from the data's in the first epoch towards equal shares.
//!
//! D_c = n_c / n_min; in epoch e, counted from 0, ⌊min(D_c^(λ^(start + e)), max_d) · n⌋ examples of class c
//! are sampled, with replacement only where the class has fewer; n is n_min, or a given number. So λ^0 = 1
//! is the data's distribution, and epochs become shorter and shorter. Classes without examples are ignored.
//!
//! catalyst's `DynamicBalanceClassSampler`, <https://github.com/catalyst-team/catalyst>, after Wang et
//! al., "Dynamic Curriculum Learning for Imbalanced Data Classification", 2019,
//! <https://arxiv.org/abs/1901.06783>. It rounds down as catalyst does: 109 / 83 · 83 is slightly less than
//! 109 in floating point.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{
    ByClass, Sampler,
    balance_class::{Mode, To},
    stratified,
};

/// `sampler = { kind = "dynamic_balance" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DynamicBalance {
    /// Which classes are balanced: `joint`, a factor's name, or its number's, such as `age.number`.
    pub over: String,
    /// λ: the factor by which the exponent of the imbalance decays per epoch.
    pub exp_lambda: f64,
    /// The epoch number that the first epoch counts as.
    pub start_epoch: usize,
    /// The maximum ratio of the examples of a frequent class to those of the rarest.
    pub max_d: f64,
    /// The number of examples of the rarest class: as many as it has (`downsampling`), or a number.
    pub mode: Mode,
}

impl Default for DynamicBalance {
    /// catalyst's defaults.
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
    /// Returns the number of examples of each class in an epoch.
    fn counts(&self, by_class: &ByClass, epoch_idx: usize) -> Vec<usize> {
        let least = by_class.counts().filter(|&it| it > 0).min().unwrap_or(0) as f64;
        let n = match self.mode {
            Mode::To(_) => least,
            Mode::Number(n) => n as f64,
        };
        let exponent = self.exp_lambda.powf(self.start_epoch as f64 + epoch_idx as f64);
        let count = |it: usize| match it {
            0 => 0,
            it => ((it as f64 / least).powf(exponent).min(self.max_d) * n) as usize,
        };
        by_class.counts().map(count).collect()
    }
}

impl Sampler for DynamicBalance {
    fn over(&self) -> &str {
        &self.over
    }

    fn n_samples(&self, by_class: &ByClass, epoch_idx: usize) -> usize {
        self.counts(by_class, epoch_idx).into_iter().fold(0, usize::saturating_add)
    }

    fn order(&self, by_class: &ByClass, epoch_idx: usize, rng: &mut Rng) -> Vec<usize> {
        stratified(by_class, &self.counts(by_class, epoch_idx), rng)
    }

    fn problem(&self) -> Option<String> {
        if !(self.exp_lambda > 0.0 && self.exp_lambda < 1.0) {
            return Some(format!("`exp_lambda` must be between 0 and 1, not {}", self.exp_lambda));
        }
        if self.max_d.is_nan() || self.max_d < 1.0 {
            return Some(format!("`max_d` must be at least 1, not {}", self.max_d));
        }
        if self.mode == Mode::To(To::Upsampling) {
            return Some("`mode` must be \"downsampling\" or a number of examples".to_owned());
        }
        self.mode.problem()
    }
}
