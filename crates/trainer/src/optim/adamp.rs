//! AdamP: Adam with projected updates for scale-invariant weights.
//!
//! Before a normalisation layer, the norm of a filter's weights has no effect, and momentum that grows it
//! only reduces the effective step size. Gradient and weights are nearly orthogonal there. Where |cos(g, p)|
//! < δ / √d, the radial component is projected out of the step, u ← u - p̂ (p̂ · u), and weight decay is
//! multiplied by `wd_ratio`. The test is made for each filter, and if one of them fails it, for the whole
//! weight.
//!
//! Heo et al., "AdamP", 2021, <https://arxiv.org/abs/2006.08217>, as in the authors' code; sums are
//! computed in f64.

use std::collections::BTreeMap;

use candle::{Result, Tensor};
use gpu::update::Rule;
use models::Params;
use ops::Gradients;
use serde::{Deserialize, Serialize};

use super::{
    Optim, Optimizer, betas_problem, common_problem, eps_problem,
    moments::NAMES,
    slots::{Slot, Slots},
};
use crate::{
    groups::ParamGroups,
    rows::{Rows, read},
    schedule::Rates,
};

/// `[optim] kind = "adamp"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamP {
    /// The peak learning rate.
    pub lr: f64,
    /// Decay rates of the running averages of gradients and of their squares.
    pub betas: [f64; 2],
    /// Added to denominators.
    pub eps: f64,
    /// Decoupled weight decay: this times the learning rate times the parameter is subtracted.
    pub weight_decay: f64,
    /// The threshold δ on the cosine between gradient and weights.
    pub delta: f64,
    /// The factor of the weight decay where the step is projected.
    pub wd_ratio: f64,
    /// Whether to use Nesterov momentum.
    pub nesterov: bool,
}

impl Default for AdamP {
    /// The authors' defaults.
    fn default() -> AdamP {
        AdamP {
            lr: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.0,
            delta: 0.1,
            wd_ratio: 0.1,
            nesterov: false,
        }
    }
}

impl Optim for AdamP {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn build(&self, params: &Params, groups: &ParamGroups) -> Box<dyn Optimizer> {
        Box::new(Built { config: self.clone(), slots: Slots::new(params, groups, NAMES) })
    }

    fn rule(&self, momentum: Option<f64>) -> Rule {
        let AdamP { betas: [beta1, beta2], eps, delta, wd_ratio, nesterov, .. } = *self;
        Rule::AdamP { betas: [momentum.unwrap_or(beta1), beta2], eps, delta, wd_ratio, nesterov }
    }

    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn problem(&self) -> Option<String> {
        let non_negative = |name: &str, value: f64| {
            let is_valid = value >= 0.0 && value.is_finite();
            (!is_valid).then(|| format!("`{name}` is 0 or more, not {value}"))
        };
        common_problem(self.lr, self.weight_decay)
            .or_else(|| betas_problem(self.betas))
            .or_else(|| eps_problem(self.eps))
            .or_else(|| non_negative("delta", self.delta))
            .or_else(|| non_negative("wd_ratio", self.wd_ratio))
    }
}

struct Built {
    config: AdamP,
    slots: Slots<2>,
}

impl AdamP {
    /// Returns the rows by which the step of a weight is projected, or `None` where it is not.
    fn projected(&self, rows: Rows, weights: &[f32], grads: &[f32]) -> Option<Rows> {
        [rows, Rows::whole()].into_iter().find(|it| {
            let norms = |xs| it.sums(xs, xs, |x, y| x * y).into_iter().map(f64::sqrt);
            let dots = it.sums(weights, grads, |x, y| x * y).into_iter();
            let cosines = dots.zip(norms(weights)).zip(norms(grads)).map(|((dot, p), g)| {
                let product = p.max(self.eps) * g.max(self.eps);
                (dot / product).abs()
            });
            let size = (weights.len() / it.n().max(1)) as f64;
            cosines.fold(0.0, f64::max) < self.delta / size.sqrt()
        })
    }

    fn step_of(&self, slot: &mut Slot<2>, grad: &Tensor, rates: Rates) -> Result<()> {
        let [beta1, beta2] = self.betas;
        let beta1 = rates.momentum.unwrap_or(beta1);
        let (keep1, take1) = (beta1 as f32, (1.0 - beta1) as f32);
        let (keep2, take2) = (beta2 as f32, (1.0 - beta2) as f32);
        let lr = slot.lr(self.lr, rates);
        let size = (lr / slot.correction(beta1)) as f32;
        let (root, eps) = (slot.correction(beta2).sqrt() as f32, self.eps as f32);
        let nesterov = self.nesterov;
        let along = move |g: f32, m: f32, v: f32| {
            let m = if nesterov { keep1 * m + take1 * g } else { m };
            m / (v.sqrt() / root + eps)
        };
        slot.update(grad, |_, g, [m, v]| {
            *m = keep1 * *m + take1 * g;
            *v = keep2 * *v + take2 * g * g;
        })?;

        // For each element, the factor of the weight that is projected out of the step.
        let mut outward = None;
        if let Some(rows) = slot.rows {
            let [m, v] = &slot.state;
            outward = read(slot.var.as_tensor(), |weights| {
                read(grad, |grads| {
                    let rows = self.projected(rows, weights, grads)?;
                    let norms = rows.sums(weights, weights, |x, y| x * y).into_iter();
                    let norms: Vec<f64> = norms.map(|it| it.sqrt() + self.eps).collect();
                    let mut dots = vec![0.0; rows.n()];
                    rows.visit(weights.len(), |row, idx| {
                        let u = f64::from(along(grads[idx], m[idx], v[idx]));
                        dots[row] += f64::from(weights[idx]) / norms[row] * u;
                    });
                    let mut factors = vec![0.0; weights.len()];
                    rows.visit(weights.len(), |row, idx| {
                        factors[idx] = (dots[row] / norms[row]) as f32;
                    });
                    Some(factors)
                })
            })??;
        }
        let decay = slot.decay(self.weight_decay);
        let decay = if outward.is_some() { decay * self.wd_ratio } else { decay };
        let kept = (1.0 - lr * decay) as f32;
        let [m, v] = slot.state.each_mut().map(Vec::as_mut_slice);
        match &mut outward {
            None => ops::update(&slot.var, grad, [m, v], |params, grads, [m, v]| {
                for (((p, &g), m), v) in params.iter_mut().zip(grads).zip(m).zip(v) {
                    *p = kept * *p - size * along(g, *m, *v);
                }
            }),
            Some(it) => ops::update(&slot.var, grad, [m, v, it], |params, grads, [m, v, out]| {
                let state = m.iter().zip(v.iter()).zip(out.iter());
                for ((p, &g), ((m, v), out)) in params.iter_mut().zip(grads).zip(state) {
                    *p = kept * *p - size * (along(g, *m, *v) - out * *p);
                }
            }),
        }
    }
}

impl Optimizer for Built {
    fn step(&mut self, gradients: &Gradients, rates: Rates) -> Result<()> {
        let Built { config, slots } = self;
        slots.step(gradients, |slot, grad| config.step_of(slot, grad, rates))
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        self.slots.state()
    }

    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.slots.load(state)
    }
}
