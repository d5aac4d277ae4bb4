//! x + y, element by element: the residual connection.

use candle::{Result, bail};

use crate::{
    Value, card,
    graph::Op,
    prologue::{self, Grad},
};

/// Adds two values of the same shape.
pub fn add(xs: &Value, ys: &Value) -> Result<Value> {
    if xs.dims() != ys.dims() {
        bail!("add: {:?} and {:?} differ", xs.dims(), ys.dims());
    }
    if let Some(card) = Value::card_of(&[xs, ys]) {
        return card::add(&card, xs, ys);
    }
    let total = prologue::add((&xs.raw()?, xs.prologue()), (&ys.raw()?, ys.prologue()))?;
    let (x_slot, y_slot) = (xs.slot(), ys.slot());
    let total = Value::record(&[xs, ys], total, move |grad, slots| {
        let grad = grad.materialise()?;
        slots.give(x_slot, || Ok(Grad::plain(grad.clone())))?;
        slots.give(y_slot, || Ok(Grad::plain(grad)))
    })?;
    total.recorded(&[xs, ys], || Ok(Op::Add))
}

#[cfg(test)]
mod tests {
    use crate::{add, check::check};

    #[test]
    fn gradients_are_correct() {
        check(&[&[2, 3], &[2, 3]], |it| add(&it[0], &it[1]));
    }
}
