//! The 1cycle policy with cosine annealing: the learning rate rises and falls while momentum falls and rises.
//!
//! Half a cosine wave from 1 / `div` up to 1, then half a wave down to the final rate; momentum follows the
//! same halves between its three values. The two definitions differ in where the peak and the end are:
//!
//! - `torch`: the peak is at step `pct_start` · total - 1, the end at the last step, with rate
//!   1 / (`div` · `final_div`): PyTorch's `OneCycleLR` with two phases;
//! - `fastai`: the peak is at step `pct_start` · total, the end one step after the last, with rate
//!   1 / `final_div`: fastai's `fit_one_cycle`.
//!
//! Smith & Topin, "Super-Convergence", 2017, <https://arxiv.org/abs/1708.07120>. We differ in that a peak
//! before the first step is moved to the first step, where PyTorch divides by 0.

use base::Clock;
use serde::{Deserialize, Serialize};

use super::{Rates, Schedule, divisor_problem, half_wave, share_problem};

/// `[schedule] kind = "one_cycle"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Settings")]
pub struct OneCycle {
    /// Which definition to use.
    pub definition: Definition,
    /// The share of the run in which the rate rises.
    pub pct_start: f64,
    /// The peak divided by the initial rate.
    pub div: f64,
    /// The initial rate (torch) or the peak (fastai) divided by the final rate.
    pub final_div: f64,
    /// The momentum at the beginning, at the peak and at the end; empty: the optimizer's.
    pub momentum: Vec<f64>,
}

/// The definition of the 1cycle policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Definition {
    /// PyTorch's `OneCycleLR`.
    #[default]
    Torch,
    /// fastai's `fit_one_cycle`.
    Fastai,
}

/// The settings of a config; missing ones take the definition's defaults.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    definition: Definition,
    pct_start: Option<f64>,
    div: Option<f64>,
    final_div: Option<f64>,
    momentum: Option<Vec<f64>>,
}

impl From<Settings> for OneCycle {
    fn from(settings: Settings) -> OneCycle {
        let it = OneCycle::of(settings.definition);
        OneCycle {
            definition: it.definition,
            pct_start: settings.pct_start.unwrap_or(it.pct_start),
            div: settings.div.unwrap_or(it.div),
            final_div: settings.final_div.unwrap_or(it.final_div),
            momentum: settings.momentum.unwrap_or(it.momentum),
        }
    }
}

impl OneCycle {
    /// Returns the defaults of a definition.
    pub fn of(definition: Definition) -> OneCycle {
        let (pct_start, final_div) = match definition {
            Definition::Torch => (0.3, 1e4),
            Definition::Fastai => (0.25, 1e5),
        };
        OneCycle { definition, pct_start, div: 25.0, final_div, momentum: vec![0.95, 0.85, 0.95] }
    }
}

impl Default for OneCycle {
    /// PyTorch's defaults.
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
            "`momentum` is three numbers from 0 to below 1, or empty for the optimizer's".to_owned()
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
    fn missing_settings_default_to_the_definitions() {
        let read = |text: &str| toml::from_str::<OneCycle>(text).unwrap();
        assert_eq!(read(""), OneCycle::default());
        assert_eq!(read("definition = \"fastai\"").final_div, 1e5);
        let partial = read("definition = \"fastai\"\npct_start = 0.5\nmomentum = []");
        let want =
            OneCycle { pct_start: 0.5, momentum: vec![], ..OneCycle::of(Definition::Fastai) };
        assert_eq!(partial, want);
        assert!(toml::from_str::<OneCycle>("pct = 0.5").is_err());
    }
}
