//! [`global_avg_pool`](crate::global_avg_pool), [`max_pool`](crate::max_pool()), [`avg_pool`](crate::avg_pool()) and
//! [`adaptive_avg_pool`](crate::adaptive_avg_pool) on a card.

use std::sync::Arc;

use candle::{Result, bail};
use gpu::{
    elementwise,
    pool::{self, Pooling, Windows},
};

use super::{
    data::Data,
    grad::Grad,
    store::{Card, ok},
};
use crate::{slots::Slots, tape::Value, window::Grid};

/// Averages `[n, h, w, c]` to `[n, c]`.
pub(crate) fn global_avg_pool(card: &Card, xs: &Value) -> Result<Value> {
    let x = xs.on_card(card)?;
    let (shape, dims, slot) = (x.shape(), x.dims.clone(), xs.slot());
    let (n, c) = (shape.images, shape.c);
    let mut means = card.alloc(n * c)?;
    let (z, prologue) = x.read();
    ok(elementwise::average(card.device(), shape, (z, &prologue), &mut means))?;
    let means = Data::plain(card, means, &[n, c]);
    Value::record_on_card(&[xs], means, move |grad: Grad, slots: &mut Slots| {
        if !slot.is_some() {
            return Ok(());
        }
        let grad = grad.materialise()?;
        let mut plus = grad.card.alloc(n * c)?;
        let factor = (&*grad.buffer, 1.0 / shape.area as f32);
        let device = grad.card.device();
        ok(elementwise::scale(device, shape.storage, n * c, factor, &mut plus))?;
        slots.spread_on_card(slot, &grad.card, Arc::new(plus), &dims)
    })
}

/// The sizes of a pooling of `x` by sliding windows.
fn sliding(x: &Data, grid: &Grid) -> Pooling {
    let &Grid { size, out, kernel, stride, before, .. } = grid;
    let windows = Windows::Sliding { kernel, stride, before };
    let shape = x.shape();
    Pooling { storage: shape.storage, images: shape.images, size, out, c: shape.c, windows }
}

/// Takes the largest number of each window.
pub(crate) fn max_pool(card: &Card, xs: &Value, grid: &Grid) -> Result<Value> {
    let x = xs.on_card(card)?;
    let of = sliding(&x, grid);
    let dims = [of.images, of.out[0], of.out[1], of.c];
    let mut y = card.alloc(of.n_taps())?;
    let mut taps = ok(card.device().alloc(of.n_taps()))?;
    let (z, prologue) = x.read();
    ok(pool::max_pool(card.device(), &of, z, &prologue, &mut y, &mut taps))?;
    let (slot, from) = (xs.slot(), x.dims.clone());
    Value::record_on_card(
        &[xs],
        Data::plain(card, y, &dims),
        move |grad: Grad, slots: &mut Slots| {
            slots.give_on_card(slot, || {
                let mut dx = grad.card.alloc(from.iter().product())?;
                let (g, deferred) = grad.read();
                let device = grad.card.device();
                ok(pool::max_pool_backward(device, &of, g, &deferred, &taps, &mut dx))?;
                Ok(Grad::plain(&grad.card, dx, &from))
            })
        },
    )
}

/// Averages the positions on the map within each window.
pub(crate) fn avg_pool(card: &Card, xs: &Value, grid: &Grid) -> Result<Value> {
    let x = xs.on_card(card)?;
    let of = sliding(&x, grid);
    average(xs, &x, of)
}

/// Averages a map to `out` rows and columns.
pub(crate) fn adaptive_avg_pool(card: &Card, xs: &Value, out: [usize; 2]) -> Result<Value> {
    let x = xs.on_card(card)?;
    let &[images, h, w, c] = &x.dims[..] else {
        bail!("adaptive_avg_pool: {:?} is not a feature map", x.dims)
    };
    let storage = card.storage();
    let of = Pooling { storage, images, size: [h, w], out, c, windows: Windows::Adaptive };
    average(xs, &x, of)
}

fn average(xs: &Value, x: &Data, of: Pooling) -> Result<Value> {
    let card = &x.card;
    let dims = [of.images, of.out[0], of.out[1], of.c];
    let mut y = card.alloc(dims.iter().product())?;
    let (z, prologue) = x.read();
    ok(pool::avg_pool(card.device(), &of, z, &prologue, &mut y))?;
    let (slot, from) = (xs.slot(), x.dims.clone());
    Value::record_on_card(
        &[xs],
        Data::plain(card, y, &dims),
        move |grad: Grad, slots: &mut Slots| {
            slots.give_on_card(slot, || {
                let mut dx = grad.card.alloc(from.iter().product())?;
                let (g, deferred) = grad.read();
                ok(pool::avg_pool_backward(grad.card.device(), &of, g, &deferred, &mut dx))?;
                Ok(Grad::plain(&grad.card, dx, &from))
            })
        },
    )
}
