//! Stochastic gradient descent with momentum.
//!
//! With gradient g, weight decay included: v ← momentum · v + (1 - dampening) g, at the first step v ← g;
//! p ← p - lr · v, or with nesterov p ← p - lr · (g + momentum · v).
//!
//! Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013, in PyTorch's
//! form, where the learning rate multiplies the momentum as well.

use std::collections::BTreeMap;

use candle::{Result, Tensor};
use gpu::update::Rule;
use models::Params;
use ops::Gradients;
use serde::{Deserialize, Serialize};

use super::{Optim, Optimizer, common_problem, momentum_problem, slots::Slots};
use crate::{groups::ParamGroups, schedule::Rates};

/// `[optim] kind = "sgd"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// The peak learning rate.
    pub lr: f64,
    /// The momentum factor.
    pub momentum: f64,
    /// Dampening of the momentum: each gradient is multiplied by 1 - this.
    pub dampening: f64,
    /// Whether to use Nesterov momentum (Nesterov, 1983).
    pub nesterov: bool,
    /// L2 penalty: this times the parameter is added to the gradient.
    pub weight_decay: f64,
}

impl Default for Sgd {
    /// torchvision's training settings, with a learning rate for batches of about 32.
    fn default() -> Sgd {
        Sgd { lr: 0.01, momentum: 0.9, dampening: 0.0, nesterov: false, weight_decay: 1e-4 }
    }
}

impl Optim for Sgd {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn build(&self, params: &Params, groups: &ParamGroups) -> Box<dyn Optimizer> {
        Box::new(Built { config: self.clone(), slots: Slots::new(params, groups, ["velocity"]) })
    }

    fn rule(&self, momentum: Option<f64>) -> Rule {
        let Sgd { momentum: own, dampening, nesterov, .. } = *self;
        Rule::Sgd { momentum: momentum.unwrap_or(own), dampening, nesterov }
    }

    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn problem(&self) -> Option<String> {
        let Sgd { lr, momentum, dampening, nesterov, weight_decay } = *self;
        let is_not_share = !(0.0..1.0).contains(&dampening);
        let is_misused = nesterov && (momentum == 0.0 || dampening > 0.0);
        common_problem(lr, weight_decay)
            .or_else(|| momentum_problem(momentum))
            .or_else(|| {
                is_not_share.then(|| format!("`dampening` is from 0 to below 1, not {dampening}"))
            })
            .or_else(|| {
                is_misused
                    .then(|| "`nesterov` requires a `momentum` and zero `dampening`".to_owned())
            })
    }
}

struct Built {
    config: Sgd,
    slots: Slots<1>,
}

impl Optimizer for Built {
    fn step(&mut self, gradients: &Gradients, rates: Rates) -> Result<()> {
        let Sgd { lr, momentum, dampening, nesterov, weight_decay } = self.config;
        let momentum = rates.momentum.unwrap_or(momentum) as f32;
        self.slots.step(gradients, |slot, grad| {
            let (lr, decay) = (slot.lr(lr, rates) as f32, slot.decay(weight_decay) as f32);
            let taken = if slot.n_steps == 1 { 1.0 } else { (1.0 - dampening) as f32 };
            slot.update(grad, |p, g, [v]| {
                let g = g + decay * *p;
                *v = momentum * *v + taken * g;
                *p -= lr * if nesterov { g + momentum * *v } else { *v };
            })
        })
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        self.slots.state()
    }

    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.slots.load(state)
    }
}
