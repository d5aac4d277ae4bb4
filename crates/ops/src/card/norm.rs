//! [`batch_norm`](crate::batch_norm()), [`batch_norm_fixed`](crate::batch_norm_fixed) and
//! [`scale_and_shift`](crate::scale_and_shift) on a card, as prologues of the tensor that they are applied to.
//!
//! Statistics, running statistics and the backward pass's sums stay on the card.

use std::{rc::Rc, sync::Arc};

use candle::{Result, Tensor, bail};
use gpu::{
    Buffer,
    norm::{self, Backward, Running},
    prologue as raw,
};

use super::{
    data::{Data, Line, Prologue, activation_of},
    ending::norm_line,
    grad::{Grad, NormBackward},
    store::{Card, ok},
};
use crate::{Activation, slots::Slots, tape::Value};

/// Normalises by the statistics of the batch, and moves the running ones towards them.
///
/// - `running`: mean, variance and the weight of the batch.
pub(crate) fn batch_norm(
    card: &Card,
    xs: &Value,
    (gamma, beta): (&Value, &Value),
    running: (&Tensor, &Tensor, f64),
    eps: f64,
    activation: Activation,
) -> Result<Value> {
    let x = xs.on_card(card)?.applied()?;
    let rows = x.shape().n_rows();
    if rows < 2 {
        bail!(
            "batch norm in training needs more than one value per channel, got {:?}: \
             use a larger batch or larger images, or drop the last short batch",
            x.dims
        );
    }
    let moments = match &x.moments {
        Some(it) => Rc::clone(it),
        None => Rc::new(ok(norm::moments(card.device(), x.shape(), &x.buffer))?),
    };
    let (mean, variance, momentum) = running;
    let (mean, variance) = (card.stored(mean)?.master, card.stored(variance)?.master);
    let running = Running { mean: &mean, variance: &variance, momentum: momentum as f32 };
    let (g, b) = (gamma.on_card(card)?.vector()?, beta.on_card(card)?.vector()?);
    let device = card.device();
    let norm = norm::batch(device, &moments, Some(&g), Some(&b), eps as f32, Some(running));
    let (line, inverse) = Line::of_norm(ok(norm)?);
    let of = Of { x, line, inverse: Some(inverse), rows: Some(rows) };
    of.record(xs, Some(gamma), Some(beta), activation)
}

/// Normalises by given statistics.
pub(crate) fn batch_norm_fixed(
    card: &Card,
    xs: &Value,
    (gamma, beta): (&Value, &Value),
    given: (&Tensor, &Tensor),
    eps: f64,
    activation: Activation,
) -> Result<Value> {
    let x = xs.on_card(card)?.applied()?;
    let norm = norm_line(&gamma.on_card(card)?, &beta.on_card(card)?, given, eps)?;
    let (line, inverse) = Line::of_norm(norm);
    let of = Of { x, line, inverse: Some(inverse), rows: None };
    of.record(xs, Some(gamma), Some(beta), activation)
}

/// Scales and shifts each channel.
pub(crate) fn scale_and_shift(
    card: &Card,
    xs: &Value,
    scale: Option<&Value>,
    shift: Option<&Value>,
    activation: Activation,
) -> Result<Value> {
    let x = xs.on_card(card)?.applied()?;
    let list = |it: Option<&Value>| it.map(|it| it.on_card(card)?.vector()).transpose();
    let line = Line { scale: list(scale)?, shift: list(shift)?, center: None };
    Of { x, line, inverse: None, rows: None }.record(xs, scale, shift, activation)
}

/// A norm of `x`, which is plain.
struct Of {
    x: Data,
    line: Line,
    inverse: Option<Arc<Buffer>>,
    /// With statistics of the batch: its rows.
    rows: Option<usize>,
}

impl Of {
    fn record(
        self,
        xs: &Value,
        gamma: Option<&Value>,
        beta: Option<&Value>,
        activation: Activation,
    ) -> Result<Value> {
        let activation = activation_of(activation);
        let prologue = Prologue { line: self.line.clone(), activation, gate: None };
        let data = Data { moments: None, ..self.x.clone() }.through(prologue);
        let inputs: Vec<&Value> = [Some(xs), gamma, beta].into_iter().flatten().collect();
        let x_slot = xs.slot();
        let (gamma, beta) = (gamma.map(Value::slot), beta.map(Value::slot));
        let wants = |it: Option<crate::slots::Slot>| it.is_some_and(|it| it.is_some());
        let needs_sums = wants(gamma) || wants(beta) || self.rows.is_some();
        Value::record_on_card(&inputs, data, move |grad: Grad, slots: &mut Slots| {
            let grad = grad.before_norm()?;
            let activation = if grad.before.is_some() { raw::Activation::None } else { activation };
            let (card, c) = (self.x.card.clone(), self.x.c());
            let mut made = None;
            if needs_sums {
                let (mut d_gamma, mut d_beta) = (card.alloc_f32(c)?, card.alloc_f32(c)?);
                made = self.sums(&grad, activation, &mut d_gamma, &mut d_beta)?;
                for (slot, vector) in [(gamma, d_gamma), (beta, d_beta)] {
                    if let Some(slot) = slot {
                        slots.give_on_card(slot, || Ok(Grad::of_parameter(&card, vector, &[c])))?;
                    }
                }
            }
            let (slope, at_mean) = made.map(|it| (it.slope, it.at_mean)).unzip();
            let Of { x, line, .. } = self;
            let norm = NormBackward { z: x.buffer, line, activation, slope, at_mean };
            let norm = Some(Rc::new(norm));
            slots.give_on_card(x_slot, || {
                Ok(Grad { norm, before: None, sums: None, gate_sums: None, ..grad })
            })
        })
    }

    /// The gradients of γ and β, and the line of the batch's statistics.
    fn sums(
        &self,
        grad: &Grad,
        activation: raw::Activation,
        d_gamma: &mut Buffer,
        d_beta: &mut Buffer,
    ) -> Result<Option<norm::Line>> {
        let (x, device) = (&self.x, self.x.card.device());
        let of = Backward {
            scale: self.line.scale.as_deref(),
            inverse: self.inverse.as_deref(),
            d_gamma: Some(d_gamma),
            d_beta: Some(d_beta),
            rows: self.rows,
        };
        match (&grad.sums, &grad.gate_sums, &grad.times) {
            (Some(parts), _, _) => ok(norm::backward(device, parts, of)),
            (_, Some(parts), Some(times)) => {
                let by_image = (Some(&**times), grad.plus.as_deref());
                ok(norm::backward_gated(device, x.card.storage(), parts, by_image, of))
            }
            _ => {
                let prologue =
                    Prologue { line: self.line.clone(), activation, ..Prologue::default() };
                let (g, deferred) = grad.read();
                let reading = (&*x.buffer, &prologue.raw());
                let parts = norm::sums(device, x.shape(), (g, &deferred), reading);
                ok(norm::backward(device, &ok(parts)?, of))
            }
        }
    }
}
