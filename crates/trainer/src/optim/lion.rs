//! Lion: updates by the sign of a momentum.
//!
//! With gradient g: p ← p (1 - lr · decay) - lr · sign(β₁m + (1-β₁)g), then m ← β₂m + (1-β₂)g.
//!
//! Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, <https://arxiv.org/abs/2302.06675>,
//! whose authors recommend a learning rate 3 to 10 times smaller than AdamW's, and a weight decay larger by
//! the same factor.

use std::collections::BTreeMap;

use candle::{Result, Tensor};
use gpu::update::Rule;
use models::Params;
use ops::Gradients;
use serde::{Deserialize, Serialize};

use super::{Optim, Optimizer, betas_problem, common_problem, slots::Slots};
use crate::{groups::ParamGroups, schedule::Rates};

/// `[optim] kind = "lion"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lion {
    /// The peak learning rate.
    pub lr: f64,
    /// Decay rates of the momentum: β₁ for the update direction, β₂ for the stored momentum.
    pub betas: [f64; 2],
    /// Decoupled weight decay: this times the learning rate times the parameter is subtracted.
    pub weight_decay: f64,
}

impl Default for Lion {
    /// The authors' defaults.
    fn default() -> Lion {
        Lion { lr: 1e-4, betas: [0.9, 0.99], weight_decay: 0.0 }
    }
}

impl Optim for Lion {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn build(&self, params: &Params, groups: &ParamGroups) -> Box<dyn Optimizer> {
        Box::new(Built { config: self.clone(), slots: Slots::new(params, groups, ["m"]) })
    }

    fn rule(&self, momentum: Option<f64>) -> Rule {
        let [beta1, beta2] = self.betas;
        Rule::Lion { betas: [momentum.unwrap_or(beta1), beta2] }
    }

    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn problem(&self) -> Option<String> {
        common_problem(self.lr, self.weight_decay).or_else(|| betas_problem(self.betas))
    }
}

struct Built {
    config: Lion,
    slots: Slots<1>,
}

impl Optimizer for Built {
    fn step(&mut self, gradients: &Gradients, rates: Rates) -> Result<()> {
        let Lion { lr, betas: [beta1, beta2], weight_decay } = self.config;
        let beta1 = rates.momentum.unwrap_or(beta1);
        let (keep1, take1) = (beta1 as f32, (1.0 - beta1) as f32);
        let (keep2, take2) = (beta2 as f32, (1.0 - beta2) as f32);
        self.slots.step(gradients, |slot, grad| {
            let lr = slot.lr(lr, rates);
            let (kept, lr) = ((1.0 - lr * slot.decay(weight_decay)) as f32, lr as f32);
            slot.update(grad, |p, g, [m]| {
                let along = keep1 * *m + take1 * g;
                // `signum` of 0 is 1.
                let sign = if along == 0.0 { 0.0 } else { along.signum() };
                *p = kept * *p - lr * sign;
                *m = keep2 * *m + take2 * g;
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
