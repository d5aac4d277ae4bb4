//! Layer normalisation: each row of channels is normalised by its own mean and variance.
//!
//! y = γ (x - μ) / √(σ² + ε) + β, with the mean μ and the biased variance σ² of the row that x is
//! in. Backward pass, with x̂ = (x - μ) / √(σ² + ε): dx = (gγ - mean(gγ) - x̂·mean(gγ·x̂)) / √(σ² + ε),
//! dγ = Σ g·x̂ and dβ = Σ g.
//!
//! Ba et al., "Layer Normalization", 2016, <https://arxiv.org/abs/1607.06450>.
//! As in PyTorch's channels-last networks, a row is the last dimension only. A row is traversed several
//! times while it is in cache; memory is traversed once per forward or backward pass.

use std::ops::Range;

use candle::{Result, bail};

use crate::{
    Value,
    blocks::{overwrite, rows_per_block, total},
    card,
    graph::Op,
    kernel::lanes_kernel,
    lanes::{Lanes, prefetch},
    profiler::{Event, Phase, record},
    prologue::{Grad, GradView, View},
    real::{Reading, Real, by_dtype, cast, tensor},
};

/// Normalises each row of channels.
///
/// - `xs`: `[…, c]`.
/// - `gamma`, `beta`: `[c]`.
pub fn layer_norm(xs: &Value, gamma: &Value, beta: &Value, eps: f64) -> Result<Value> {
    if let Some(card) = Value::card_of(&[xs, gamma, beta]) {
        return card::layer_norm(&card, xs, gamma, beta, eps);
    }
    let x = xs.raw()?;
    let (gamma_raw, beta_raw) = (gamma.raw()?, beta.raw()?);
    let c = x.dims().last().copied().unwrap_or(0);
    if c == 0 || gamma_raw.dims() != [c] || beta_raw.dims() != [c] {
        let (gamma, beta) = (gamma.dims(), beta.dims());
        bail!("layer_norm: rows of {:?} do not match {gamma:?} and {beta:?}", x.dims());
    }
    let n_numbers = x.elem_count();
    let event = move |phase, flops, touched| Event {
        shape: format!("{c}"),
        flops: flops * n_numbers,
        numbers: touched * n_numbers,
        ..Event::new("layer norm", phase)
    };
    let _recording = record(|| event(Phase::Forward, 5, 2));
    let prologue = xs.prologue().cloned();
    let (ys, stats) = by_dtype!("layer_norm", x, T => {
        let (gamma, beta) = (Reading::of(&gamma_raw), Reading::of(&beta_raw));
        let view = View::<T>::of(&x, prologue.as_ref())?;
        let (ys, stats) = forward(&view, gamma.slice()?, beta.slice()?, eps);
        let stats = tensor(stats, &[n_numbers / c, 2])?;
        Ok::<_, candle::Error>((tensor(ys, x.dims())?, stats))
    })?;
    let (x_slot, gamma_slot, beta_slot) = (xs.slot(), gamma.slot(), beta.slot());
    let ys = Value::record(&[xs, gamma, beta], ys, move |grad, slots| {
        let _recording = record(|| event(Phase::Backward, 10, 2 + grad.reads()));
        let grad = Grad { tensor: grad.tensor.contiguous()?, ..grad };
        by_dtype!("layer_norm", x, T => {
            let (gamma, stats) = (Reading::of(&gamma_raw), Reading::of(&stats));
            let view = View::<T>::of(&x, prologue.as_ref())?;
            let gs = GradView::<T>::of(&grad)?;
            let (dx, sums) = backward(&view, &gs, gamma.slice()?, stats.slice()?);
            let vector = |xs: &[f64]| -> Result<Grad> {
                Ok(Grad::plain(tensor(cast::<T>(xs), &[c])?))
            };
            slots.give(x_slot, || Ok(Grad::plain(tensor(dx, x.dims())?)))?;
            slots.give(gamma_slot, || vector(&sums[..c]))?;
            slots.give(beta_slot, || vector(&sums[c..]))
        })
    })?;
    ys.recorded(&[xs], || Ok(Op::LayerNorm { gamma: gamma.weight()?, beta: beta.weight()?, eps }))
}

/// Returns the normalised rows, and μ and 1 / √(σ² + ε) of each row.
fn forward<T: Real>(xs: &View<'_, T>, gamma: &[T], beta: &[T], eps: f64) -> (Vec<T>, Vec<T>) {
    let c = xs.c;
    let write = |rows: Range<usize>, ys: &mut [T]| {
        let plain = xs.plain(rows.start, rows.len());
        if plain.is_none() {
            xs.read(rows.start, ys, c);
        }
        let into = ys.as_mut_ptr();
        let from = plain.map_or(into.cast_const(), <[T]>::as_ptr);
        let mut stats = vec![T::ZERO; 2 * rows.len()];
        // SAFETY: there are as many rows as statistics, and `gamma` and `beta` have the length of a row.
        unsafe { norm_rows(from, gamma, beta, eps, into, &mut stats) };
        stats
    };
    let per_block = rows_per_block(xs.n_rows, c);
    // SAFETY: every number of a block is written by `norm_rows`.
    let (ys, stats) = unsafe { overwrite(xs.n_rows, c, per_block, write) };
    (ys, stats.concat())
}

/// The gradient of the rows, and those of γ and β, `[2, c]`.
fn backward<T: Real>(
    xs: &View<'_, T>,
    gs: &GradView<'_, T>,
    gamma: &[T],
    stats: &[T],
) -> (Vec<T>, Vec<f64>) {
    let c = xs.c;
    let write = |rows: Range<usize>, dx: &mut [T]| {
        let n = rows.len();
        let stats = &stats[2 * rows.start..2 * rows.end];
        let mut sums = vec![T::ZERO; 2 * c];
        let plain = gs.plain(rows.start, n);
        if plain.is_none() {
            gs.read(rows.start, dx, c);
        }
        let into = dx.as_mut_ptr();
        let gs = plain.map_or(into.cast_const(), <[T]>::as_ptr);
        let mut go = |xs: &[T]| {
            // SAFETY: there are as many rows as statistics, and `gamma` has the length of a row.
            unsafe { norm_backward(xs.as_ptr(), gs, gamma, stats, into, &mut sums) };
        };
        match xs.plain(rows.start, n) {
            Some(xs) => go(xs),
            None => T::with_scratch(n * c, |values| {
                xs.read(rows.start, values, c);
                go(values);
            }),
        }
        sums.into_iter().map(|it| it.to_f64()).collect::<Vec<f64>>()
    };
    // The number of rows whose sums are accurate enough in `f32`.
    let per_block = rows_per_block(xs.n_rows, c).min(256);
    // SAFETY: every number of a block is written by `norm_backward`.
    let (dx, sums) = unsafe { overwrite(xs.n_rows, c, per_block, write) };
    let mut sums = total(sums);
    sums.resize(2 * c, 0.0);
    (dx, sums)
}

/// Rows that are processed together, so that no addition waits for the previous one.
const ABREAST: usize = 4;

/// Ones for the `left` remaining numbers, and zeros for the other lanes.
#[inline(always)]
unsafe fn ones<T: Real, V: Lanes<Number = T>>(left: usize) -> V {
    // SAFETY: no register is wider.
    unsafe { V::load_some([T::ONE; 16].as_ptr(), left) }
}

lanes_kernel! {
    /// Normalises rows of `gamma.len()` numbers, one per pair of `stats`. `ys` may be `xs`.
    unsafe fn norm_rows(
        xs: *const T, gamma: &[T], beta: &[T], eps: f64, ys: *mut T, stats: &mut [T],
    ) {
        let (n, c) = (stats.len() / 2, gamma.len());
        let mut row = 0;
        while row < n {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let (xs, ys, stats) = (xs.add(row * c), ys.add(row * c), &mut stats[2 * row..]);
                if row + ABREAST <= n {
                    norm_some::<T, V, ABREAST>(xs, gamma, beta, eps, ys, stats);
                    row += ABREAST;
                } else {
                    norm_some::<T, V, 1>(xs, gamma, beta, eps, ys, stats);
                    row += 1;
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn norm_some<T: Real, V: Lanes<Number = T>, const N: usize>(
    xs: *const T,
    gamma: &[T],
    beta: &[T],
    eps: f64,
    ys: *mut T,
    stats: &mut [T],
) {
    let c = gamma.len();
    let share = T::ONE / T::of(c as f64);
    // SAFETY: guaranteed by the caller.
    unsafe {
        let one = V::splat(T::ONE);
        let mut sums = [V::splat(T::ZERO); N];
        for from in (0..c).step_by(V::LANES) {
            for (row, sum) in sums.iter_mut().enumerate() {
                let at = row * c + from;
                prefetch(xs.wrapping_add(at + N * c));
                *sum = V::load_some(xs.add(at), c - from).mul_add(one, *sum);
            }
        }
        let mut back = [V::splat(T::ZERO); N];
        for row in 0..N {
            let mean = sums[row].across() * share;
            (stats[2 * row], back[row]) = (mean, V::splat(-mean));
        }
        // A second traversal, since x² - μ² would cancel a small variance.
        let mut squares = [V::splat(T::ZERO); N];
        for from in (0..c).step_by(V::LANES) {
            let there = ones::<T, V>(c - from);
            for (row, square) in squares.iter_mut().enumerate() {
                let x = V::load_some(xs.add(row * c + from), c - from);
                let apart = there.mul_add(back[row], x);
                *square = apart.mul_add(apart, *square);
            }
        }
        let mut inverses = [V::splat(T::ZERO); N];
        for row in 0..N {
            let variance = (squares[row].across() * share).to_f64();
            let inverse = T::of(1.0 / (variance + eps).sqrt());
            (stats[2 * row + 1], inverses[row]) = (inverse, V::splat(inverse));
        }
        // Row by row: sequential writes are the fastest.
        for row in 0..N {
            for from in (0..c).step_by(V::LANES) {
                let (at, some) = (row * c + from, c - from);
                let gamma = V::load_some(gamma.as_ptr().add(from), some);
                let beta = V::load_some(beta.as_ptr().add(from), some);
                let x = V::load_some(xs.add(at), some).mul_add(one, back[row]);
                x.mul(inverses[row]).mul_add(gamma, beta).store_some(ys.add(at), some);
            }
        }
    }
}

lanes_kernel! {
    /// Runs the backward pass of rows of `gamma.len()` numbers, one per pair of `stats`, and adds Σ g·x̂
    /// and Σ g to `sums`. `dx` may be `gs`.
    unsafe fn norm_backward(
        xs: *const T, gs: *const T, gamma: &[T], stats: &[T], dx: *mut T, sums: &mut [T],
    ) {
        let (n, c) = (stats.len() / 2, gamma.len());
        let mut row = 0;
        while row < n {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let (xs, gs, dx) = (xs.add(row * c), gs.add(row * c), dx.add(row * c));
                let stats = &stats[2 * row..];
                if row + ABREAST <= n {
                    backward_some::<T, V, ABREAST>(xs, gs, gamma, stats, dx, sums);
                    row += ABREAST;
                } else {
                    backward_some::<T, V, 1>(xs, gs, gamma, stats, dx, sums);
                    row += 1;
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn backward_some<T: Real, V: Lanes<Number = T>, const N: usize>(
    xs: *const T,
    gs: *const T,
    gamma: &[T],
    stats: &[T],
    dx: *mut T,
    sums: &mut [T],
) {
    let c = gamma.len();
    let share = T::ONE / T::of(c as f64);
    // SAFETY: guaranteed by the caller.
    unsafe {
        let one = V::splat(T::ONE);
        // x̂ is affine in x.
        let (mut slope, mut back) = ([V::splat(T::ZERO); N], [V::splat(T::ZERO); N]);
        for row in 0..N {
            (back[row], slope[row]) = (V::splat(-stats[2 * row]), V::splat(stats[2 * row + 1]));
        }
        let (d_gamma, d_beta) = sums.split_at_mut(c);
        let mut parts = [[V::splat(T::ZERO); 2]; N];
        for from in (0..c).step_by(V::LANES) {
            let some = c - from;
            let gamma = V::load_some(gamma.as_ptr().add(from), some);
            let to_gamma = d_gamma.as_mut_ptr().add(from);
            let to_beta = d_beta.as_mut_ptr().add(from);
            let mut d_gamma = V::load_some(to_gamma, some);
            let mut d_beta = V::load_some(to_beta, some);
            for (row, [plain, hat]) in parts.iter_mut().enumerate() {
                let at = row * c + from;
                prefetch(xs.wrapping_add(at + N * c));
                prefetch(gs.wrapping_add(at + N * c));
                let x = V::load_some(xs.add(at), some).mul_add(one, back[row]).mul(slope[row]);
                let g = V::load_some(gs.add(at), some);
                d_gamma = g.mul_add(x, d_gamma);
                d_beta = g.mul_add(one, d_beta);
                let h = g.mul(gamma);
                *plain = h.mul_add(one, *plain);
                *hat = h.mul_add(x, *hat);
            }
            d_gamma.store_some(to_gamma, some);
            d_beta.store_some(to_beta, some);
        }
        // Row by row: sequential writes are the fastest.
        for (row, [plain, hat]) in parts.iter().enumerate() {
            let plain = V::splat(-plain.across() * share);
            let hat = V::splat(-hat.across() * share);
            for from in (0..c).step_by(V::LANES) {
                let (at, some) = (row * c + from, c - from);
                let gamma = V::load_some(gamma.as_ptr().add(from), some);
                let x = V::load_some(xs.add(at), some).mul_add(one, back[row]).mul(slope[row]);
                let d = V::load_some(gs.add(at), some).mul_add(gamma, x.mul_add(hat, plain));
                d.mul(slope[row]).store_some(dx.add(at), some);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::check_close;

    use super::layer_norm;
    use crate::{Activation, Value, activate, batch_norm, check::check};

    fn value(xs: &[f32], dims: &[usize]) -> Result<Value> {
        Ok(Value::constant(Tensor::from_slice(xs, dims, &Device::Cpu)?))
    }

    #[test]
    fn a_row_is_centred_and_scaled() -> Result<()> {
        // Row 0: mean 2, variance 1. Row 1: mean 20, variance 100.
        let xs = value(&[1.0, 3.0, 10.0, 30.0], &[2, 1, 2])?;
        let (gamma, beta) = (value(&[1.0, 2.0], &[2])?, value(&[0.0, 5.0], &[2])?);
        let ys = layer_norm(&xs, &gamma, &beta, 0.0)?;
        assert_eq!(ys.dims(), [2, 1, 2]);
        check_close(&ys.tensor()?, &[-1.0, 7.0, -1.0, 7.0], 1e-6);
        // Row 0 with ε = 3: √(1 + 3) = 2.
        let ys = layer_norm(&value(&[1.0, 3.0], &[1, 2])?, &gamma, &beta, 3.0)?;
        check_close(&ys.tensor()?, &[-0.5, 6.0], 1e-6);
        Ok(())
    }

    #[test]
    fn a_large_mean_does_not_cancel_the_variance() -> Result<()> {
        for c in [2, 30, 770] {
            let xs: Vec<f32> = (0..5 * c).map(|idx| 1e4 + (idx % 2) as f32).collect();
            let (gamma, beta) = (value(&vec![1.0; c], &[c])?, value(&vec![0.0; c], &[c])?);
            let ys = layer_norm(&value(&xs, &[5, c])?, &gamma, &beta, 0.0)?;
            let want: Vec<f64> = xs.iter().map(|&x| f64::from(x - 1e4) * 2.0 - 1.0).collect();
            check_close(&ys.tensor()?, &want, 4e-3);
        }
        Ok(())
    }

    #[test]
    fn a_different_number_of_channels_is_an_error() -> Result<()> {
        let (xs, two) = (value(&[1.0; 6], &[2, 3])?, value(&[1.0; 2], &[2])?);
        let err = layer_norm(&xs, &two, &two, 1e-5).err().unwrap();
        assert!(err.to_string().contains("do not match"), "{err}");
        Ok(())
    }

    #[test]
    fn gradients_are_correct() {
        // Of six rows some are processed together and some alone; 19 numbers are whole registers and a tail.
        for c in [1, 5, 8, 19] {
            check(&[&[2, 3, c], &[c], &[c]], |v| layer_norm(&v[0], &v[1], &v[2], 1e-2));
        }
        check(&[&[300, 3], &[3], &[3]], |v| layer_norm(&v[0], &v[1], &v[2], 1e-2));
    }

    #[test]
    fn reads_and_is_read_through_a_prologue() {
        check(&[&[2, 2, 2, 5], &[5], &[5], &[5], &[5]], |v| {
            let (xs, _) = batch_norm(&v[0], &v[1], &v[2], 1e-3, Activation::Silu)?;
            activate(&layer_norm(&xs, &v[3], &v[4], 1e-2)?, Activation::Gelu)
        });
    }
}
