//! AdamW: Adam with decoupled weight decay, subtracted from the parameter and not added to the gradient.
//!
//! Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2017,
//! <https://arxiv.org/abs/1711.05101>, with PyTorch's defaults.

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

/// `[optim] kind = "adamw"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// The peak learning rate.
    pub lr: f64,
    /// Decay rates of the running averages of gradients and of their squares.
    pub betas: [f64; 2],
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled weight decay: this times the learning rate times the parameter is subtracted.
    pub weight_decay: f64,
}

impl Default for AdamW {
    /// PyTorch's defaults.
    fn default() -> AdamW {
        AdamW { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 }
    }
}

impl Optim for AdamW {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn build(&self, params: &Params, groups: &ParamGroups) -> Box<dyn Optimizer> {
        let slots = Slots::new(params, groups, moments::NAMES);
        Box::new(Built { config: self.clone(), slots })
    }

    fn rule(&self, momentum: Option<f64>) -> Rule {
        let [beta1, beta2] = self.betas;
        Rule::AdamW { betas: [momentum.unwrap_or(beta1), beta2], eps: self.eps }
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
    config: AdamW,
    slots: Slots<2>,
}

impl Optimizer for Built {
    fn step(&mut self, gradients: &Gradients, rates: Rates) -> Result<()> {
        let AdamW { lr, betas, eps, weight_decay } = self.config;
        let step = AdamStep { lr, betas, eps, l2: 0.0, decay: weight_decay };
        moments::step(&mut self.slots, gradients, rates, step)
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        self.slots.state()
    }

    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.slots.load(state)
    }
}
