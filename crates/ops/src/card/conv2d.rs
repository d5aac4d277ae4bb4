//! [`conv2d`](crate::conv2d()) on a card.

use candle::{Result, bail};
use gpu::conv::{self, Before, Conv};

use super::{
    data::Data,
    ending::Ending,
    grad::Grad,
    store::{Card, ok},
};
use crate::{slots::Slots, tape::Value, window::Window};

/// - `then`: the epilogue, without gradients.
pub(crate) fn conv2d(
    card: &Card,
    xs: &Value,
    weight: &Value,
    window: Window,
    then: Option<Ending>,
) -> Result<Value> {
    let (x, w) = (xs.on_card(card)?, weight.on_card(card)?);
    let &[n, height, width, n_in] = &x.dims[..] else {
        bail!("conv2d: {:?} is not a feature map", x.dims)
    };
    let [kh, kw] = window.kernel;
    let groups = match w.dims[..] {
        [n_out, h, w, per_group]
            if [h, w] == [kh, kw] && per_group > 0 && n_in.is_multiple_of(per_group) =>
        {
            Some(n_in / per_group).filter(|it| *it > 0 && n_out.is_multiple_of(*it))
        }
        _ => None,
    };
    let Some(groups) = groups else {
        bail!("conv2d: a weight of {:?} does not fit {kh}x{kw} on {n_in} channels", w.dims);
    };
    let (grid, n_out) = (window.on(n, [height, width])?, w.dims[0]);
    let of = Conv {
        storage: card.storage(),
        images: n,
        n_in,
        n_out,
        groups,
        window: conv::Window {
            size: grid.size,
            kernel: grid.kernel,
            stride: grid.stride,
            before: grid.before,
            after: grid.after,
        },
        tile: None,
    };
    let dims = [n, grid.out[0], grid.out[1], n_out];
    let mut y = card.alloc(grid.n_out() * n_out)?;
    let ending = then.unwrap_or_default();
    let needs_moments = weight.is_on_tape();
    let made = of.forward(card.device(), x.read(), &w.buffer, ending.raw(), needs_moments, &mut y);
    let data = Data { moments: ok(made)?.map(Into::into), ..Data::plain(card, y, &dims) };

    let (x_slot, w_slot) = (xs.slot(), weight.slot());
    Value::record_on_card(&[xs, weight], data, move |mut grad: Grad, slots: &mut Slots| {
        let card = &x.card.clone();
        // Each number is read for every tap: its deferred norm is applied once, not for each of them.
        if grad.norm.is_some() && x_slot.is_some() {
            grad = grad.materialise()?;
        }
        let (g, deferred) = grad.read();
        slots.give_on_card(w_slot, || {
            let mut dw = card.alloc_f32(w.dims.iter().product())?;
            ok(of.weight_gradient(card.device(), (g, deferred), x.read(), &mut dw))?;
            Ok(Grad::of_parameter(card, dw, &w.dims))
        })?;
        let found = slots.take_plain(x_slot)?;
        slots.give_on_card(x_slot, || {
            let mut dx = card.alloc(x.shape().len())?;
            let before = Before {
                plus: found.as_ref().map(|it| &*it.buffer),
                needs_sums: !x.prologue.line.is_identity(),
            };
            let through = (!x.prologue.is_plain()).then(|| x.read());
            let of_g = (g, deferred);
            let sums =
                ok(of.input_gradient(card.device(), of_g, &w.buffer, through, before, &mut dx))?;
            Ok(Grad::plain(card, dx, &x.dims).summed(sums, &x.buffer, &x.prologue))
        })
    })
}
