//! Concatenation along the channels.
//!
//! y[…, channels of part k] = part k. Each part is read through its prologue, and gets its channels of
//! the gradient; a gradient that is still to go through a norm is computed part by part, never as a whole.
//!
//! Huang et al., "Densely Connected Convolutional Networks", 2016,
//! <https://arxiv.org/abs/1608.06993>, is where this matters: the [`Moments`] of the parts
//! are joined, so that a batch norm need not compute them again.

use std::ops::Range;

use candle::{Result, bail};

use crate::{
    Moments, Value,
    blocks::{overwrite, rows_per_block},
    card,
    graph::Op,
    profiler::{Event, Phase, record},
    prologue::{Grad, GradView, View},
    real::{Real, by_dtype, tensor},
};

/// Concatenates values along their channels.
///
/// - `parts`: `[…, c]` each, with equal leading dimensions.
/// - returns: `[…, Σ c]`.
pub fn concat(parts: &[&Value]) -> Result<Value> {
    let dims: Vec<&[usize]> = parts.iter().map(|it| it.dims()).collect();
    let Some((_, before)) = dims.first().and_then(|it| it.split_last()) else {
        bail!("concat: no inputs");
    };
    if dims.iter().any(|it| it.split_last().is_none_or(|(&c, it)| c == 0 || it != before)) {
        bail!("concat: {dims:?} differ in their leading dimensions, or have no channels");
    }
    if let [only] = parts {
        return Ok((*only).clone());
    }
    let widths: Vec<usize> = dims.iter().map(|it| it[before.len()]).collect();
    let width = widths.iter().sum();
    if let Some(card) = Value::card_of(parts) {
        return card::concat(&card, parts, &[before, &[width]].concat());
    }
    let n_rows: usize = before.iter().product();
    let event = move |phase| Event {
        shape: format!("{width}"),
        numbers: 2 * n_rows * width,
        ..Event::new("concat", phase)
    };
    let _recording = record(|| event(Phase::Forward));
    let raw = parts.iter().map(|it| it.raw()).collect::<Result<Vec<_>>>()?;
    let whole = [before, &[width]].concat();
    let ys = by_dtype!("concat", raw[0], T => {
        let views = raw.iter().zip(parts).map(|(raw, it)| View::<T>::of(raw, it.prologue()));
        let views = views.collect::<Result<Vec<_>>>()?;
        tensor(forward(&views, n_rows, width), &whole)
    })?;
    let slots_of: Vec<_> = parts.iter().map(|it| it.slot()).collect();
    let before = before.to_vec();
    let ys = Value::record(parts, ys, move |grad, slots| {
        let _recording = record(|| event(Phase::Backward));
        let grad = Grad { tensor: grad.tensor.contiguous()?, ..grad };
        by_dtype!("concat", grad.tensor, T => {
            let gs = GradView::<T>::of(&grad)?;
            let mut from = 0;
            for (slot, &c) in slots_of.into_iter().zip(&widths) {
                slots.give(slot, || {
                    let part = backward(&gs, from..from + c);
                    Ok(Grad::plain(tensor(part, &[&before[..], &[c]].concat())?))
                })?;
                from += c;
            }
            Ok(())
        })
    })?;
    let moments = if ys.is_on_tape() { moments(parts) } else { None };
    ys.with_moments(moments).recorded(parts, || Ok(Op::Concat))
}

fn forward<T: Real>(parts: &[View<'_, T>], n_rows: usize, width: usize) -> Vec<T> {
    let write = |rows: Range<usize>, ys: &mut [T]| {
        let mut from = 0;
        for part in parts {
            part.read(rows.start, &mut ys[from..], width);
            from += part.c;
        }
    };
    // SAFETY: the parts fill each row completely.
    unsafe { overwrite(n_rows, width, rows_per_block(n_rows, width), write) }.0
}

/// The gradient of some channels.
fn backward<T: Real>(gs: &GradView<'_, T>, channels: Range<usize>) -> Vec<T> {
    let c = channels.len();
    let write = |rows: Range<usize>, block: &mut [T]| {
        gs.read_channels(rows.start, channels.clone(), block, c);
    };
    // SAFETY: every channel of each row is written.
    unsafe { overwrite(gs.n_rows, c, rows_per_block(gs.n_rows, c), write) }.0
}

/// The joint moments, if those of all parts are known and no part has a prologue.
fn moments(parts: &[&Value]) -> Option<Moments> {
    let all = parts.iter().map(|it| if it.prologue().is_none() { it.moments() } else { None });
    let all: Vec<&Moments> = all.collect::<Option<_>>()?;
    let count = all[0].count;
    all.iter().all(|it| it.count == count).then(|| Moments {
        mean: all.iter().flat_map(|it| it.mean.iter().copied()).collect(),
        variance: all.iter().flat_map(|it| it.variance.iter().copied()).collect(),
        count,
    })
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor, Var};
    use testkit::{check_close, numbers};

    use super::concat;
    use crate::{Activation, Tape, Value, activate, batch_norm, check::check, linear};

    fn normed(xs: &Value, gamma: &Value, beta: &Value) -> Result<Value> {
        Ok(batch_norm(xs, gamma, beta, 1e-3, Activation::Silu)?.0)
    }

    #[test]
    fn channels_are_concatenated() -> Result<()> {
        let xs = Value::constant(Tensor::new(&[[1f64, 2.0], [3.0, 4.0]], &Device::Cpu)?);
        let ys = Value::constant(Tensor::new(&[[-5f64], [6.0]], &Device::Cpu)?);
        let relu = activate(&ys, Activation::Relu)?;
        let all = concat(&[&xs, &ys, &relu])?;
        assert_eq!(all.dims(), [2, 4]);
        check_close(&all.tensor()?, &[1.0, 2.0, -5.0, 0.0, 3.0, 4.0, 6.0, 6.0], 0.0);
        check_close(&concat(&[&relu])?.tensor()?, &[0.0, 6.0], 0.0);
        Ok(())
    }

    #[test]
    fn different_sizes_are_an_error() -> Result<()> {
        let of = |h: usize, w: usize| -> Result<Value> {
            Ok(Value::constant(Tensor::zeros((h, w, 3), candle::DType::F32, &Device::Cpu)?))
        };
        assert!(concat(&[]).is_err());
        let err = concat(&[&of(2, 3)?, &of(3, 2)?]).err().unwrap();
        assert!(err.to_string().contains("differ"), "{err}");
        Ok(())
    }

    #[test]
    fn the_moments_of_the_parts_are_joined() -> Result<()> {
        let tape = Tape::default();
        let var = |name: &str, dims: &[usize]| {
            Var::from_vec(numbers(name, dims.iter().product()), dims, &Device::Cpu)
        };
        let (xs, a, b) = (var("x", &[7, 5])?, var("a", &[3, 5])?, var("b", &[4, 5])?);
        let (xs, gamma) = (tape.leaf(&xs), tape.leaf(&var("gamma", &[7])?));
        let parts = [&a, &b].map(|it| linear(&xs, &tape.leaf(it), None, None));
        let [a, b] = parts.map(|it| it.expect("a product"));
        let both = concat(&[&a, &b])?;
        let known = both.moments().expect("products compute moments").clone();
        let (_, measured) =
            batch_norm(&Value::constant(both.tensor()?), &gamma, &gamma, 1e-3, Activation::None)?;
        assert_eq!(known.count, measured.count);
        for (known, measured) in [(known.mean, measured.mean), (known.variance, measured.variance)]
        {
            testkit::check_close_slices(&known, &measured, 1e-12);
        }
        // The moments do not describe a part with a prologue.
        assert!(concat(&[&a, &activate(&b, Activation::Relu)?])?.moments().is_none());
        Ok(())
    }

    #[test]
    fn gradients_are_correct() {
        check(&[&[2, 3, 2], &[2, 3, 5], &[2, 3, 1]], |v| concat(&[&v[0], &v[1], &v[2]]));
        // The same value twice.
        check(&[&[4, 3], &[4, 2]], |v| concat(&[&v[0], &v[1], &v[0]]));
    }

    #[test]
    fn reads_and_is_read_through_a_prologue() {
        check(&[&[2, 2, 2, 5], &[5], &[5], &[2, 2, 2, 3], &[8], &[8]], |v| {
            let all = concat(&[&normed(&v[0], &v[1], &v[2])?, &v[3]])?;
            normed(&all, &v[4], &v[5])
        });
        // Products carry their moments.
        check(&[&[6, 5], &[3, 5], &[4, 5], &[7], &[7]], |v| {
            let (a, b) = (linear(&v[0], &v[1], None, None)?, linear(&v[0], &v[2], None, None)?);
            normed(&concat(&[&a, &b])?, &v[3], &v[4])
        });
    }
}
