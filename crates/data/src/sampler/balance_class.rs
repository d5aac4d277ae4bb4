//! The same number of examples of each class.
//!
//! As many as the rarest class has (`downsampling`), the most frequent one (`upsampling`), or a
//! number; with replacement only where a class has fewer. Classes without examples do not count.
//!
//! catalyst's `BalanceClassSampler`, <https://github.com/catalyst-team/catalyst>.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{Groups, Sampler, stratified};

/// `sampler = { kind = "balance_class" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BalanceClass {
    /// Whose classes: `joint`, a factor's name, or `years`.
    pub over: String,
    /// How many of each class.
    pub mode: Mode,
}

/// How many examples each class gives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "is \"downsampling\", \"upsampling\" or a number of examples")]
pub enum Mode {
    /// By what the classes have.
    To(To),
    /// So many.
    Number(usize),
}

/// A class that the others follow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// The rarest.
    Downsampling,
    /// The most frequent.
    Upsampling,
}

impl Mode {
    /// What is wrong with it, if anything is.
    pub(super) fn problem(self) -> Option<String> {
        (self == Mode::Number(0)).then(|| "`mode` is a number above 0".to_owned())
    }
}

impl Default for BalanceClass {
    /// catalyst's.
    fn default() -> BalanceClass {
        BalanceClass { over: "joint".to_owned(), mode: Mode::To(To::Downsampling) }
    }
}

impl BalanceClass {
    /// How many examples of each class an epoch has.
    fn counts(&self, groups: &Groups) -> Vec<usize> {
        let present = || groups.counts().filter(|&it| it > 0);
        let n = match self.mode {
            Mode::To(To::Downsampling) => present().min().unwrap_or(0),
            Mode::To(To::Upsampling) => present().max().unwrap_or(0),
            Mode::Number(n) => n,
        };
        groups.counts().map(|it| if it > 0 { n } else { 0 }).collect()
    }
}

impl Sampler for BalanceClass {
    fn over(&self) -> &str {
        &self.over
    }

    fn n_draws(&self, groups: &Groups, _: usize) -> usize {
        self.counts(groups).into_iter().fold(0, usize::saturating_add)
    }

    fn order(&self, groups: &Groups, _: usize, rng: &mut Rng) -> Vec<usize> {
        stratified(groups, &self.counts(groups), rng)
    }

    fn problem(&self) -> Option<String> {
        self.mode.problem()
    }
}
