//! [`add`](crate::add()) on a card.

use candle::Result;
use gpu::elementwise;

use super::{
    data::Data,
    grad::Grad,
    store::{Card, ok},
};
use crate::{slots::Slots, tape::Value};

/// Adds two values of the same shape.
pub(crate) fn add(card: &Card, xs: &Value, ys: &Value) -> Result<Value> {
    let (x, y) = (xs.on_card(card)?, ys.on_card(card)?);
    let mut sum = card.alloc(x.shape().len())?;
    let ((a, of_a), (b, of_b)) = (x.read(), y.read());
    let (device, shape) = (card.device(), x.shape());
    ok(elementwise::add(device, shape, (a, &of_a), (b, &of_b), &mut sum, false))?;
    let (x_slot, y_slot) = (xs.slot(), ys.slot());
    let sum = Data::plain(card, sum, &x.dims);
    Value::record_on_card(&[xs, ys], sum, move |grad: Grad, slots: &mut Slots| {
        let grad = grad.materialise()?;
        slots.give_on_card(x_slot, || Ok(grad.clone()))?;
        slots.give_on_card(y_slot, || Ok(grad))
    })
}
