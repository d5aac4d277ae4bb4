//! Samples the same number of examples from each class.
//!
//! As many as the rarest class has (`downsampling`), as the most frequent one has (`upsampling`), or a
//! given number; with replacement only where a class has fewer. Classes without examples are ignored.
//!
//! catalyst's `BalanceClassSampler`, <https://github.com/catalyst-team/catalyst>.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{ByClass, Sampler, stratified};

/// `sampler = { kind = "balance_class" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BalanceClass {
    /// Which classes are balanced: `joint`, a factor's name, or its number's, such as `age.number`.
    pub over: String,
    /// The number of examples per class.
    pub mode: Mode,
}

/// The number of examples sampled per class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be \"downsampling\", \"upsampling\" or a number of examples")]
pub enum Mode {
    /// The size of one of the classes.
    To(To),
    /// A given number.
    Number(usize),
}

/// The class whose size is used for all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// The rarest class.
    Downsampling,
    /// The most frequent class.
    Upsampling,
}

impl Mode {
    /// Returns what is wrong with the setting, if anything.
    pub(super) fn problem(self) -> Option<String> {
        (self == Mode::Number(0)).then(|| "`mode` must be above 0".to_owned())
    }
}

impl Default for BalanceClass {
    /// catalyst's defaults.
    fn default() -> BalanceClass {
        BalanceClass { over: "joint".to_owned(), mode: Mode::To(To::Downsampling) }
    }
}

impl BalanceClass {
    /// Returns the number of examples of each class in an epoch.
    fn counts(&self, by_class: &ByClass) -> Vec<usize> {
        let present = || by_class.counts().filter(|&it| it > 0);
        let n = match self.mode {
            Mode::To(To::Downsampling) => present().min().unwrap_or(0),
            Mode::To(To::Upsampling) => present().max().unwrap_or(0),
            Mode::Number(n) => n,
        };
        by_class.counts().map(|it| if it > 0 { n } else { 0 }).collect()
    }
}

impl Sampler for BalanceClass {
    fn over(&self) -> &str {
        &self.over
    }

    fn n_samples(&self, by_class: &ByClass, _: usize) -> usize {
        self.counts(by_class).into_iter().fold(0, usize::saturating_add)
    }

    fn order(&self, by_class: &ByClass, _: usize, rng: &mut Rng) -> Vec<usize> {
        stratified(by_class, &self.counts(by_class), rng)
    }

    fn problem(&self) -> Option<String> {
        self.mode.problem()
    }
}
