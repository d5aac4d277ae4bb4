//! Batch normalisation and the activation after it, as a prologue of the normalised tensor.
//!
//! y = act(γ (x - μ) / √(σ² + ε) + β) for each channel, with the batch's mean μ and biased
//! variance σ² in training, and given statistics otherwise. It is applied lazily, when y is read: see
//! [`prologue`](crate::prologue).
//!
//! Ioffe & Szegedy, "Batch Normalization", 2015, <https://arxiv.org/abs/1502.03167>.
//! As in PyTorch, the running variance must be updated with the unbiased variance: see [`Moments`].

use std::{ops::Range, rc::Rc};

use candle::{DType, Result, Tensor, Var, bail};

use crate::{
    Activation, Value,
    blocks::{reduce, rows_per_block},
    card,
    graph::Op,
    moments::{Moments, lines},
    profiler::{Event, Phase, record},
    prologue::{Grad, GradView, NormBackward, Prologue, View},
    real::{Real, by_dtype, cast, tensor},
};

/// Normalises each channel by the statistics of the batch, and returns them as well.
///
/// - `xs`: `[…, c]`, with at least two values for each channel.
/// - `gamma`, `beta`: `[c]`.
///
/// # Errors
/// A batch with a single value per channel: its variance is not defined.
pub fn batch_norm(
    xs: &Value,
    gamma: &Value,
    beta: &Value,
    eps: f64,
    activation: Activation,
) -> Result<(Value, Moments)> {
    if Value::card_of(&[xs, gamma, beta]).is_some() {
        bail!("batch_norm: its moments would be of the host: on a card it is `batch_norm_running`");
    }
    let n_channels = gamma.raw()?.elem_count();
    check_count(xs.dims(), xs.raw()?.elem_count() / n_channels)?;
    let x = xs.tensor()?;
    let moments = match xs.moments() {
        Some(it) => it.clone(),
        None => by_dtype!("batch_norm", x, T => moments::<T>(&x))?,
    };
    let ys = normalise(xs, x, gamma, beta, moments.clone(), eps, activation, true)?;
    Ok((ys, moments))
}

/// A batch needs two values for each channel.
pub(crate) fn check_count(dims: &[usize], count: usize) -> Result<()> {
    if count < 2 {
        bail!(
            "batch norm in training needs more than one value per channel, got {dims:?}: \
             use a larger batch or larger images, or drop the last short batch"
        );
    }
    Ok(())
}

/// The running statistics of a norm, and the weight of each batch in them.
pub struct RunningStatistics<'a> {
    /// `[c]`.
    pub mean: &'a Var,
    /// `[c]`, unbiased.
    pub variance: &'a Var,
    /// (1 - momentum)·old + momentum·new.
    pub momentum: f64,
}

/// [`batch_norm`], which also moves running statistics towards those of the batch; on a card they change there.
///
/// # Errors
/// Same as [`batch_norm`].
pub fn batch_norm_running(
    xs: &Value,
    gamma: &Value,
    beta: &Value,
    running: RunningStatistics<'_>,
    eps: f64,
    activation: Activation,
) -> Result<Value> {
    if let Some(card) = Value::card_of(&[xs, gamma, beta]) {
        let RunningStatistics { mean, variance, momentum } = running;
        let running = (mean.as_tensor(), variance.as_tensor(), momentum);
        return card::batch_norm(&card, xs, (gamma, beta), running, eps, activation);
    }
    let (ys, moments) = batch_norm(xs, gamma, beta, eps, activation)?;
    running.update(&moments)?;
    Ok(ys)
}

impl RunningStatistics<'_> {
    /// Moves them towards the moments of a batch.
    pub(crate) fn update(&self, moments: &Moments) -> Result<()> {
        update_running(self.mean, moments.mean.iter().copied(), self.momentum)?;
        update_running(self.variance, moments.unbiased_variance(), self.momentum)
    }
}

/// Moves a running statistic towards a batch's: (1 - momentum)·old + momentum·new.
fn update_running(running: &Var, batch: impl Iterator<Item = f64>, momentum: f64) -> Result<()> {
    let old = running.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let new = old.iter().zip(batch).map(|(old, new)| old + momentum * (new - old));
    let new = Tensor::from_iter(new, running.device())?.to_dtype(running.dtype())?;
    running.set(&new)
}

/// Normalises each channel by given statistics, which are constants in the backward pass.
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
    if let Some(card) = Value::card_of(&[xs, gamma, beta]) {
        let affine = (gamma, beta);
        return card::batch_norm_fixed(&card, xs, affine, (mean, variance), eps, activation);
    }
    let list = |it: &Tensor| it.to_dtype(candle::DType::F64)?.to_vec1::<f64>();
    let moments = Moments { mean: list(mean)?, variance: list(variance)?, count: 0 };
    normalise(xs, xs.tensor()?, gamma, beta, moments, eps, activation, false)
}

/// Scales and shifts each channel, lazily: a bias, or a layer scale.
///
/// - `scale`, `shift`: `[c]` each.
pub fn scale_and_shift(
    xs: &Value,
    scale: Option<&Value>,
    shift: Option<&Value>,
    activation: Activation,
) -> Result<Value> {
    if let Some(card) = Value::card_of(&[xs]) {
        return card::scale_and_shift(&card, xs, scale, shift, activation);
    }
    let x = xs.tensor()?;
    let c = x.dims().last().copied().unwrap_or(1);
    let all = |number: f64| Tensor::full(number, c, x.device())?.to_dtype(x.dtype());
    let (one, zero) = (Value::constant(all(1.0)?), Value::constant(all(0.0)?));
    let moments = Moments { mean: vec![0.0; c], variance: vec![1.0; c], count: 0 };
    let (scale, shift) = (scale.unwrap_or(&one), shift.unwrap_or(&zero));
    normalise(xs, x, scale, shift, moments, 0.0, activation, false)
}

/// The shared implementation of the functions above.
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
    let event = |phase| Event::new("norm", phase);
    let _recording = record(|| event(Phase::Forward));
    let list = |it: &Value| it.raw()?.to_dtype(candle::DType::F64)?.to_vec1::<f64>();
    let (inverse, scale, shift) = lines(&list(gamma)?, &list(beta)?, &moments, eps);
    let (scale, shift, center) = (scale.into(), shift.into(), moments.mean.into());
    let prologue = Prologue { scale, shift, center, activation, gate: None };

    let (x_slot, gamma_slot, beta_slot) = (xs.slot(), gamma.slot(), beta.slot());
    let (saved, norm) = (x.clone(), prologue.clone());
    let line = (Rc::clone(&prologue.scale), Rc::clone(&prologue.shift));
    let ys = Value::record(&[xs, gamma, beta], x, move |grad, slots| {
        let _recording = record(|| event(Phase::Backward));
        let grad = grad.before_norm()?;
        let (x, mut prologue) = (saved, norm);
        if grad.before.is_some() {
            prologue.activation = Activation::None;
        }
        let c = prologue.scale.len();
        let count = (x.elem_count() / c) as f64;
        let sums = match (&grad.sums, &grad.gate_sums, &grad.times) {
            (Some(it), _, _) => it.clone(),
            (_, Some(it), Some(times)) => {
                let list = |it: &Tensor| it.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
                let plus = grad.plus.as_ref().map(list).transpose()?;
                it.of_norm(&list(times)?, plus.as_deref())
            }
            _ => by_dtype!("batch_norm", x, T => gradient_sums::<T>(&x, &prologue, &grad))?,
        };
        let Backward { d_gamma, d_beta, slope, at_mean } =
            Backward::of(&sums, &inverse, &prologue.scale, count);
        let vector = |xs: &[f64]| {
            by_dtype!("batch_norm", x, T => tensor(cast::<T>(xs), &[c])).map(Grad::plain)
        };
        slots.give(gamma_slot, || vector(&d_gamma))?;
        slots.give(beta_slot, || vector(&d_beta))?;
        // With fixed statistics the two means are absent.
        let line = |idx: usize| match from_batch {
            true => (slope[idx], at_mean[idx] - slope[idx] * prologue.center[idx]),
            false => (0.0, 0.0),
        };
        let (slope, offset): (Vec<f64>, Vec<f64>) = (0..c).map(line).unzip();
        let Prologue { scale, shift, activation, .. } = prologue;
        let norm = NormBackward { xs: x, activation, scale, shift, slope, offset };
        slots.give(x_slot, || {
            let norm = Some(Rc::new(norm));
            Ok(Grad { norm, before: None, sums: None, gate_sums: None, ..grad })
        })
    })?;
    let ys = ys.through(prologue);
    if from_batch {
        return Ok(ys);
    }
    let affine = || Ok(Op::Affine { scale: line.0.to_vec(), shift: line.1.to_vec() });
    let ys = ys.recorded(&[xs], affine)?;
    match activation {
        Activation::None => Ok(ys),
        _ => ys.then_recorded(&[], || Ok(Op::Activate(activation))),
    }
}

/// The backward pass of a norm with the statistics of a batch, for each channel: with the gradient d before the
/// activation,
///
/// dx = scale·(d - mean(d) - x̂·mean(d·x̂)) = scale·d + slope·(x - μ) + at_mean, where x̂ = (x - μ) / √(σ² + ε).
pub(crate) struct Backward {
    pub(crate) d_gamma: Vec<f64>,
    pub(crate) d_beta: Vec<f64>,
    pub(crate) slope: Vec<f64>,
    pub(crate) at_mean: Vec<f64>,
}

impl Backward {
    /// - `sums`: Σ d and Σ d·(x - μ).
    /// - `inverse`: 1 / √(σ² + ε).
    /// - `count`: the number of values of a channel.
    pub(crate) fn of(sums: &[f64], inverse: &[f64], scale: &[f64], count: f64) -> Backward {
        let (d_beta, d_gamma) = sums.split_at(scale.len());
        // Σ d is the gradient of β; Σ d·x̂ is that of γ.
        let d_gamma: Vec<f64> = d_gamma.iter().zip(inverse).map(|(sum, i)| sum * i).collect();
        let of_gamma = scale.iter().zip(&d_gamma).zip(inverse);
        let slope = of_gamma.map(|((scale, d), i)| -scale * d / count * i).collect();
        let at_mean = scale.iter().zip(d_beta).map(|(scale, d)| -scale * d / count).collect();
        Backward { d_gamma, d_beta: d_beta.to_vec(), slope, at_mean }
    }
}

/// The moments of each channel of a whole tensor.
fn moments<T: Real>(x: &Tensor) -> Result<Moments> {
    let view = View::<T>::of(x, None)?;
    let (c, n_rows) = (view.c, view.n_rows);
    let xs = view.stored();
    let per_block = rows_per_block(n_rows, c);
    let part = |rows: Range<usize>, _: &mut [T]| Moments::of(&xs[rows.start * c..rows.end * c], c);
    // SAFETY: the result is empty.
    let (_, parts) = unsafe { crate::blocks::overwrite(n_rows, 0, per_block, part) };
    Ok(Moments::join(parts).expect("at least one row"))
}

/// Σ d and Σ d·(x - μ) of each channel, where d is the gradient before the activation.
fn gradient_sums<T: Real>(x: &Tensor, prologue: &Prologue, grad: &Grad) -> Result<Vec<f64>> {
    let grad = Grad { tensor: grad.tensor.contiguous()?, ..grad.clone() };
    let (view, grad) = (View::<T>::of(x, None)?, GradView::<T>::of(&grad)?);
    let (c, n_rows) = (view.c, view.n_rows);
    let (scale, shift) = (cast::<T>(&prologue.scale), cast::<T>(&prologue.shift));
    let (center, activation) = (cast::<T>(&prologue.center), prologue.activation);
    // The number of rows whose sums are accurate enough in `f32`.
    let per_block = rows_per_block(n_rows, c).min(256);
    Ok(reduce(n_rows, per_block, 2 * c, |rows| {
        let mut sums = vec![T::ZERO; 2 * c];
        let prologue = (&scale[..], &shift[..], activation);
        grad.add_sums(rows.start, rows.len(), view.stored(), prologue, &center, &mut sums);
        sums.into_iter().map(|it| it.to_f64()).collect::<Vec<f64>>()
    }))
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::check_close;

    use super::{batch_norm, batch_norm_fixed, scale_and_shift};
    use crate::{Activation, Value, check::check};

    fn value(xs: &[f32], dims: &[usize]) -> Result<Value> {
        Ok(Value::constant(Tensor::from_slice(xs, dims, &Device::Cpu)?))
    }

    #[test]
    fn the_output_is_centred_and_scaled() -> Result<()> {
        // Channel 0: 1, 3 -> mean 2, variance 1. Channel 1: 10, 30 -> mean 20, variance 100.
        let xs = value(&[1.0, 10.0, 3.0, 30.0], &[2, 1, 1, 2])?;
        let (gamma, beta) = (value(&[1.0, 2.0], &[2])?, value(&[0.0, 5.0], &[2])?);
        let (ys, moments) = batch_norm(&xs, &gamma, &beta, 0.0, Activation::None)?;
        check_close(&ys.tensor()?, &[-1.0, 3.0, 1.0, 7.0], 1e-6);
        assert_eq!(
            (moments.mean.clone(), moments.variance.clone()),
            (vec![2.0, 20.0], vec![1.0, 100.0])
        );
        assert_eq!(moments.unbiased_variance().collect::<Vec<_>>(), [2.0, 200.0]);
        Ok(())
    }

    #[test]
    fn a_large_mean_does_not_cancel_the_variance() -> Result<()> {
        let xs: Vec<f32> = (0..4096).map(|idx| 1e4 + (idx % 2) as f32).collect();
        let (gamma, beta) = (value(&[1.0], &[1])?, value(&[0.0], &[1])?);
        let (_, moments) =
            batch_norm(&value(&xs, &[4096, 1, 1, 1])?, &gamma, &beta, 1e-5, Activation::None)?;
        assert!((moments.variance[0] - 0.25).abs() < 1e-6, "{}", moments.variance[0]);
        Ok(())
    }

    #[test]
    fn scale_and_shift_gradients_are_correct() {
        check(&[&[2, 3, 2, 5], &[5], &[5]], |it| {
            scale_and_shift(&it[0], Some(&it[1]), Some(&it[2]), Activation::Silu)
        });
        check(&[&[4, 3], &[3]], |it| scale_and_shift(&it[0], None, Some(&it[1]), Activation::None));
        check(&[&[4, 3], &[3]], |it| scale_and_shift(&it[0], Some(&it[1]), None, Activation::None));
    }

    #[test]
    fn one_value_per_channel_is_an_error() -> Result<()> {
        let (xs, one) = (value(&[1.0, 2.0], &[1, 1, 1, 2])?, value(&[1.0, 1.0], &[2])?);
        let err = batch_norm(&xs, &one, &one, 1e-5, Activation::None).err().unwrap();
        assert!(err.to_string().contains("more than one value per channel"), "{err}");
        Ok(())
    }

    #[test]
    fn gradients_are_correct() {
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
