//! The head alone for a while, then all stages, the first of them slowest.
//!
//! While the backbone rests the head learns on a one-cycle that rises for 99 % of that time. What is left of
//! the run is another, of half the rate, `pct_start` and `div`, in which the first stage learns at
//! 1 / `lr_mult` of what the head does. Both are `fastai`'s `one_cycle`.
//!
//! fastai's `fine_tune`. We differ in that the norms of what rests do so too, where fastai trains them, at
//! a tenth of the rate; in that `frozen` is a part of the run, and not time before it; and in that stages
//! are more than fastai's two or three groups.

use base::{Clock, Length};
use serde::{Deserialize, Serialize};

use super::{
    Rates, Schedule, divisor_problem,
    one_cycle::{Definition, OneCycle},
    share_problem,
};

/// `[schedule] kind = "fine_tune"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FineTune {
    /// How long the backbone rests, after the warm-up if there is one.
    pub frozen: Length,
    /// How many times as fast the head learns as the first stage.
    pub lr_mult: f64,
    /// The share of what is left in which the rate rises.
    pub pct_start: f64,
    /// What the peak is divided by where that begins.
    pub div: f64,
}

impl Default for FineTune {
    /// fastai's.
    fn default() -> FineTune {
        FineTune { frozen: Length::Epochs(1.0), lr_mult: 100.0, pct_start: 0.3, div: 5.0 }
    }
}

/// How much of the first rate is left when all stages learn.
const THEN: f64 = 0.5;

impl Schedule for FineTune {
    fn at(&self, clock: &Clock) -> Rates {
        let curve = OneCycle {
            pct_start: self.pct_start,
            div: self.div,
            ..OneCycle::of(Definition::Fastai)
        };
        let rates = curve.at(clock);
        Rates { lr: THEN * rates.lr, slice: 1.0 / self.lr_mult, ..rates }
    }

    fn frozen(&self) -> Option<Length> {
        Some(self.frozen)
    }

    fn while_frozen(&self, clock: &Clock) -> Rates {
        OneCycle { pct_start: 0.99, ..OneCycle::of(Definition::Fastai) }.at(clock)
    }

    fn problem(&self) -> Option<String> {
        let never = self.frozen.is_none().then(|| "`frozen` is longer than nothing".to_owned());
        never
            .or_else(|| divisor_problem("lr_mult", self.lr_mult))
            .or_else(|| share_problem("pct_start", self.pct_start))
            .or_else(|| divisor_problem("div", self.div))
    }
}
