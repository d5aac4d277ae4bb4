//! Shared by Adam, AdamW and AdamP: the two moving averages of each parameter.

use candle::Result;
use ops::Gradients;

use super::slots::Slots;
use crate::schedule::Rates;

/// The averages of gradients and of their squares.
pub(super) const NAMES: [&str; 2] = ["m", "v"];

/// The hyperparameters of one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct AdamStep {
    pub(super) lr: f64,
    pub(super) betas: [f64; 2],
    pub(super) eps: f64,
    /// L2 penalty: this times the parameter is added to the gradient.
    pub(super) l2: f64,
    /// Decoupled weight decay: this times lr times the parameter is subtracted.
    pub(super) decay: f64,
}

/// Takes one step. With gradient g: m ← β₁m + (1-β₁)g, v ← β₂v + (1-β₂)g²,
/// p ← p - lr · (m / (1-β₁ᵗ)) / (√(v / (1-β₂ᵗ)) + ε).
pub(super) fn step(
    slots: &mut Slots<2>,
    gradients: &Gradients,
    rates: Rates,
    AdamStep { lr, betas: [beta1, beta2], eps, l2, decay }: AdamStep,
) -> Result<()> {
    let beta1 = rates.momentum.unwrap_or(beta1);
    let (keep1, take1) = (beta1 as f32, (1.0 - beta1) as f32);
    let (keep2, take2) = (beta2 as f32, (1.0 - beta2) as f32);
    slots.step(gradients, |slot, grad| {
        let lr = slot.lr(lr, rates);
        let size = (lr / slot.correction(beta1)) as f32;
        let root = slot.correction(beta2).sqrt() as f32;
        let (l2, kept, eps) =
            (slot.decay(l2) as f32, (1.0 - lr * slot.decay(decay)) as f32, eps as f32);
        slot.update(grad, |p, g, [m, v]| {
            let g = g + l2 * *p;
            *m = keep1 * *m + take1 * g;
            *v = keep2 * *v + take2 * g * g;
            *p = kept * *p - size * *m / (v.sqrt() / root + eps);
        })
    })
}
