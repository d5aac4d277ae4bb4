//! RMSprop in TensorFlow's form, with which EfficientNet was trained.
//!
//! With gradient g, weight decay included: s ← α s + (1 - α) g², where s is initialised to 1;
//! v ← momentum · v + lr · g / √(s + ε); p ← p - v.
//!
//! Hinton, lecture 6 of "Neural Networks for Machine Learning", 2012, as in timm's `RMSpropTF`: unlike in
//! PyTorch's, s is initialised to 1, ε is inside the root, and a change of the learning rate does not rescale
//! v.

use std::collections::BTreeMap;

use candle::{Result, Tensor};
use gpu::update::Rule;
use models::Params;
use ops::Gradients;
use serde::{Deserialize, Serialize};

use super::{Optim, Optimizer, common_problem, eps_problem, momentum_problem, slots::Slots};
use crate::{groups::ParamGroups, schedule::Rates};

/// `[optim] kind = "rmsprop"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RmsProp {
    /// The peak learning rate.
    pub lr: f64,
    /// Decay rate of the running average of squared gradients.
    pub alpha: f64,
    /// Added to that average, inside the root.
    pub eps: f64,
    /// The momentum factor.
    pub momentum: f64,
    /// L2 penalty: this times the parameter is added to the gradient.
    pub weight_decay: f64,
}

impl Default for RmsProp {
    /// EfficientNet's settings (Tan & Le, 2019), with a learning rate for batches of about 32.
    fn default() -> RmsProp {
        RmsProp { lr: 1e-3, alpha: 0.9, eps: 1e-3, momentum: 0.9, weight_decay: 1e-5 }
    }
}

impl Optim for RmsProp {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn build(&self, params: &Params, groups: &ParamGroups) -> Box<dyn Optimizer> {
        let slots = Slots::new(params, groups, ["squares", "velocity"]).begin_with(0, 1.0);
        Box::new(Built { config: self.clone(), slots })
    }

    fn rule(&self, momentum: Option<f64>) -> Rule {
        let RmsProp { alpha, eps, momentum: own, .. } = *self;
        Rule::RmsProp { alpha, eps, momentum: momentum.unwrap_or(own) }
    }

    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn problem(&self) -> Option<String> {
        let is_share = (0.0..1.0).contains(&self.alpha);
        common_problem(self.lr, self.weight_decay)
            .or_else(|| momentum_problem(self.momentum))
            .or_else(|| eps_problem(self.eps))
            .or_else(|| {
                (!is_share).then(|| format!("`alpha` is from 0 to below 1, not {}", self.alpha))
            })
    }
}

struct Built {
    config: RmsProp,
    slots: Slots<2>,
}

impl Optimizer for Built {
    fn step(&mut self, gradients: &Gradients, rates: Rates) -> Result<()> {
        let RmsProp { lr, alpha, eps, momentum, weight_decay } = self.config;
        let momentum = rates.momentum.unwrap_or(momentum) as f32;
        let (taken, eps) = ((1.0 - alpha) as f32, eps as f32);
        self.slots.step(gradients, |slot, grad| {
            let (lr, decay) = (slot.lr(lr, rates) as f32, slot.decay(weight_decay) as f32);
            slot.update(grad, |p, g, [s, v]| {
                let g = g + decay * *p;
                *s += taken * (g * g - *s);
                *v = momentum * *v + lr * g / (*s + eps).sqrt();
                *p -= *v;
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
