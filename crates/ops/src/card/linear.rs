//! [`linear`](crate::linear()) on a card.

use candle::{Result, bail};
use gpu::{
    elementwise,
    product::{Before, Linear},
};

use super::{
    data::Data,
    ending::Ending,
    grad::Grad,
    store::{Card, ok},
};
use crate::{slots::Slots, tape::Value};

/// Columns of a result up to which a gradient is read through its norm for each tile of them; more, and it is
/// written out first.
const FEW_COLUMNS: usize = 128;

/// - `then`: the epilogue, without gradients.
pub(crate) fn linear(
    card: &Card,
    xs: &Value,
    weight: &Value,
    bias: Option<&Value>,
    then: Option<Ending>,
) -> Result<Value> {
    let (x, w) = (xs.on_card(card)?, weight.on_card(card)?);
    let Some((&n_in, before)) = x.dims.split_last() else {
        bail!("linear: a scalar has no rows");
    };
    let n_out = w.dims[0];
    if w.dims.iter().product::<usize>() != n_out * n_in {
        bail!("linear: rows of {n_in} do not match a weight of {:?}", w.dims);
    }
    let shape = x.shape();
    let of = Linear {
        storage: shape.storage,
        images: shape.images,
        area: shape.area,
        n_in,
        n_out,
        tile: None,
    };
    let dims = [before, &[n_out]].concat();
    let b = bias.map(|it| it.on_card(card)?.vector()).transpose()?;
    let mut ending = then.unwrap_or_default();
    match (b, ending.line.is_identity()) {
        (Some(bias), true) => ending.line.shift = Some(bias),
        (Some(bias), false) => ending.line = ending.line.after_bias(card, n_out, &bias)?,
        (None, _) => {}
    }
    let needs_moments = bias.is_none() && weight.is_on_tape();
    let mut y = card.alloc(shape.n_rows() * n_out)?;
    let made = of.forward(card.device(), x.read(), &w.buffer, ending.raw(), needs_moments, &mut y);
    let data = Data { moments: ok(made)?.map(Into::into), ..Data::plain(card, y, &dims) };

    let (x_slot, w_slot) = (xs.slot(), weight.slot());
    let b_slot = bias.map(Value::slot);
    let inputs: Vec<&Value> = [xs, weight].into_iter().chain(bias).collect();
    Value::record_on_card(&inputs, data, move |mut grad: Grad, slots: &mut Slots| {
        let card = &x.card.clone();
        if grad.norm.is_some() && x_slot.is_some() && n_in > FEW_COLUMNS {
            grad = grad.materialise()?;
        }
        let (g, deferred) = grad.read();
        if let Some(slot) = b_slot.filter(|it| it.is_some()) {
            let mut db = card.alloc_f32(n_out)?;
            let of_g = (g, &deferred);
            ok(elementwise::column_sums(card.device(), grad.shape(), of_g, &mut db))?;
            slots.give_on_card(slot, || Ok(Grad::of_parameter(card, db, &[n_out])))?;
        }
        slots.give_on_card(w_slot, || {
            let mut dw = card.alloc_f32(n_out * n_in)?;
            ok(of.weight_gradient(card.device(), (g, deferred), x.read(), &mut dw))?;
            Ok(Grad::of_parameter(card, dw, &w.dims))
        })?;
        let found = slots.take_plain(x_slot)?;
        slots.give_on_card(x_slot, || {
            let mut dx = card.alloc(shape.len())?;
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
