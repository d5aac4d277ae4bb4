//! Averages of weights: a second model beside the one that learns. One file a rule.
//!
//! average ← average + share · (weights - average), where the rule says when, and how large the share
//! is. An average that has begun is what is evaluated and kept.

mod ema;
mod off;
mod swa;

use std::{collections::BTreeMap, rc::Rc};

use base::Epochs;
use candle::{Result, Tensor};
use models::{Kind, Model};

base::choice! {
    /// The `[average]` section of a config.
    pub enum AverageConfig: dyn Rule {
        /// The weights as they are.
        "none" => Off(off::Off),
        /// An exponential moving average, of norms' statistics as well (Polyak & Juditsky, 1992).
        "ema" => Ema(ema::Ema),
        /// The mean of the weights from a moment on (Izmailov et al., 2018).
        "swa" => Swa(swa::Swa),
    }
}

/// When weights are averaged, and how.
pub trait Rule {
    /// The share of the new weights after `step` steps; none where nothing happens.
    ///
    /// - `n_before`: how often it has happened.
    fn share(&self, step: usize, epochs: &Epochs, n_before: u64) -> Option<f64>;

    /// The step that it begins after, whatever the run's length.
    fn begins(&self, _: &Epochs) -> usize {
        0
    }

    /// Whether norms' running statistics are measured anew before the average is used, instead of
    /// being averaged.
    fn measures(&self) -> bool {
        false
    }

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String>;
}

/// An average of a model.
pub(crate) struct Average {
    model: Rc<Model>,
    n: u64,
}

impl Average {
    /// An average that has not begun.
    ///
    /// - `model`: of the same architecture, for the average's own numbers.
    pub(crate) fn new(model: Rc<Model>) -> Average {
        Average { model, n: 0 }
    }

    /// The average, once it has begun.
    pub(crate) fn model(&self) -> Option<&Rc<Model>> {
        (self.n > 0).then_some(&self.model)
    }

    /// Takes the weights of `model` in, if the rule says so after `step` steps.
    pub(crate) fn follow(
        &mut self,
        model: &Model,
        rule: &dyn Rule,
        step: usize,
        epochs: &Epochs,
    ) -> Result<()> {
        let Some(share) = rule.share(step, epochs, self.n) else { return Ok(()) };
        self.n += 1;
        let pairs = self.model.params().named().zip(model.params().named());
        for ((_, ours), (_, theirs)) in pairs {
            if rule.measures() && ours.kind == Kind::Buffer {
                continue;
            }
            if share == 1.0 {
                ours.var.set(theirs.var.as_tensor())?;
                continue;
            }
            let share = share as f32;
            ops::update(&ours.var, theirs.var.as_tensor(), [], |ours, theirs, []| {
                for (ours, theirs) in ours.iter_mut().zip(theirs) {
                    *ours += share * (theirs - *ours);
                }
            })?;
        }
        Ok(())
    }

    /// Everything, by name; copies.
    pub(crate) fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = self.model.params().to_file()?;
        state.push((COUNT.to_owned(), Tensor::new(&[self.n as i64], &candle::Device::Cpu)?));
        Ok(state)
    }

    /// Goes on from a [state](Average::state).
    ///
    /// # Errors
    /// A state of another model; then nothing has changed.
    pub(crate) fn load(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        let count = state.remove(COUNT);
        let count = count.ok_or_else(|| candle::Error::Msg(format!("`{COUNT}` is missing")))?;
        let count = count.to_vec1::<i64>()?.first().copied().unwrap_or(0);
        self.model.params().load(&state).map_err(candle::Error::wrap)?;
        self.n = u64::try_from(count).unwrap_or(0);
        Ok(())
    }
}

/// No parameter is called so: they all have a dot in their names.
const COUNT: &str = "n_averaged";
