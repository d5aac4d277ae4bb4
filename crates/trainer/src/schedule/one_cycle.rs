//! Up and down in one cosine wave, while momentum goes down and up.
//!
//! Half a wave from 1 / `div` up to 1, and half a wave down to the end; momentum goes by the same halves
//! between its three values. Two definitions differ in where the peak is and in what the end is:
//!
//! - `torch`: the peak is at step `pct_start` · total - 1, the end at the last step, and it is
//!   1 / (`div` · `final_div`): PyTorch's `OneCycleLR` with two phases;
//! - `fastai`: the peak is at step `pct_start` · total, the end one step after the last, and it is
//!   1 / `final_div`: fastai's `fit_one_cycle`.
//!
//! Smith & Topin, "Super-Convergence", 2017, <https://arxiv.org/abs/1708.07120>. We differ in that a peak
//! before the first step is there at the first step, where PyTorch divides by nothing.

use base::Clock;
use serde::{Deserialize, Serialize};

use super::{Rates, Schedule, divisor_problem, half_wave, share_problem};

/// `[schedule] kind = "one_cycle"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Said")]
pub struct OneCycle {
    /// Whose it is.
    pub definition: Definition,
    /// The share of the run in which the rate rises.
    pub pct_start: f64,
    /// What the peak is divided by at the beginning.
    pub div: f64,
    /// What that is divided by at the end (torch), or the peak (fastai).
    pub final_div: f64,
    /// In the beginning, at the peak and at the end; nothing: the optimizer's own.
    pub momentum: Vec<f64>,
}

/// Whose one-cycle it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Definition {
    /// PyTorch's.
    #[default]
    Torch,
    /// fastai's.
    Fastai,
}

/// What a config says; what it leaves out is the definition's.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Said {
    definition: Definition,
    pct_start: Option<f64>,
    div: Option<f64>,
    final_div: Option<f64>,
    momentum: Option<Vec<f64>>,
}

impl From<Said> for OneCycle {
    fn from(said: Said) -> OneCycle {
        let it = OneCycle::of(said.definition);
        OneCycle {
            definition: it.definition,
            pct_start: said.pct_start.unwrap_or(it.pct_start),
            div: said.div.unwrap_or(it.div),
            final_div: said.final_div.unwrap_or(it.final_div),
            momentum: said.momentum.unwrap_or(it.momentum),
        }
    }
}

impl OneCycle {
    /// As the definition has it.
    pub fn of(definition: Definition) -> OneCycle {
        let (pct_start, final_div) = match definition {
            Definition::Torch => (0.3, 1e4),
            Definition::Fastai => (0.25, 1e5),
        };
        OneCycle { definition, pct_start, div: 25.0, final_div, momentum: vec![0.95, 0.85, 0.95] }
    }
}

impl Default for OneCycle {
    /// PyTorch's.
    fn default() -> OneCycle {
        OneCycle::of(Definition::default())
    }
}

impl Schedule for OneCycle {
    fn at(&self, clock: &Clock) -> Rates {
        let (step, total) = (clock.step as f64, clock.total as f64);
        let (peak, last, lowest) = match self.definition {
            Definition::Torch => {
                (self.pct_start * total - 1.0, total - 1.0, self.div * self.final_div)
            }
            Definition::Fastai => (self.pct_start * total, total, self.final_div),
        };
        let between = |[begin, middle, end]: [f64; 3]| match step < peak {
            true => half_wave(begin, middle, step / peak),
            false => half_wave(middle, end, (step - peak) / (last - peak)),
        };
        let momentum = self.momentum.as_slice().try_into().ok().map(between);
        Rates { momentum, ..Rates::of(between([1.0 / self.div, 1.0, 1.0 / lowest])) }
    }

    fn problem(&self) -> Option<String> {
        let is_momentum = matches!(self.momentum.len(), 0 | 3)
            && self.momentum.iter().all(|it| (0.0..1.0).contains(it));
        let momentum = || {
            "`momentum` is three numbers from 0 and below 1, or none for the optimizer's own"
                .to_owned()
        };
        share_problem("pct_start", self.pct_start)
            .or_else(|| divisor_problem("div", self.div))
            .or_else(|| divisor_problem("final_div", self.final_div))
            .or_else(|| (!is_momentum).then(momentum))
    }
}

#[cfg(test)]
mod tests {
    use super::{Definition, OneCycle};

    #[test]
    fn what_is_left_out_is_the_definitions() {
        let read = |text: &str| toml::from_str::<OneCycle>(text).unwrap();
        assert_eq!(read(""), OneCycle::default());
        assert_eq!(read("definition = \"fastai\"").final_div, 1e5);
        let said = read("definition = \"fastai\"\npct_start = 0.5\nmomentum = []");
        let want =
            OneCycle { pct_start: 0.5, momentum: vec![], ..OneCycle::of(Definition::Fastai) };
        assert_eq!(said, want);
        assert!(toml::from_str::<OneCycle>("pct = 0.5").is_err());
    }
}
