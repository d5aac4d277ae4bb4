//! [`concat`](crate::concat()) on a card.

use candle::{Result, bail};
use gpu::{Shape, concat as kernels};

use super::{
    data::Data,
    grad::Grad,
    store::{Card, ok},
};
use crate::{slots::Slots, tape::Value};

/// Concatenates values along their channels.
///
/// - `dims`: those of the result.
pub(crate) fn concat(card: &Card, parts: &[&Value], dims: &[usize]) -> Result<Value> {
    let read = parts.iter().map(|it| it.on_card(card)).collect::<Result<Vec<_>>>()?;
    let Some(first) = read.first() else { bail!("concat: no inputs") };
    let c = dims.last().copied().unwrap_or(1);
    let whole = Shape { c, ..first.shape() };
    let mut y = card.alloc(whole.len())?;
    let mut offset = 0;
    let mut given = Vec::new();
    for (part, value) in read.iter().zip(parts) {
        let (shape, (x, prologue)) = (part.shape(), part.read());
        ok(kernels::concat(card.device(), (shape, whole), offset, x, &prologue, &mut y))?;
        given.push((value.slot(), shape, offset, part.dims.clone()));
        offset += shape.c;
    }
    Value::record_on_card(
        parts,
        Data::plain(card, y, dims),
        move |grad: Grad, slots: &mut Slots| {
            let (g, deferred) = grad.read();
            for (slot, shape, offset, dims) in given {
                slots.give_on_card(slot, || {
                    let mut dx = grad.card.alloc(shape.len())?;
                    let device = grad.card.device();
                    let both = (shape, whole);
                    ok(kernels::concat_backward(device, both, offset, g, &deferred, &mut dx))?;
                    Ok(Grad::plain(&grad.card, dx, &dims))
                })?;
            }
            Ok(())
        },
    )
}
