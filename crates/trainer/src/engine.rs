//! Where a network runs: on the CPU, or on a card.
//!
//! The steps of training are the same on both. On a card the numbers of parameters, averages and the optimizer's state
//! are there, and those of the host are copies, as old as the last [`copy_back`](Engine::copy_back). A step waits for
//! the card once, for the head's outputs: batches are copied on a stream of their own while the card still works on the
//! step before, and what follows the loss is asked for and not waited for.

use std::{cell::RefCell, collections::HashSet, ops::Range, rc::Rc};

use augment::Statistics;
use base::mix::MixedSample;
use candle::{DType, Device, Error, Result, Tensor, TensorId};
use data::Batch;
use gpu::{Storage, Uploads};
use infer::{Bundle, Predictor};
use models::{Model, Param};
use ops::{Card, CardRows, Gradients, Prepacked, Rows, Tape, Value};

use crate::{
    card_optimizer::CardOptimizer,
    clip::Clip,
    optim::Optimizer,
    plan::{Plan, PlanError},
};

/// Where a network runs.
pub(crate) enum Engine {
    /// The CPU.
    Cpu,
    /// A card, and the batches on their way there.
    Card(Card, RefCell<Uploads>),
}

/// The rows of a batch where the network is, in parts.
pub(crate) enum Inputs<'a> {
    /// They are made when they are asked for.
    Cpu(&'a Plan, &'a Batch),
    Card(std::vec::IntoIter<Value>),
}

/// Batches that are copied to the card ahead: one, while the one before is read.
const N_SLOTS: usize = 2;

impl Engine {
    /// Returns where a run is trained and evaluated.
    ///
    /// # Errors
    /// The card that is asked for cannot be used.
    pub(crate) fn new(plan: &Plan) -> std::result::Result<Engine, PlanError> {
        let Some((device, storage)) = &plan.opened()?.card else { return Ok(Engine::Cpu) };
        let uploads = Uploads::new(device, N_SLOTS).map_err(Error::wrap)?;
        Ok(Engine::Card(Card::new(device, *storage), RefCell::new(uploads)))
    }

    /// Returns where the final tables are predicted: on the same device, but in f32, so that they are what the bundle
    /// predicts on any other, but for the rounding of f32.
    pub(crate) fn in_f32(plan: &Plan) -> std::result::Result<Engine, PlanError> {
        Ok(match Engine::new(plan)? {
            Engine::Cpu => Engine::Cpu,
            Engine::Card(it, uploads) => {
                Engine::Card(Card::new(it.device(), Storage::F32), uploads)
            }
        })
    }

    /// Returns a tape for a training pass.
    pub(crate) fn tape(&self, frozen: &Rc<HashSet<TensorId>>) -> Tape {
        match self {
            Engine::Cpu => Tape::freezing(Rc::clone(frozen)),
            Engine::Card(card, _) => Tape::on_card(card, Rc::clone(frozen)),
        }
    }

    /// Brings a training batch to where the network is.
    ///
    /// - `parts`: the rows of each pass.
    pub(crate) fn inputs<'a>(
        &self,
        plan: &'a Plan,
        batch: &'a Batch,
        parts: &[Range<usize>],
    ) -> Result<Inputs<'a>> {
        let Engine::Card(card, uploads) = self else { return Ok(Inputs::Cpu(plan, batch)) };
        let Statistics { mean, std } = plan.train_pipeline.statistics;
        let mut uploads = uploads.borrow_mut();
        uploads
            .push(batch.images.len(), |to| to.copy_from_slice(&batch.images))
            .map_err(Error::wrap)?;
        let each = uploads.take(|images| {
            let of = |part: &Range<usize>| {
                let samples = &batch.samples[part.clone()];
                let rows = CardRows { images, size: batch.size, samples };
                ops::normalise_on_card(card, rows, mean, std)
            };
            Ok(parts.iter().map(of).collect::<Result<Vec<_>>>())
        });
        Ok(Inputs::Card(each.map_err(Error::wrap)??.into_iter()))
    }

    /// Clips gradients; on a card that is a part of the optimizer's step.
    pub(crate) fn clip(
        &self,
        clip: &dyn Clip,
        gradients: &mut Gradients,
        params: &[&Param],
        head: usize,
    ) -> Result<()> {
        match self {
            Engine::Cpu => clip.clip(gradients, params, head),
            Engine::Card(..) => Ok(()),
        }
    }

    /// Returns the optimizer of a phase, with an empty state.
    pub(crate) fn optimizer(
        &self,
        plan: &Plan,
        phase_idx: usize,
        model: &Model,
    ) -> Result<Box<dyn Optimizer>> {
        let experiment = &plan.phases[phase_idx].span.experiment;
        let (optim, groups) = (&experiment.optim, &plan.param_groups);
        match self {
            Engine::Cpu => Ok(optim.get().build(model.params(), groups)),
            Engine::Card(card, _) => {
                let clip = experiment.train.clip.get().on_card();
                let scaling = experiment.amp.scaling();
                // Running statistics too, so that no step has to copy them.
                for (_, it) in model.params().named() {
                    card.stored(it.var.as_tensor())?;
                }
                Ok(Box::new(CardOptimizer::new(card, model, groups, optim, clip, scaling)?))
            }
        }
    }

    /// Returns a predictor of a bundle, whose members may be models that are trained here.
    pub(crate) fn predictor(&self, plan: &Plan, bundle: Bundle) -> Predictor {
        let predictor = Predictor::new(bundle, &plan.device);
        match self {
            Engine::Cpu => predictor,
            Engine::Card(card, _) => predictor.on_card(card),
        }
    }

    /// Returns the packed weights of a network that only predicts.
    pub(crate) fn prepacked(&self) -> Prepacked {
        match self {
            Engine::Cpu => Prepacked::default(),
            Engine::Card(card, _) => Prepacked::on_card(card),
        }
    }

    /// Returns blank images where the network is, to measure memory.
    pub(crate) fn blank(&self, n: usize, [h, w]: [usize; 2]) -> Result<Value> {
        match self {
            Engine::Cpu => {
                Ok(Value::constant(Tensor::zeros((n, h, w, 3), DType::F32, &Device::Cpu)?))
            }
            Engine::Card(card, _) => {
                let images = card.device().zeros(h * w * 3).map_err(Error::wrap)?;
                let samples = vec![MixedSample::of(0); n];
                let rows = CardRows { images: images.whole(), size: [h, w], samples: &samples };
                ops::normalise_on_card(card, rows, [0.0; 3], [1.0; 3])
            }
        }
    }

    /// Copies a model's numbers to the host, where they are saved. Waits for a card.
    pub(crate) fn copy_back(&self, model: &Model) -> Result<()> {
        match self {
            Engine::Cpu => Ok(()),
            Engine::Card(card, _) => {
                card.copy_all_back(model.params().named().map(|(_, it)| &it.var))
            }
        }
    }

    /// Replaces a model's numbers on a card by those of the host.
    pub(crate) fn copy_over(&self, model: &Model) -> Result<()> {
        match self {
            Engine::Cpu => Ok(()),
            Engine::Card(card, _) => {
                model.params().named().try_for_each(|(_, it)| card.copy_over(&it.var))
            }
        }
    }
}

impl Inputs<'_> {
    /// Returns the normalised images of the next part.
    ///
    /// - `rows`: its rows.
    pub(crate) fn next(&mut self, rows: Range<usize>) -> Result<Value> {
        match self {
            Inputs::Cpu(plan, batch) => {
                let samples = &batch.samples[rows];
                let Statistics { mean, std } = plan.train_pipeline.statistics;
                let rows = Rows { images: &batch.images, size: batch.size, samples };
                let xs = ops::normalise(rows, mean, std, &plan.device)?;
                Ok(Value::constant(xs))
            }
            Inputs::Card(each) => {
                each.next().ok_or_else(|| Error::Msg("a batch has no further part".to_owned()))
            }
        }
    }
}
