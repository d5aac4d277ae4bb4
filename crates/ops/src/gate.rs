//! The gate of a squeeze-excite block: each channel of each picture times one number.
//!
//! Hu et al., "Squeeze-and-Excitation Networks", 2017, <https://arxiv.org/abs/1709.01507>.

use candle::{Result, bail};

use crate::{
    Value,
    blocks::{build, rows_per_block},
    isa::kernel,
    real::{Reading, by_dtype, tensor},
};

/// Scales the channels of `xs`, `[n, h, w, c]`, by `gates`, `[n, c]`.
pub fn gate(xs: &Value, gates: &Value) -> Result<Value> {
    let (n, h, w, c) = xs.tensor().dims4()?;
    if gates.dims() != [n, c] {
        bail!("gate: gates of {:?} do not fit {:?}", gates.dims(), xs.dims());
    }
    let area = h * w;
    let (x, g) = (xs.tensor().contiguous()?, gates.tensor().contiguous()?);
    // A block lies within one picture, so that it has one row of gates.
    let per_block = largest_divisor(area, rows_per_block(n * area, c));
    let ys = by_dtype!("gate", x, T => {
        let (xs, gates) = (Reading::of(&x), Reading::of(&g));
        let (xs, gates) = (xs.slice::<T>()?, gates.slice::<T>()?);
        let ys = build(n * area, c, per_block, |first, ys: &mut [T]| {
            let gates = &gates[first / area * c..][..c];
            scale(&xs[first * c..first * c + ys.len()], gates, ys);
        });
        tensor(ys, x.dims())
    })?;
    let (x_slot, g_slot) = (xs.slot(), gates.slot());
    Value::record(&[xs, gates], ys, move |grad, slots| {
        by_dtype!("gate", x, T => {
            let grad = grad.contiguous()?;
            let ds = Reading::of(&grad);
            let ds = ds.slice::<T>()?;
            slots.give(g_slot, || {
                let xs = Reading::of(&x);
                let xs = xs.slice::<T>()?;
                let dg = build(n, c, 1, |row, dg: &mut [T]| {
                    let part = row * area * c..(row + 1) * area * c;
                    multiply_add(&xs[part.clone()], &ds[part], dg);
                });
                tensor(dg, &[n, c])
            })?;
            slots.give(x_slot, || {
                let gates = Reading::of(&g);
                let gates = gates.slice::<T>()?;
                let dx = build(n * area, c, per_block, |first, dx: &mut [T]| {
                    let gates = &gates[first / area * c..][..c];
                    scale(&ds[first * c..first * c + dx.len()], gates, dx);
                });
                tensor(dx, x.dims())
            })
        })
    })
}

/// The largest number up to `most` that divides `n`.
fn largest_divisor(n: usize, most: usize) -> usize {
    (1..=most.min(n)).rev().find(|it| n.is_multiple_of(*it)).unwrap_or(1)
}

kernel! {
    fn scale<F, T>(xs: &[T], gates: &[T], ys: &mut [T]) {
        let n_channels = gates.len();
        for (xs, ys) in xs.chunks_exact(n_channels).zip(ys.chunks_exact_mut(n_channels)) {
            for ((y, &x), &gate) in ys.iter_mut().zip(xs).zip(gates) {
                *y = x * gate;
            }
        }
    }
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

    use super::largest_divisor;
    use crate::{Value, check::check, gate};

    #[test]
    fn each_picture_has_its_own_gates() -> Result<()> {
        let xs = Tensor::new(&[1f64, 2.0, 3.0, 4.0], &Device::Cpu)?.reshape((2, 1, 1, 2))?;
        let gates = Tensor::new(&[[1f64, 0.0], [0.5, 2.0]], &Device::Cpu)?;
        let ys = gate(&Value::constant(xs), &Value::constant(gates))?;
        check_close(ys.tensor(), &[1.0, 0.0, 1.5, 8.0], 1e-12);
        Ok(())
    }

    #[test]
    fn blocks_stay_within_a_picture() {
        assert_eq!(
            [(49, 10), (49, 49), (13, 5), (12, 100)].map(|(n, m)| largest_divisor(n, m)),
            [7, 49, 1, 12]
        );
    }

    #[test]
    fn has_the_right_gradients() {
        check(&[&[2, 3, 2, 4], &[2, 4]], |it| gate(&it[0], &it[1]));
    }
}
