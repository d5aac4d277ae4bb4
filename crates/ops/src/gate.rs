//! The gate of a squeeze-and-excitation block: each channel of each image is scaled by one number.
//!
//! It is applied lazily, when the result is read: see [`prologue`](crate::prologue).
//!
//! Hu et al., "Squeeze-and-Excitation Networks", 2017, <https://arxiv.org/abs/1709.01507>.

use candle::{Result, Tensor, bail};

use crate::{
    Value, card,
    graph::Op,
    kernel::kernel,
    pool::per_image,
    profiler::{Event, Phase, record},
    prologue::{Grad, Prologue, View},
    real::{Reading, by_dtype, tensor},
};

/// Scales the channels of `xs`, `[n, …, c]`, by `gates`, `[n, c]`.
pub fn gate(xs: &Value, gates: &Value) -> Result<Value> {
    if let Some(card) = Value::card_of(&[xs, gates]) {
        return card::gate(&card, xs, gates);
    }
    let dims = xs.dims();
    let (n, c) = (dims[0], dims[dims.len() - 1]);
    if dims.len() < 2 || gates.dims() != [n, c] {
        bail!("gate: gates of {:?} do not fit {dims:?}", gates.dims());
    }
    let area = dims[1..dims.len() - 1].iter().product();
    let event = |phase| Event::new("gate", phase);
    let _recording = record(|| event(Phase::Forward));
    // A value that is gated already is materialised first.
    let (x, prologue) = match xs.prologue() {
        Some(it) if it.gate.is_none() => (xs.raw()?, it.clone()),
        _ => (xs.tensor()?, Prologue::none(c)),
    };
    let (x_slot, g_slot) = (xs.slot(), gates.slot());
    let gate = gates.tensor()?;
    let (saved, before, factors) = (x.clone(), prologue.clone(), gate.clone());
    let ys = Value::record(&[xs, gates], x, move |grad, slots| {
        let _recording = record(|| event(Phase::Backward));
        if let (true, Some(sums)) = (grad.is_plain(), grad.gate_sums.clone()) {
            let dg = Tensor::new(sums.of_gates(), saved.device())?.to_dtype(saved.dtype())?;
            slots.give(g_slot, || Ok(Grad::plain(dg.reshape((n, c))?)))?;
            return slots.give(x_slot, || Ok(Grad { times: Some(factors), ..grad }));
        }
        let grad = grad.materialise()?;
        slots.give(g_slot, || {
            by_dtype!("gate", saved, T => {
                let view = View::<T>::of(&saved, Some(&before))?;
                let ds = Reading::of(&grad);
                let ds = ds.slice::<T>()?;
                let dg = per_image(&view, area, true, |rows, xs, sums| {
                    multiply_add(xs, &ds[rows.start * c..rows.end * c], sums);
                });
                Ok(Grad::plain(tensor(dg, &[n, c])?))
            })
        })?;
        slots.give(x_slot, || Ok(Grad { times: Some(factors), ..Grad::plain(grad) }))
    })?;
    let ys = ys.through(Prologue { gate: Some(gate), ..prologue });
    ys.recorded(&[xs, gates], || Ok(Op::Gate))
}

kernel! {
    fn multiply_add<F, T>(xs: &[T], ds: &[T], sums: &mut [T]) {
        let n_channels = sums.len();
        for (xs, ds) in xs.chunks_exact(n_channels).zip(ds.chunks_exact(n_channels)) {
            for ((sum, &x), &d) in sums.iter_mut().zip(xs).zip(ds) {
                *sum = T::fma::<F>(x, d, *sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::check_close;

    use crate::{Value, check::check, gate};

    #[test]
    fn each_image_has_its_own_gates() -> Result<()> {
        let xs = Tensor::new(&[1f64, 2.0, 3.0, 4.0], &Device::Cpu)?.reshape((2, 1, 1, 2))?;
        let gates = Tensor::new(&[[1f64, 0.0], [0.5, 2.0]], &Device::Cpu)?;
        let ys = gate(&Value::constant(xs), &Value::constant(gates))?;
        check_close(&ys.tensor()?, &[1.0, 0.0, 1.5, 8.0], 1e-12);
        Ok(())
    }

    #[test]
    fn gradients_are_correct() {
        check(&[&[2, 3, 2, 4], &[2, 4]], |it| gate(&it[0], &it[1]));
    }
}
