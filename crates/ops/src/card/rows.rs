//! [`layer_norm`](crate::layer_norm()), [`l2_normalise`](crate::l2_normalise()) and dropout on a card: operations that
//! read and write plain tensors.

use candle::{Result, bail};
use gpu::{Buffer, dropout as kernels, l2_normalise as l2, layer_norm as layer};

use super::{
    data::Data,
    grad::Grad,
    store::{Card, ok},
};
use crate::{slots::Slots, tape::Value};

/// Normalises each row of channels.
pub(crate) fn layer_norm(
    card: &Card,
    xs: &Value,
    gamma: &Value,
    beta: &Value,
    eps: f64,
) -> Result<Value> {
    let x = xs.on_card(card)?.applied()?;
    let (shape, c) = (x.shape(), x.c());
    if c == 0 || gamma.dims() != [c] || beta.dims() != [c] {
        let (gamma, beta) = (gamma.dims(), beta.dims());
        bail!("layer_norm: rows of {:?} do not match {gamma:?} and {beta:?}", x.dims);
    }
    let (g, b) = (gamma.on_card(card)?.vector()?, beta.on_card(card)?.vector()?);
    let (mut y, mut stats) = (card.alloc(shape.len())?, card.alloc_f32(2 * shape.n_rows())?);
    let (device, line) = (card.device(), (&*g, &*b));
    ok(layer::layer_norm(device, shape, &x.buffer, line, eps as f32, &mut y, &mut stats))?;
    let (x_slot, slots_of) = (xs.slot(), [gamma.slot(), beta.slot()]);
    let y = Data::plain(card, y, &x.dims);
    Value::record_on_card(&[xs, gamma, beta], y, move |grad: Grad, slots: &mut Slots| {
        let (card, grad) = (&x.card, grad.materialise()?);
        let (mut dx, mut both) = (card.alloc(shape.len())?, card.alloc_f32(2 * c)?);
        let (read, fixed) = ((&*x.buffer, &*grad.buffer), (&*g, &stats));
        let device = card.device();
        ok(layer::layer_norm_backward(device, shape, read, fixed, &mut dx, &mut both))?;
        slots.give_on_card(x_slot, || Ok(Grad::plain(card, dx, &x.dims)))?;
        for (idx, slot) in slots_of.into_iter().enumerate() {
            slots.give_on_card(slot, || {
                let mut vector = card.alloc_f32(c)?;
                ok(vector.copy_from(ok(both.slice(idx * c * 4, c * 4))?))?;
                Ok(Grad::of_parameter(card, vector, &[c]))
            })?;
        }
        Ok(())
    })
}

/// Scales every row to a length.
pub(crate) fn l2_normalise(card: &Card, xs: &Value, length: f64) -> Result<Value> {
    let x = xs.on_card(card)?.applied()?;
    let shape = x.shape();
    let mut y = card.alloc(shape.len())?;
    ok(l2::l2_normalise(card.device(), shape, &x.buffer, length as f32, &mut y))?;
    let slot = xs.slot();
    let y = Data::plain(card, y, &x.dims);
    Value::record_on_card(&[xs], y, move |grad: Grad, slots: &mut Slots| {
        slots.give_on_card(slot, || {
            let (card, grad) = (&x.card, grad.materialise()?);
            let mut dx = card.alloc(shape.len())?;
            let (x_of, g) = (&x.buffer, &grad.buffer);
            let device = card.device();
            ok(l2::l2_normalise_backward(device, shape, x_of, g, length as f32, &mut dx))?;
            Ok(Grad::plain(card, dx, &x.dims))
        })
    })
}

/// Zeroes the numbers that are not kept, and multiplies the others by `factor`.
pub(crate) fn dropout(card: &Card, xs: &Value, kept: &[bool], factor: f32) -> Result<Value> {
    let x = xs.on_card(card)?.applied()?;
    let mask = ok(card.device().upload(&kernels::mask(kept.iter().copied())))?;
    let n = kept.len();
    let masked = move |card: &Card, from: &Buffer, mask: &Buffer| -> Result<Buffer> {
        let mut to = card.alloc(n)?;
        let numbers = (n, card.storage());
        ok(kernels::dropout(card.device(), numbers, from, (mask, factor), &mut to))?;
        Ok(to)
    };
    let y = Data::plain(card, masked(card, &x.buffer, &mask)?, &x.dims);
    let slot = xs.slot();
    Value::record_on_card(&[xs], y, move |grad: Grad, slots: &mut Slots| {
        slots.give_on_card(slot, || {
            let grad = grad.materialise()?;
            let dx = masked(&grad.card, &grad.buffer, &mask)?;
            Ok(Grad::plain(&grad.card, dx, &grad.dims))
        })
    })
}
