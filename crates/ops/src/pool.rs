//! Global average pooling: the mean of each channel over a whole map.

use candle::Result;

use crate::{
    Value,
    blocks::build,
    isa::kernel,
    real::{Reading, Real as _, by_dtype, tensor},
};

/// Averages `[n, h, w, c]` to `[n, c]`.
pub fn global_avg_pool(xs: &Value) -> Result<Value> {
    let (n, h, w, c) = xs.tensor().dims4()?;
    let (area, slot) = (h * w, xs.slot());
    let x = xs.tensor().contiguous()?;
    let ys = by_dtype!("global_avg_pool", x, T => {
        let xs = Reading::of(&x);
        let xs = xs.slice::<T>()?;
        let ys = build(n, c, 1, |row, ys: &mut [T]| {
            average(&xs[row * area * c..][..area * c], T::of(1.0 / area as f64), ys);
        });
        tensor(ys, &[n, c])
    })?;
    Value::record(&[xs], ys, move |grad, slots| {
        slots.give(slot, || {
            let grad = (grad / area as f64)?.reshape((n, 1, 1, c))?;
            grad.broadcast_as((n, h, w, c))?.contiguous()
        })
    })
}

kernel! {
    fn average<F, T>(xs: &[T], share: T, ys: &mut [T]) {
        for row in xs.chunks_exact(ys.len()) {
            for (y, &x) in ys.iter_mut().zip(row) {
                *y += x;
            }
        }
        for y in ys {
            *y *= share;
        }
    }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::check_close;

    use crate::{Value, check::check, global_avg_pool};

    #[test]
    fn is_the_mean_of_each_channel() -> Result<()> {
        let xs = Tensor::new(&[1f64, 10.0, 2.0, 20.0, 3.0, 30.0, 6.0, 60.0], &Device::Cpu)?;
        let ys = global_avg_pool(&Value::constant(xs.reshape((1, 2, 2, 2))?))?;
        assert_eq!(ys.dims(), [1, 2]);
        check_close(ys.tensor(), &[3.0, 30.0], 1e-12);
        Ok(())
    }

    #[test]
    fn has_the_right_gradient() {
        check(&[&[2, 3, 2, 4]], |it| global_avg_pool(&it[0]));
    }
}
