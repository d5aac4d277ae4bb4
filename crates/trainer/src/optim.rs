//! Optimizers: from gradients to new parameters. One file an optimizer.

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
use models::Params;
use ops::Gradients;

use crate::{groups::ParamGroups, schedule::Rates};

base::choice! {
    /// The `[optim]` section of a config.
    pub enum OptimConfig: dyn Optim {
        /// Adam (Kingma & Ba, 2014): steps scaled by each gradient's own size.
        "adam" => Adam(adam::Adam),
        /// Adam with weight decay apart from the gradient (Loshchilov & Hutter, 2017).
        "adamw" => AdamW(adamw::AdamW),
        /// Adam that does not lengthen weights whose length changes nothing (Heo et al., 2021).
        "adamp" => AdamP(adamp::AdamP),
        /// Gradient descent with momentum (Sutskever et al., 2013).
        "sgd" => Sgd(sgd::Sgd),
        /// Steps scaled by each gradient's size, as TensorFlow has it (Hinton, 2012).
        "rmsprop" => RmsProp(rmsprop::RmsProp),
        /// Adam with steps as long as each layer's weights allow, for large batches (You et al., 2020).
        "lamb" => Lamb(lamb::Lamb),
        /// The sign of a momentum (Chen et al., 2023).
        "lion" => Lion(lion::Lion),
    }
}

/// An optimizer's config, which knows how to build it.
pub trait Optim {
    /// The learning rate that schedules are shares of.
    fn lr(&self) -> f64;

    /// The optimizer of a model's parameters, without history.
    fn build(&self, params: &Params, groups: &ParamGroups) -> Box<dyn Optimizer>;

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String>;
}

/// Changes parameters by their gradients.
pub trait Optimizer {
    /// Takes one step. A parameter without a gradient stays as it is.
    fn step(&mut self, gradients: &Gradients, rates: Rates) -> Result<()>;

    /// Everything that the next step depends on, by name; copies.
    fn state(&self) -> Result<Vec<(String, Tensor)>>;

    /// Goes on from a [state](Optimizer::state).
    ///
    /// # Errors
    /// A state of other parameters; then nothing has changed.
    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()>;
}

/// What is wrong with numbers that every optimizer has, if anything is.
fn common_problem(lr: f64, weight_decay: f64) -> Option<String> {
    if !(lr > 0.0 && lr.is_finite()) {
        return Some(format!("`lr` is a number above 0, not {lr}"));
    }
    let is_decay = weight_decay >= 0.0 && weight_decay.is_finite();
    (!is_decay).then(|| format!("`weight_decay` is 0 or more, not {weight_decay}"))
}

/// What is wrong with shares of averages that are kept, if anything is.
fn betas_problem(betas: [f64; 2]) -> Option<String> {
    let is_share = betas.iter().all(|it| (0.0..1.0).contains(it));
    (!is_share).then(|| format!("`betas` are two numbers from 0 to below 1, not {betas:?}"))
}

/// What is wrong with what is added to a divisor, if anything is.
///
/// PyTorch takes 0, and divides 0 by 0 for a weight whose gradient has always been 0, such as what a
/// kernel sees beyond the edge of a map of one pixel. What is smaller than the least is 0 in f32.
fn eps_problem(eps: f64) -> Option<String> {
    let is_divisor = eps >= LEAST_EPS && eps.is_finite();
    (!is_divisor).then(|| format!("`eps` is at least {LEAST_EPS:e}, not {eps}"))
}

/// Far above the least number of f32, and far below any gradient.
const LEAST_EPS: f64 = 1e-30;

/// What is wrong with a momentum, if anything is.
fn momentum_problem(momentum: f64) -> Option<String> {
    (!(0.0..1.0).contains(&momentum))
        .then(|| format!("`momentum` is from 0 to below 1, not {momentum}"))
}
