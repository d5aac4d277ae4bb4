//! [`depthwise`](crate::depthwise()) on a card.

use candle::{Result, bail};
use gpu::{
    depthwise::{self, Depthwise, Gradients},
    elementwise,
};

use super::{
    data::{Data, Prologue},
    ending::Ending,
    grad::Grad,
    store::{Card, ok},
};
use crate::{slots::Slots, tape::Value, window::Window};

/// - `then`: the epilogue, without gradients; it becomes the prologue of the reader.
pub(crate) fn depthwise(
    card: &Card,
    xs: &Value,
    weight: &Value,
    window: Window,
    then: Option<Ending>,
) -> Result<Value> {
    let (x, k) = (xs.on_card(card)?, weight.on_card(card)?);
    let &[n, height, width, c] = &x.dims[..] else {
        bail!("depthwise: {:?} is not a feature map", x.dims)
    };
    let [kh, kw] = window.kernel;
    if k.dims != [kh, kw, c] {
        bail!("depthwise: a weight of {:?} does not fit {kh}x{kw} on {c} channels", k.dims);
    }
    let grid = window.on(n, [height, width])?;
    let of = Depthwise {
        storage: card.storage(),
        images: n,
        size: grid.size,
        out: grid.out,
        kernel: grid.kernel,
        stride: grid.stride,
        before: grid.before,
        c,
    };
    let dims = [n, grid.out[0], grid.out[1], c];
    let mut y = card.alloc(grid.n_out() * c)?;
    let needs_moments = weight.is_on_tape();
    let (z, prologue) = x.read();
    let made = depthwise::forward(
        card.device(),
        &of,
        (z, &prologue),
        &k.buffer,
        None,
        &mut y,
        needs_moments,
    );
    let data = Data { moments: ok(made)?.map(Into::into), ..Data::plain(card, y, &dims) };
    let data = match then {
        Some(then) => end(data, then)?,
        None => data,
    };

    let (x_slot, w_slot) = (xs.slot(), weight.slot());
    Value::record_on_card(&[xs, weight], data, move |grad: Grad, slots: &mut Slots| {
        let card = &x.card.clone();
        let mut dx = match x_slot.is_some() {
            true => Some(card.alloc(x.shape().len())?),
            false => None,
        };
        let mut dw = match w_slot.is_some() {
            true => Some(card.alloc_f32(kh * kw * c)?),
            false => None,
        };
        let needs_sums =
            dx.is_some() && x.prologue.gate.is_none() && !x.prologue.line.is_identity();
        let ((z, prologue), (g, deferred)) = (x.read(), grad.read());
        let into = Gradients { x: dx.as_mut(), weight: dw.as_mut() };
        let (of_x, of_g) = ((z, &prologue), (g, &deferred));
        let sums = depthwise::backward(card.device(), &of, of_x, of_g, &k.buffer, into, needs_sums);
        let sums = ok(sums)?;
        if let Some(dw) = dw {
            slots.give_on_card(w_slot, || Ok(Grad::of_parameter(card, dw, &k.dims)))?;
        }
        match dx {
            Some(dx) => slots.give_on_card(x_slot, || {
                Ok(Grad::plain(card, dx, &x.dims).summed(sums, &x.buffer, &x.prologue))
            }),
            None => Ok(()),
        }
    })
}

/// Applies an epilogue when the result is read; with a residual, when it is added.
fn end(data: Data, then: Ending) -> Result<Data> {
    let Ending { line, activation, plus } = then;
    let Some(plus) = plus else {
        return Ok(data.through(Prologue { line, activation, gate: None }));
    };
    let data = data.through(Prologue { line, ..Prologue::default() });
    let mut sum = data.card.alloc(data.shape().len())?;
    let ((x, a), (y, b)) = (data.read(), plus.read());
    let device = data.card.device();
    ok(elementwise::add(device, data.shape(), (x, &a), (y, &b), &mut sum, false))?;
    let sum = Data::plain(&data.card, sum, &data.dims);
    Ok(sum.through(Prologue { activation, ..Prologue::default() }))
}
