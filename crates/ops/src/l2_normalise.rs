//! L2 normalisation of rows to a given length: y = length · x / max(‖x‖₂, eps).
//!
//! dx = length · (g - ŷ (ŷ · g)) / ‖x‖ with ŷ = x / ‖x‖: the component along the row is removed.
//! With length 1 this is `torch.nn.functional.normalize`, with the same eps. For a row shorter than eps
//! PyTorch's gradient is g / eps, so that a single dead row would end a run; here it is 0, since such
//! a row has no direction.

use candle::{Result, bail};

use crate::{
    Value,
    blocks::{build, rows_per_block},
    card,
    graph::Op,
    number::Number as _,
    prologue::Grad,
    real::{Reading, Real, by_dtype, tensor},
};

/// The shortest row that has a direction.
const EPS: f64 = 1e-12;

/// Scales every row to a length.
///
/// - `xs`: `[n, width]`.
pub fn l2_normalise(xs: &Value, length: f64) -> Result<Value> {
    let &[n, width] = xs.dims() else { bail!("l2_normalise: {:?} are not rows", xs.dims()) };
    if let Some(card) = xs.card() {
        return card::l2_normalise(card, xs, length);
    }
    let x = xs.tensor()?.contiguous()?;
    let ys = by_dtype!("l2_normalise", x, T => {
        let reading = Reading::of(&x);
        let xs = reading.slice::<T>()?;
        tensor(by_row(n, width, |row, ys: &mut [T]| {
            let x = &xs[row * width..][..width];
            let scale = T::of(length / norm(x).max(EPS));
            ys.iter_mut().zip(x).for_each(|(y, &x)| *y = x * scale);
        }), &[n, width])
    })?;
    let slot = xs.slot();
    let ys = Value::record(&[xs], ys, move |grad, slots| {
        slots.give(slot, || {
            let grad = grad.materialise()?.contiguous()?;
            by_dtype!("l2_normalise", x, T => {
                let (x, g) = (Reading::of(&x), Reading::of(&grad));
                let (xs, gs) = (x.slice::<T>()?, g.slice::<T>()?);
                let dx = by_row(n, width, |row, dx: &mut [T]| {
                    let (x, g) = (&xs[row * width..][..width], &gs[row * width..][..width]);
                    let norm = norm(x);
                    if norm <= EPS {
                        return;
                    }
                    let (scale, along) = (T::of(length / norm), T::of(dot(x, g) / (norm * norm)));
                    for ((dx, &x), &g) in dx.iter_mut().zip(x).zip(g) {
                        *dx = scale * (g - x * along);
                    }
                });
                Ok(Grad::plain(tensor(dx, &[n, width])?))
            })
        })
    })?;
    ys.recorded(&[xs], || Ok(Op::L2Normalise { length, eps: EPS }))
}

/// Allocates rows and fills each by its index.
fn by_row<T: Real>(n: usize, width: usize, fill: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    build(n, width, rows_per_block(n, width), |first, block| {
        for (idx, row) in block.chunks_exact_mut(width.max(1)).enumerate() {
            fill(first + idx, row);
        }
    })
}

fn norm<T: Real>(xs: &[T]) -> f64 {
    dot(xs, xs).sqrt()
}

/// The dot product, in `f64`, so that the squares of small numbers do not underflow.
fn dot<T: Real>(xs: &[T], ys: &[T]) -> f64 {
    xs.iter().zip(ys).map(|(x, y)| x.to_f64() * y.to_f64()).sum()
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor, Var};
    use testkit::check_close;

    use super::l2_normalise;
    use crate::{Tape, Value, check::check};

    #[test]
    fn rows_get_the_given_length_and_keep_their_direction() -> Result<()> {
        let xs = Tensor::new(&[[3f64, -4.0], [0.0, 1e-3]], &Device::Cpu)?;
        let ys = l2_normalise(&Value::constant(xs), 10.0)?;
        check_close(&ys.tensor()?, &[6.0, -8.0, 0.0, 10.0], 1e-12);
        Ok(())
    }

    #[test]
    fn tiny_rows_keep_their_direction_and_zero_rows_have_zero_gradient() -> Result<()> {
        let tape = Tape::default();
        // The squares of 1e-10 are still twenty orders of magnitude above underflow in single precision.
        let xs = Var::new(&[[3e-10f32, 4e-10], [0.0, 0.0]], &Device::Cpu)?;
        let ys = tape.export(&l2_normalise(&tape.leaf(&xs), 1.0)?)?;
        check_close(&ys, &[0.6, 0.8, 0.0, 0.0], 1e-6);
        let grads = tape.backward(&ys.sum_all()?)?;
        check_close(&grads.get(&xs).expect("a gradient").get(1)?, &[0.0, 0.0], 0.0);
        Ok(())
    }

    #[test]
    fn gradient_is_correct() {
        check(&[&[5, 4]], |it| l2_normalise(&it[0], 1.0));
        check(&[&[3, 7]], |it| l2_normalise(&it[0], 30.0));
    }
}
