//! Weight averaging: a second model that averages the weights of the one being trained. One file per rule.
//!
//! average ← average + share · (weights - average), where the rule decides when to update and how large the
//! share is. Once the average has begun, it is the model that is evaluated and saved.

mod ema;
mod off;
mod swa;

use std::{collections::BTreeMap, rc::Rc};

use base::Epochs;
use candle::{Error, Result, Tensor};
use models::{Kind, Model, Param};
use ops::Card;

use crate::card_optimizer::parameter;

base::choice! {
    /// The `[average]` section of a config.
    pub enum AverageConfig: dyn Rule {
        /// No weight averaging.
        "none" => Off(off::Off),
        /// Exponential moving average of weights and batch-norm statistics (Polyak & Juditsky, 1992).
        "ema" => Ema(ema::Ema),
        /// Stochastic weight averaging: the mean of late weights (Izmailov et al., 2018).
        "swa" => Swa(swa::Swa),
    }
}

/// When and how weights are averaged.
pub trait Rule {
    /// Returns the share of the new weights after `step` steps, or `None` where there is no update.
    ///
    /// - `n_before`: the number of earlier updates.
    fn share(&self, step: usize, epochs: &Epochs, n_before: u64) -> Option<f64>;

    /// Returns the step after which averaging begins, which may lie beyond the run's end.
    fn begins(&self, _: &Epochs) -> usize {
        0
    }

    /// Returns whether batch-norm running statistics are recomputed before the average is used, rather than
    /// averaged.
    fn measures(&self) -> bool {
        false
    }

    /// Returns the first invalid setting as a message, if there is one.
    fn problem(&self) -> Option<String>;
}

/// The average of a model's weights.
pub(crate) struct Average {
    model: Rc<Model>,
    n: u64,
    /// On a card: the averages there.
    on_card: Option<gpu::average::Average>,
}

impl Average {
    /// Creates an average that has not begun.
    ///
    /// - `model`: a model of the same architecture, which stores the average.
    pub(crate) fn new(model: Rc<Model>) -> Average {
        Average { model, n: 0, on_card: None }
    }

    /// Returns the same on a card, where the weights are.
    ///
    /// - `of`: the model that is averaged.
    pub(crate) fn on_card(self, card: &Card, of: &Model, rule: &dyn Rule) -> Result<Average> {
        let (mut averages, mut weights) = (Vec::new(), Vec::new());
        for (ours, theirs) in pairs(&self.model, of, rule) {
            averages.push(parameter(card, ours, false)?);
            weights.push(card.stored(theirs.var.as_tensor())?.master);
        }
        let on_card = gpu::average::Average::new(card.device(), averages, weights);
        Ok(Average { on_card: Some(on_card.map_err(Error::wrap)?), ..self })
    }

    /// Begins anew.
    pub(crate) fn begin(&mut self) {
        self.n = 0;
    }

    /// Returns the averaged model, once averaging has begun.
    pub(crate) fn model(&self) -> Option<&Rc<Model>> {
        (self.n > 0).then_some(&self.model)
    }

    /// Updates the average with the weights of `model`, if the rule has an update after `step` steps.
    pub(crate) fn update(
        &mut self,
        model: &Model,
        rule: &dyn Rule,
        step: usize,
        epochs: &Epochs,
    ) -> Result<()> {
        let Some(share) = rule.share(step, epochs, self.n) else { return Ok(()) };
        self.n += 1;
        if let Some(it) = &mut self.on_card {
            return it.update(share as f32).map_err(Error::wrap);
        }
        for (ours, theirs) in pairs(&self.model, model, rule) {
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

    /// Returns copies of all tensors, by name.
    pub(crate) fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = self.model.params().to_file()?;
        state.push((COUNT.to_owned(), Tensor::new(&[self.n as i64], &candle::Device::Cpu)?));
        Ok(state)
    }

    /// Loads a [state](Average::state).
    ///
    /// # Errors
    /// The state belongs to another model; nothing is changed then.
    pub(crate) fn load(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        let count = state.remove(COUNT);
        let count = count.ok_or_else(|| candle::Error::Msg(format!("`{COUNT}` is missing")))?;
        let count = count.to_vec1::<i64>()?.first().copied().unwrap_or(0);
        self.model.params().load(&state).map_err(candle::Error::wrap)?;
        self.n = u64::try_from(count).unwrap_or(0);
        Ok(())
    }
}

/// Returns the tensors that are averaged, each with that of the model that is trained.
fn pairs<'a>(
    ours: &'a Model,
    theirs: &'a Model,
    rule: &dyn Rule,
) -> impl Iterator<Item = (&'a Param, &'a Param)> {
    let measures = rule.measures();
    let pairs = ours.params().named().zip(theirs.params().named());
    let pairs = pairs.map(|((_, ours), (_, theirs))| (ours, theirs));
    pairs.filter(move |(ours, _)| !(measures && ours.kind == Kind::Buffer))
}

/// Returns the averaged weights of a [state](Average::state), if averaging has begun.
pub(crate) fn averaged(
    mut state: BTreeMap<String, Tensor>,
) -> Result<Option<BTreeMap<String, Tensor>>> {
    let count = state.remove(COUNT).map(|it| it.to_vec1::<i64>()).transpose()?;
    let has_begun = count.is_some_and(|it| it.first().is_some_and(|&n| n > 0));
    Ok(has_begun.then_some(state))
}

/// Cannot collide with a parameter, whose name contains a dot.
const COUNT: &str = "n_averaged";
