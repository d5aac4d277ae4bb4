//! Trains the head on a frozen backbone, then all stages at discriminative learning rates.
//!
//! While the backbone is frozen, the head is trained with a 1cycle schedule that rises for 99 % of that
//! phase. The remaining run is a second cycle at half the learning rate, with `pct_start` and `div`, in which
//! the first stage's rate is 1 / `lr_mult` of the head's. Both are `one_cycle` in `fastai`'s definition.
//!
//! fastai's `fine_tune`. We differ in that the norm layers of frozen stages are frozen too, where fastai
//! trains them at a tenth of the rate; in that `frozen` is part of the run, not in addition to it; and in
//! that there are more stages than fastai's two or three groups.

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
    /// How long the backbone is frozen, after the warm-up if there is one.
    pub frozen: Length,
    /// The ratio of the head's learning rate to the first stage's.
    pub lr_mult: f64,
    /// The share of the remaining run in which the rate rises.
    pub pct_start: f64,
    /// The peak divided by the initial rate of the remaining run.
    pub div: f64,
}

impl Default for FineTune {
    /// fastai's defaults.
    fn default() -> FineTune {
        FineTune { frozen: Length::Epochs(1.0), lr_mult: 100.0, pct_start: 0.3, div: 5.0 }
    }
}

/// The factor of the learning rate once all stages are trained.
const UNFROZEN: f64 = 0.5;

impl Schedule for FineTune {
    fn at(&self, clock: &Clock) -> Rates {
        let curve = OneCycle {
            pct_start: self.pct_start,
            div: self.div,
            ..OneCycle::of(Definition::Fastai)
        };
        let rates = curve.at(clock);
        Rates { lr: UNFROZEN * rates.lr, slice: 1.0 / self.lr_mult, ..rates }
    }

    fn frozen(&self) -> Option<Length> {
        Some(self.frozen)
    }

    fn while_frozen(&self, clock: &Clock) -> Rates {
        OneCycle { pct_start: 0.99, ..OneCycle::of(Definition::Fastai) }.at(clock)
    }

    fn problem(&self) -> Option<String> {
        let frozen = self.frozen.is_none().then(|| "`frozen` is longer than 0".to_owned());
        frozen
            .or_else(|| divisor_problem("lr_mult", self.lr_mult))
            .or_else(|| share_problem("pct_start", self.pct_start))
            .or_else(|| divisor_problem("div", self.div))
    }
}
