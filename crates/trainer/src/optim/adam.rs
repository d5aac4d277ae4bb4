//! Adam: steps along the running average of the gradient, divided by its root mean square.
//!
//! Kingma & Ba, "Adam", 2014, <https://arxiv.org/abs/1412.6980>, with PyTorch's defaults: weight decay
//! is added to the gradient.

use std::collections::BTreeMap;

use candle::{Result, Tensor};
use gpu::update::Rule;
use models::Params;
use ops::Gradients;
use serde::{Deserialize, Serialize};

use super::{
    Optim, Optimizer, betas_problem, common_problem, eps_problem,
    moments::{self, AdamStep},
    slots::Slots,
};
use crate::{groups::ParamGroups, schedule::Rates};

/// `[optim] kind = "adam"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// The peak learning rate.
    pub lr: f64,
    /// Decay rates of the running averages of gradients and of their squares.
    pub betas: [f64; 2],
    /// Added to the denominator.
    pub eps: f64,
    /// L2 penalty: this times the parameter is added to the gradient.
    pub weight_decay: f64,
}

impl Default for Adam {
    /// The paper's defaults.
    fn default() -> Adam {
        Adam { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 }
    }
}

impl Optim for Adam {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn build(&self, params: &Params, groups: &ParamGroups) -> Box<dyn Optimizer> {
        let slots = Slots::new(params, groups, moments::NAMES);
        Box::new(Built { config: self.clone(), slots })
    }

    fn rule(&self, momentum: Option<f64>) -> Rule {
        let [beta1, beta2] = self.betas;
        Rule::Adam { betas: [momentum.unwrap_or(beta1), beta2], eps: self.eps }
    }

    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn problem(&self) -> Option<String> {
        common_problem(self.lr, self.weight_decay)
            .or_else(|| betas_problem(self.betas))
            .or_else(|| eps_problem(self.eps))
    }
}

struct Built {
    config: Adam,
    slots: Slots<2>,
}

impl Optimizer for Built {
    fn step(&mut self, gradients: &Gradients, rates: Rates) -> Result<()> {
        let Adam { lr, betas, eps, weight_decay } = self.config;
        let step = AdamStep { lr, betas, eps, l2: weight_decay, decay: 0.0 };
        moments::step(&mut self.slots, gradients, rates, step)
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        self.slots.state()
    }

    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.slots.load(state)
    }
}
