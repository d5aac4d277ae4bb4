//! LAMB: Adam with a trust ratio for each layer, for large batches.
//!
//! With Adam's direction u = (m / (1-β₁ᵗ)) / (√(v / (1-β₂ᵗ)) + ε) + decay · p, of gradients whose norm over
//! all parameters is clipped to `max_grad_norm`: p ← p - lr · (‖p‖ / ‖u‖) u. The trust ratio ‖p‖ / ‖u‖ is 1
//! where either norm is 0, and for parameters without weight decay.
//!
//! You et al., "Large Batch Optimization for Deep Learning", 2020, <https://arxiv.org/abs/1904.00962>, as in
//! timm's `Lamb`; norms are computed in f64, and each parameter counts its own steps.

use std::collections::BTreeMap;

use candle::{Result, Tensor};
use gpu::update::Rule;
use models::Params;
use ops::Gradients;
use serde::{Deserialize, Serialize};

use super::{
    Optim, Optimizer, betas_problem, common_problem, eps_problem,
    slots::{Slot, Slots},
};
use crate::{
    groups::ParamGroups,
    rows::{Rows, read},
    schedule::Rates,
};

/// `[optim] kind = "lamb"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lamb {
    /// The peak learning rate.
    pub lr: f64,
    /// Decay rates of the running averages of gradients and of their squares.
    pub betas: [f64; 2],
    /// Added to the denominator.
    pub eps: f64,
    /// Weight decay: this times the parameter is added to the direction.
    pub weight_decay: f64,
    /// The maximum norm of all gradients together.
    pub max_grad_norm: f64,
}

impl Default for Lamb {
    /// timm's defaults.
    fn default() -> Lamb {
        Lamb { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-6, weight_decay: 0.01, max_grad_norm: 1.0 }
    }
}

impl Optim for Lamb {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn build(&self, params: &Params, groups: &ParamGroups) -> Box<dyn Optimizer> {
        Box::new(Built { config: self.clone(), slots: Slots::new(params, groups, ["m", "v", "u"]) })
    }

    fn rule(&self, momentum: Option<f64>) -> Rule {
        let Lamb { betas: [beta1, beta2], eps, max_grad_norm, .. } = *self;
        Rule::Lamb { betas: [momentum.unwrap_or(beta1), beta2], eps, max_grad_norm }
    }

    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn problem(&self) -> Option<String> {
        let is_norm = self.max_grad_norm > 0.0;
        common_problem(self.lr, self.weight_decay)
            .or_else(|| betas_problem(self.betas))
            .or_else(|| eps_problem(self.eps))
            .or_else(|| {
                let norm = self.max_grad_norm;
                (!is_norm).then(|| format!("`max_grad_norm` is above 0, not {norm}"))
            })
    }
}

struct Built {
    config: Lamb,
    slots: Slots<3>,
}

impl Lamb {
    /// Updates one parameter.
    ///
    /// - `share`: the clipping factor of the gradients.
    fn step_of(&self, slot: &mut Slot<3>, grad: &Tensor, share: f32, rates: Rates) -> Result<()> {
        let [beta1, beta2] = self.betas;
        let beta1 = rates.momentum.unwrap_or(beta1);
        let (keep1, take1) = (beta1 as f32, (1.0 - beta1) as f32);
        let (keep2, take2) = (beta2 as f32, (1.0 - beta2) as f32);
        let (first, root) = (slot.correction(beta1) as f32, slot.correction(beta2).sqrt() as f32);
        let (eps, decay) = (self.eps as f32, slot.decay(self.weight_decay) as f32);
        slot.update(grad, |p, g, [m, v, u]| {
            let g = share * g;
            *m = keep1 * *m + take1 * g;
            *v = keep2 * *v + take2 * g * g;
            *u = *m / first / (v.sqrt() / root + eps) + decay * *p;
        })?;
        let norm = |xs: &[f32]| Rows::whole().sums(xs, xs, |x, y| x * y)[0].sqrt();
        let (of_weights, of_step) = (read(slot.var.as_tensor(), norm)?, norm(&slot.state[2]));
        let is_scaled = decay != 0.0 && of_weights > 0.0 && of_step > 0.0;
        let trust = if is_scaled { of_weights / of_step } else { 1.0 };
        let size = (slot.lr(self.lr, rates) * trust) as f32;
        slot.update(grad, |p, _, [_, _, u]| *p -= size * *u)
    }
}

impl Optimizer for Built {
    fn step(&mut self, gradients: &Gradients, rates: Rates) -> Result<()> {
        let Built { config, slots } = self;
        let share = (config.max_grad_norm / slots.norm(gradients)?).min(1.0) as f32;
        slots.step(gradients, |slot, grad| config.step_of(slot, grad, share, rates))
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        self.slots.state()
    }

    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.slots.load(state)
    }
}
