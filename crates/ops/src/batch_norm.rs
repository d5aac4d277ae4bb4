//! Batch normalisation and the activation after it, in one pass each way over memory.
//!
//! y = act(γ (x - μ) / √(σ² + ε) + β) for each channel, with the batch's mean μ and biased
//! variance σ² in training, and given ones otherwise.
//!
//! Ioffe & Szegedy, "Batch Normalization", 2015, <https://arxiv.org/abs/1502.03167>.
//! As in PyTorch, the running variance is to be fed with the unbiased one: see [`Moments`].

use candle::{Result, Tensor, WithDType as _, bail};

use crate::{
    Activation, Value,
    activation::{by_activation, slope_at, value_at},
    blocks::{build, reduce, rows_per_block},
    isa::kernel,
    real::{Reading, Real, by_dtype, tensor},
};

/// What a batch looked like, channel by channel.
#[derive(Clone, Debug)]
pub struct Moments {
    /// The mean of each channel.
    pub mean: Vec<f64>,
    /// The biased variance of each channel, the one that the batch was normalised with.
    pub variance: Vec<f64>,
    /// How many numbers each channel had, at least 2.
    pub count: usize,
}

impl Moments {
    /// The variance that running statistics follow.
    pub fn unbiased_variance(&self) -> impl Iterator<Item = f64> + '_ {
        let correction = self.count as f64 / (self.count - 1) as f64;
        self.variance.iter().map(move |it| it * correction)
    }
}

/// Normalises each channel by the batch's own statistics, and returns these as well.
///
/// - `xs`: `[…, c]`, with at least two values for each channel.
/// - `gamma`, `beta`: `[c]`.
///
/// # Errors
/// A batch with one value for each channel has no variance to learn from.
pub fn batch_norm(
    xs: &Value,
    gamma: &Value,
    beta: &Value,
    eps: f64,
    activation: Activation,
) -> Result<(Value, Moments)> {
    let x = xs.tensor().contiguous()?;
    let n_channels = gamma.tensor().elem_count();
    let count = x.elem_count() / n_channels;
    if count < 2 {
        bail!(
            "batch norm has one value for each channel to train on ({:?}): \
             use a larger batch or larger pictures, or leave the last short batch out",
            x.dims()
        );
    }
    let moments = by_dtype!("batch_norm", x, T => {
        let xs = Reading::of(&x);
        Ok(moments(xs.slice::<T>()?, n_channels))
    })?;
    let ys = normalise(xs, x, gamma, beta, moments.clone(), eps, activation, true)?;
    Ok((ys, moments))
}

/// Normalises each channel by given statistics, which are constants for the gradient.
///
/// - `mean`, `variance`: `[c]`.
pub fn batch_norm_fixed(
    xs: &Value,
    gamma: &Value,
    beta: &Value,
    (mean, variance): (&Tensor, &Tensor),
    eps: f64,
    activation: Activation,
) -> Result<Value> {
    let x = xs.tensor().contiguous()?;
    let list = |it: &Tensor| it.to_dtype(candle::DType::F64)?.to_vec1::<f64>();
    let moments = Moments { mean: list(mean)?, variance: list(variance)?, count: 0 };
    normalise(xs, x, gamma, beta, moments, eps, activation, false)
}

/// The common part of the two functions above.
fn normalise(
    xs: &Value,
    x: Tensor,
    gamma: &Value,
    beta: &Value,
    moments: Moments,
    eps: f64,
    activation: Activation,
    from_batch: bool,
) -> Result<Value> {
    let n_channels = gamma.tensor().elem_count();
    let list = |it: &Value| it.tensor().to_dtype(candle::DType::F64)?.to_vec1::<f64>();
    let inverse: Vec<f64> = moments.variance.iter().map(|it| 1.0 / (it + eps).sqrt()).collect();
    let scale: Vec<f64> = list(gamma)?.iter().zip(&inverse).map(|(g, i)| g * i).collect();
    let shifts = list(beta)?.into_iter().zip(&moments.mean).zip(&scale);
    let shift: Vec<f64> = shifts.map(|((b, mean), scale)| b - mean * scale).collect();
    let ys = by_dtype!("batch_norm", x, T => {
        let xs = Reading::of(&x);
        let ys = forward(xs.slice::<T>()?, &cast(&scale), &cast(&shift), activation);
        tensor(ys, x.dims())
    })?;

    let (x_slot, gamma_slot, beta_slot) = (xs.slot(), gamma.slot(), beta.slot());
    Value::record(&[xs, gamma, beta], ys, move |grad, slots| {
        by_dtype!("batch_norm", x, T => {
            let grad = grad.contiguous()?;
            let (xs, gs) = (Reading::of(&x), Reading::of(&grad));
            let (xs, gs) = (xs.slice::<T>()?, gs.slice::<T>()?);
            let (scale, shift) = (cast::<T>(&scale), cast::<T>(&shift));
            let mean = cast::<T>(&moments.mean);
            let per_block = sum_block(xs.len() / n_channels, n_channels);
            let sums = reduce(xs.len() / n_channels, per_block, 2 * n_channels, |rows| {
                let part = rows.start * n_channels..rows.end * n_channels;
                let (xs, gs) = (&xs[part.clone()], &gs[part]);
                let mut sums = vec![T::ZERO; 2 * n_channels];
                let (d, dx) = sums.split_at_mut(n_channels);
                by_activation!(activation, A => {
                    gradient_sums::<T, A>(xs, gs, &scale, &shift, &mean, d, dx)
                });
                sums.into_iter().map(|it| it.to_f64()).collect::<Vec<f64>>()
            });
            // d is the gradient of β. The sums of d·(x - μ), over √(σ² + ε), are that of γ.
            let (d_beta, d_gamma) = sums.split_at(n_channels);
            let d_gamma: Vec<f64> = d_gamma.iter().zip(&inverse).map(|(sum, i)| sum * i).collect();
            slots.give(gamma_slot, || tensor(cast::<T>(&d_gamma), &[n_channels]))?;
            slots.give(beta_slot, || tensor(cast::<T>(d_beta), &[n_channels]))?;
            slots.give(x_slot, || {
                // dx = scale (d - mean(d) - x̂ mean(d x̂)), with x̂ = (x - μ) inverse: a line in x.
                // With fixed statistics the two means are not there.
                let n = (xs.len() / n_channels) as f64;
                let line = |idx: usize| match from_batch {
                    true => {
                        let slope = -scale_of(&scale, idx) * d_gamma[idx] / n * inverse[idx];
                        let at_mean = -scale_of(&scale, idx) * d_beta[idx] / n;
                        (slope, at_mean - slope * moments.mean[idx])
                    }
                    false => (0.0, 0.0),
                };
                let (slope, offset): (Vec<f64>, Vec<f64>) = (0..n_channels).map(line).unzip();
                let (slope, offset) = (cast::<T>(&slope), cast::<T>(&offset));
                let n_rows = xs.len() / n_channels;
                let per_block = rows_per_block(n_rows, n_channels);
                let dx = build(n_rows, n_channels, per_block, |first, dx: &mut [T]| {
                    let part = first * n_channels..first * n_channels + dx.len();
                    let (xs, gs) = (&xs[part.clone()], &gs[part]);
                    by_activation!(activation, A => {
                        input_gradient::<T, A>(xs, gs, &scale, &shift, &slope, &offset, dx)
                    });
                });
                tensor(dx, x.dims())
            })
        })
    })
}

/// Rows whose sums may be kept in `f32`.
fn sum_block(n_rows: usize, n_channels: usize) -> usize {
    rows_per_block(n_rows, n_channels).min(256)
}

fn scale_of<T: Real>(scale: &[T], idx: usize) -> f64 {
    scale[idx].to_f64()
}

fn cast<T: Real>(xs: &[f64]) -> Vec<T> {
    xs.iter().map(|&it| T::of(it)).collect()
}

/// The mean and biased variance of each channel.
///
/// Sums are taken of x - pivot, where the pivot is the channel's first number, so that a large
/// mean does not swallow the variance; within a block in `T`, between blocks in `f64`.
fn moments<T: Real>(xs: &[T], n_channels: usize) -> Moments {
    let n_rows = xs.len() / n_channels;
    let pivot = &xs[..n_channels];
    let per_block = sum_block(n_rows, n_channels);
    let sums = reduce(n_rows, per_block, 2 * n_channels, |rows| {
        let mut sums = vec![T::ZERO; 2 * n_channels];
        let (sum, square) = sums.split_at_mut(n_channels);
        add_moments(&xs[rows.start * n_channels..rows.end * n_channels], pivot, sum, square);
        sums.into_iter().map(|it| it.to_f64()).collect::<Vec<f64>>()
    });
    let n = n_rows as f64;
    let (sum, square) = sums.split_at(n_channels);
    let mean = sum.iter().zip(pivot).map(|(sum, pivot)| pivot.to_f64() + sum / n).collect();
    let variance = sum.iter().zip(square).map(|(sum, square)| {
        // Rounding may leave a tiny negative number where all values are the same.
        (square / n - (sum / n) * (sum / n)).max(0.0)
    });
    Moments { mean, variance: variance.collect(), count: n_rows }
}

fn forward<T: Real>(xs: &[T], scale: &[T], shift: &[T], activation: Activation) -> Vec<T> {
    let n_channels = scale.len();
    let n_rows = xs.len() / n_channels;
    build(n_rows, n_channels, rows_per_block(n_rows, n_channels), |first, ys: &mut [T]| {
        let xs = &xs[first * n_channels..first * n_channels + ys.len()];
        by_activation!(activation, A => scale_shift::<T, A>(xs, scale, shift, ys));
    })
}

kernel! {
    fn add_moments<F, T>(xs: &[T], pivot: &[T], sum: &mut [T], square: &mut [T]) {
        for row in xs.chunks_exact(pivot.len()) {
            for (((&x, &pivot), sum), square) in row.iter().zip(pivot).zip(&mut *sum).zip(&mut *square) {
                let x = x - pivot;
                *sum += x;
                *square = T::fma::<F>(x, x, *square);
            }
        }
    }
}

kernel! {
    fn scale_shift<F, T, const A: u8>(xs: &[T], scale: &[T], shift: &[T], ys: &mut [T]) {
        let n_channels = scale.len();
        for (xs, ys) in xs.chunks_exact(n_channels).zip(ys.chunks_exact_mut(n_channels)) {
            for (((y, &x), &scale), &shift) in ys.iter_mut().zip(xs).zip(scale).zip(shift) {
                *y = value_at::<F, T, A>(T::fma::<F>(x, scale, shift));
            }
        }
    }
}

kernel! {
    /// With d = g·act'(scale·x + shift): adds d and d·(x - mean), channel by channel.
    fn gradient_sums<F, T, const A: u8>(
        xs: &[T], gs: &[T], scale: &[T], shift: &[T], mean: &[T], d_sum: &mut [T], dx_sum: &mut [T],
    ) {
        let n_channels = scale.len();
        for (xs, gs) in xs.chunks_exact(n_channels).zip(gs.chunks_exact(n_channels)) {
            let constants = scale.iter().zip(shift).zip(mean);
            let sums = d_sum.iter_mut().zip(&mut *dx_sum);
            for (((&x, &g), ((&scale, &shift), &mean)), (d_sum, dx_sum)) in
                xs.iter().zip(gs).zip(constants).zip(sums)
            {
                let d = g * slope_at::<F, T, A>(T::fma::<F>(x, scale, shift));
                *d_sum += d;
                *dx_sum = T::fma::<F>(d, x - mean, *dx_sum);
            }
        }
    }
}

kernel! {
    /// scale·d + slope·x + offset.
    fn input_gradient<F, T, const A: u8>(
        xs: &[T], gs: &[T], scale: &[T], shift: &[T], slope: &[T], offset: &[T], dx: &mut [T],
    ) {
        let n_channels = scale.len();
        let rows = xs.chunks_exact(n_channels).zip(gs.chunks_exact(n_channels));
        for ((xs, gs), dx) in rows.zip(dx.chunks_exact_mut(n_channels)) {
            let constants = scale.iter().zip(shift).zip(slope.iter().zip(offset));
            for (((dx, &x), &g), ((&scale, &shift), (&slope, &offset))) in
                dx.iter_mut().zip(xs).zip(gs).zip(constants)
            {
                let d = g * slope_at::<F, T, A>(T::fma::<F>(x, scale, shift));
                *dx = T::fma::<F>(scale, d, T::fma::<F>(slope, x, offset));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::check_close;

    use super::{batch_norm, batch_norm_fixed};
    use crate::{Activation, Value, check::check};

    fn value(xs: &[f32], dims: &[usize]) -> Result<Value> {
        Ok(Value::constant(Tensor::from_slice(xs, dims, &Device::Cpu)?))
    }

    #[test]
    fn a_batch_comes_out_centred_and_scaled() -> Result<()> {
        // Channel 0: 1, 3 -> mean 2, variance 1. Channel 1: 10, 30 -> mean 20, variance 100.
        let xs = value(&[1.0, 10.0, 3.0, 30.0], &[2, 1, 1, 2])?;
        let (gamma, beta) = (value(&[1.0, 2.0], &[2])?, value(&[0.0, 5.0], &[2])?);
        let (ys, moments) = batch_norm(&xs, &gamma, &beta, 0.0, Activation::None)?;
        check_close(ys.tensor(), &[-1.0, 3.0, 1.0, 7.0], 1e-6);
        assert_eq!(
            (moments.mean.clone(), moments.variance.clone()),
            (vec![2.0, 20.0], vec![1.0, 100.0])
        );
        assert_eq!(moments.unbiased_variance().collect::<Vec<_>>(), [2.0, 200.0]);
        Ok(())
    }

    #[test]
    fn a_large_mean_does_not_swallow_the_variance() -> Result<()> {
        let xs: Vec<f32> = (0..4096).map(|idx| 1e4 + (idx % 2) as f32).collect();
        let (gamma, beta) = (value(&[1.0], &[1])?, value(&[0.0], &[1])?);
        let (_, moments) =
            batch_norm(&value(&xs, &[4096, 1, 1, 1])?, &gamma, &beta, 1e-5, Activation::None)?;
        assert!((moments.variance[0] - 0.25).abs() < 1e-6, "{}", moments.variance[0]);
        Ok(())
    }

    #[test]
    fn one_value_a_channel_is_an_error() -> Result<()> {
        let (xs, one) = (value(&[1.0, 2.0], &[1, 1, 1, 2])?, value(&[1.0, 1.0], &[2])?);
        let err = batch_norm(&xs, &one, &one, 1e-5, Activation::None).err().unwrap();
        assert!(err.to_string().contains("one value for each channel"), "{err}");
        Ok(())
    }

    #[test]
    fn has_the_right_gradients() {
        for it in [Activation::None, Activation::Relu, Activation::Relu6, Activation::Silu] {
            check(&[&[3, 2, 2, 5], &[5], &[5]], |v| {
                Ok(batch_norm(&v[0], &v[1], &v[2], 1e-3, it)?.0)
            });
            let mean = Tensor::new(&[0.1f64, -0.2, 0.3, 0.0, 1.0], &Device::Cpu).unwrap();
            let variance = Tensor::new(&[0.5f64, 1.0, 2.0, 0.3, 0.1], &Device::Cpu).unwrap();
            check(&[&[3, 2, 1, 5], &[5], &[5]], |v| {
                batch_norm_fixed(&v[0], &v[1], &v[2], (&mean, &variance), 1e-3, it)
            });
        }
    }
}
