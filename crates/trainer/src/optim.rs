//! Optimizers: update parameters from their gradients. One file per optimizer.

mod adam;
mod adamp;
mod adamw;
mod lamb;
mod lion;
mod moments;
mod rmsprop;
mod sgd;
mod slots;

use std::collections::BTreeMap;

use candle::{Result, Tensor};
use gpu::{Slice, update::Rule};
use models::Params;
use ops::Gradients;

pub(crate) use self::slots::COUNTS;
use crate::{amp::LossScale, groups::ParamGroups, schedule::Rates};

base::choice! {
    /// The `[optim]` section of a config.
    pub enum OptimConfig: dyn Optim {
        /// Adam: running averages of gradients and of their squares (Kingma & Ba, 2014).
        "adam" => Adam(adam::Adam),
        /// AdamW: Adam with decoupled weight decay (Loshchilov & Hutter, 2017).
        "adamw" => AdamW(adamw::AdamW),
        /// AdamP: Adam with projected updates for scale-invariant weights (Heo et al., 2021).
        "adamp" => AdamP(adamp::AdamP),
        /// Stochastic gradient descent with momentum (Sutskever et al., 2013).
        "sgd" => Sgd(sgd::Sgd),
        /// RMSprop, in TensorFlow's form (Hinton, 2012).
        "rmsprop" => RmsProp(rmsprop::RmsProp),
        /// LAMB: Adam with a trust ratio for each layer, for large batches (You et al., 2020).
        "lamb" => Lamb(lamb::Lamb),
        /// Lion: updates by the sign of a momentum (Chen et al., 2023).
        "lion" => Lion(lion::Lion),
    }
}

/// An optimizer's config, which builds the optimizer.
pub trait Optim {
    /// Returns the peak learning rate, which schedules multiply.
    fn lr(&self) -> f64;

    /// Builds the optimizer of a model's parameters, with an empty state.
    fn build(&self, params: &Params, groups: &ParamGroups) -> Box<dyn Optimizer>;

    /// Returns the same formula as a card takes it.
    ///
    /// - `momentum`: that of a schedule, in place of the momentum or of the first decay rate.
    fn rule(&self, momentum: Option<f64>) -> Rule;

    /// Returns the weight decay.
    fn weight_decay(&self) -> f64;

    /// Returns the first invalid setting as a message, if there is one.
    fn problem(&self) -> Option<String>;
}

/// Updates parameters from their gradients.
pub trait Optimizer {
    /// Takes one step. A parameter without a gradient is left unchanged.
    fn step(&mut self, gradients: &Gradients, rates: Rates) -> Result<()>;

    /// Returns copies of all tensors that the next step depends on, by name.
    fn state(&self) -> Result<Vec<(String, Tensor)>>;

    /// Loads a [state](Optimizer::state).
    ///
    /// # Errors
    /// The state belongs to other parameters; nothing is changed then.
    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()>;

    /// Returns the loss scale, an f32 on the card, which gradients are multiplied with; `None` without one.
    fn scale(&self) -> Result<Option<Slice<'_>>> {
        Ok(None)
    }

    /// Returns the loss scale and its counts; `None` without one. Waits for the card.
    fn loss_scale(&self) -> Result<Option<LossScale>> {
        Ok(None)
    }

    /// Continues with a loss scale, if there is one.
    fn set_loss_scale(&mut self, _: LossScale) -> Result<()> {
        Ok(())
    }
}

/// Validates the settings that every optimizer has.
fn common_problem(lr: f64, weight_decay: f64) -> Option<String> {
    if !(lr > 0.0 && lr.is_finite()) {
        return Some(format!("`lr` is a number above 0, not {lr}"));
    }
    let is_decay = weight_decay >= 0.0 && weight_decay.is_finite();
    (!is_decay).then(|| format!("`weight_decay` is 0 or more, not {weight_decay}"))
}

/// Validates the decay rates of running averages.
fn betas_problem(betas: [f64; 2]) -> Option<String> {
    let is_share = betas.iter().all(|it| (0.0..1.0).contains(it));
    (!is_share).then(|| format!("`betas` are two numbers from 0 to below 1, not {betas:?}"))
}

/// Validates the term added to a denominator.
///
/// PyTorch accepts 0, and computes 0 / 0 for a weight whose gradient has always been 0, such as a kernel's
/// weights that only ever cover the padding of a feature map of one pixel. Smaller values are 0 in f32.
fn eps_problem(eps: f64) -> Option<String> {
    let is_divisor = eps >= LEAST_EPS && eps.is_finite();
    (!is_divisor).then(|| format!("`eps` is at least {LEAST_EPS:e}, not {eps}"))
}

/// Far above the smallest positive f32, and far below any gradient.
const LEAST_EPS: f64 = 1e-30;

/// Validates a momentum.
fn momentum_problem(momentum: f64) -> Option<String> {
    (!(0.0..1.0).contains(&momentum))
        .then(|| format!("`momentum` is from 0 to below 1, not {momentum}"))
}
