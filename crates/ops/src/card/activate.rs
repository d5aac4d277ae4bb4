//! [`activate`](crate::activate()) and [`gate`](crate::gate()) on a card, as prologues of the reader.

use std::{rc::Rc, sync::Arc};

use candle::{Result, bail};
use gpu::norm;

use super::{
    data::{Data, Line, Prologue, activation_of},
    grad::{Grad, NormBackward},
    store::{Card, ok},
};
use crate::{Activation, slots::Slots, tape::Value};

/// Applies an activation other than the identity.
pub(crate) fn activate(card: &Card, xs: &Value, activation: Activation) -> Result<Value> {
    let x = xs.on_card(card)?;
    let activation = activation_of(activation);
    // Two prologues become one where the first is a norm, or a line, alone.
    let is_line = x.prologue.gate.is_none() && x.prologue.activation == Default::default();
    let x = if is_line && !xs.is_on_tape() { x } else { x.applied()? };
    let line = x.prologue.line.clone();
    let data = Data { moments: None, ..x.clone() };
    let data = data.through(Prologue { line: line.clone(), activation, gate: None });
    let slot = xs.slot();
    Value::record_on_card(&[xs], data, move |grad: Grad, slots: &mut Slots| {
        slots.give_on_card(slot, || {
            let grad = grad.before_norm()?;
            // The reader's backward pass may have applied the activation's derivative already.
            let norm = grad.before.is_none().then(|| {
                let line = Line::default();
                let (slope, at_mean) = (None, None);
                Rc::new(NormBackward { z: Arc::clone(&x.buffer), line, activation, slope, at_mean })
            });
            Ok(Grad { norm, before: None, sums: None, gate_sums: None, ..grad })
        })
    })
}

/// Scales the channels of `xs`, `[n, …, c]`, by `gates`, `[n, c]`.
pub(crate) fn gate(card: &Card, xs: &Value, gates: &Value) -> Result<Value> {
    let mut x = xs.on_card(card)?;
    let (n, c) = (x.dims[0], x.c());
    if x.dims.len() < 2 || gates.dims() != [n, c] {
        bail!("gate: gates of {:?} do not fit {:?}", gates.dims(), x.dims);
    }
    // A value that is gated already is materialised first.
    if x.prologue.gate.is_some() {
        x = x.applied()?;
    }
    let factors = gates.on_card(card)?.materialise()?;
    let prologue = Prologue { gate: Some(Arc::clone(&factors)), ..x.prologue.clone() };
    let data = Data { moments: None, ..x.clone() }.through(prologue);
    let (x_slot, g_slot) = (xs.slot(), gates.slot());
    Value::record_on_card(&[xs, gates], data, move |grad: Grad, slots: &mut Slots| {
        let (card, shape) = (&x.card.clone(), x.shape());
        let sums = grad.gate_sums.clone().filter(|_| grad.is_plain());
        let grad = grad.materialise()?;
        let parts = match sums {
            Some(it) => Some(it),
            None if g_slot.is_some() => {
                let (z, prologue) = (&x.buffer, x.prologue.without_gate());
                let reading = (&**z, &prologue.raw());
                let parts = norm::gate_sums(card.device(), shape, &grad.buffer, reading);
                Some(Rc::new(ok(parts)?))
            }
            None => None,
        };
        if let Some(parts) = &parts {
            slots.give_on_card(g_slot, || {
                let mut dg = card.alloc(n * c)?;
                ok(norm::gate_gradient(card.device(), shape.storage, parts, &mut dg))?;
                Ok(Grad::plain(card, dg, &[n, c]))
            })?;
        }
        slots.give_on_card(x_slot, || Ok(Grad { times: Some(factors), gate_sums: parts, ..grad }))
    })
}
