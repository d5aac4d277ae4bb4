//! Max pooling: the largest number of each channel in a sliding window.
//!
//! Padding is never the maximum. Of equal numbers the first in row-major order gets the gradient, and NaN
//! is larger than every number, as in PyTorch.

use std::ops::Range;

use candle::{Result, bail};

use crate::{
    Value, Window,
    blocks::{overwrite, rows_per_block},
    card,
    graph::Op,
    kernel::kernel,
    profiler::{Event, Phase, record},
    prologue::{Grad, GradView, View},
    real::{Real, by_dtype, tensor},
    window::Grid,
};

/// Takes the largest number of each window.
///
/// - `xs`: `[n, h, w, c]`.
/// - returns: `[n, h', w', c]`.
pub fn max_pool(xs: &Value, window: Window) -> Result<Value> {
    if let Some(card) = xs.card() {
        let &[n, h, w, _] = xs.dims() else {
            bail!("max_pool: {:?} is not a feature map", xs.dims())
        };
        return card::max_pool(card, xs, &window.on(n, [h, w])?);
    }
    let x = xs.raw()?;
    let (n, h, w, c) = x.dims4()?;
    let grid = window.on(n, [h, w])?;
    let [oh, ow] = grid.out;
    if grid.kernel[0] * grid.kernel[1] > 256 {
        bail!("max_pool: a window of {:?} is too large: 16x16 is the largest", grid.kernel);
    }
    let event = move |phase| Event {
        shape: format!("{h}x{w}x{c}, stride {}", grid.stride),
        flops: grid.n_out() * c * grid.kernel[0] * grid.kernel[1],
        numbers: n * h * w * c + grid.n_out() * c,
        ..Event::new("max pooling", phase)
    };
    let _recording = record(|| event(Phase::Forward));
    let prologue = xs.prologue().cloned();
    let (ys, taps) = by_dtype!("max_pool", x, T => {
        let (ys, taps) = forward(&View::<T>::of(&x, prologue.as_ref())?, &grid);
        Ok::<_, candle::Error>((tensor(ys, &[n, oh, ow, c])?, taps))
    })?;
    let slot = xs.slot();
    let ys = Value::record(&[xs], ys, move |grad, slots| {
        let _recording = record(|| event(Phase::Backward));
        by_dtype!("max_pool", x, T => slots.give(slot, || {
            let grad = Grad { tensor: grad.tensor.contiguous()?, ..grad };
            let dx = backward(&GradView::<T>::of(&grad)?, &taps, &grid);
            Ok(Grad::plain(tensor(dx, x.dims())?))
        }))
    })?;
    ys.recorded(&[xs], || Ok(Op::MaxPool(grid.sliding())))
}

/// Returns the largest numbers, and the tap (argmax) of each.
fn forward<T: Real>(xs: &View<'_, T>, grid: &Grid) -> (Vec<T>, Vec<u8>) {
    let ([oh, ow], [h, w], c) = (grid.out, grid.size, xs.c);
    let per_block = rows_per_block(grid.n * oh, w * c * grid.stride);
    let write = |rows: Range<usize>, ys: &mut [T]| {
        let mut taps = vec![0; ys.len()];
        // A window of padding only stays below every number.
        ys.fill(T::of(f64::NEG_INFINITY));
        T::with_scratch(w * c, |line| {
            for (idx, row) in rows.enumerate() {
                let span = idx * ow * c..(idx + 1) * ow * c;
                let (ys, taps) = (&mut ys[span.clone()], &mut taps[span]);
                for ky in 0..grid.kernel[0] {
                    let Some(from) = grid.source(0, row % oh, ky) else { continue };
                    xs.read((row / oh * h + from) * w, line, c);
                    for (col, (ys, taps)) in
                        ys.chunks_exact_mut(c).zip(taps.chunks_exact_mut(c)).enumerate()
                    {
                        for kx in 0..grid.kernel[1] {
                            let Some(at) = grid.source(1, col, kx) else { continue };
                            let tap = (ky * grid.kernel[1] + kx) as u8;
                            keep_larger(&line[at * c..][..c], tap, ys, taps);
                        }
                    }
                }
            }
        });
        taps
    };
    // SAFETY: each block is filled before it is read.
    let (ys, taps) = unsafe { overwrite(grid.n * oh, ow * c, per_block, write) };
    (ys, taps.concat())
}

/// Routes each gradient to the number that was the maximum.
fn backward<T: Real>(gs: &GradView<'_, T>, taps: &[u8], grid: &Grid) -> Vec<T> {
    let ([oh, ow], [h, w], c) = (grid.out, grid.size, gs.c);
    let per_block = rows_per_block(grid.n * h, w * c);
    let write = |rows: Range<usize>, dx: &mut [T]| {
        dx.fill(T::ZERO);
        T::with_scratch(ow * c, |line| {
            for (row, dx) in rows.zip(dx.chunks_exact_mut(w * c)) {
                let (image, row) = (row / h, row % h);
                for (ky, shift) in grid.taps_of_phase(0, row % grid.stride) {
                    let out = (row / grid.stride) as isize + shift;
                    if out < 0 || out >= oh as isize {
                        continue;
                    }
                    let first = (image * oh + out as usize) * ow;
                    gs.read(first, line, c);
                    let taps = &taps[first * c..][..ow * c];
                    for (col, (gs, taps)) in
                        line.chunks_exact(c).zip(taps.chunks_exact(c)).enumerate()
                    {
                        for kx in 0..grid.kernel[1] {
                            let Some(at) = grid.source(1, col, kx) else { continue };
                            let tap = (ky * grid.kernel[1] + kx) as u8;
                            add_chosen(gs, taps, tap, &mut dx[at * c..][..c]);
                        }
                    }
                }
            }
        });
    };
    // SAFETY: each block is filled before it is read.
    unsafe { overwrite(grid.n * h, w * c, per_block, write) }.0
}

kernel! {
    fn keep_larger<F, T>(xs: &[T], tap: u8, ys: &mut [T], taps: &mut [u8]) {
        for ((y, chosen), &x) in ys.iter_mut().zip(taps).zip(xs) {
            // In this order, NaN wins.
            let stays = *y >= x || y.is_nan();
            *chosen = if stays { *chosen } else { tap };
            *y = if stays { *y } else { x };
        }
    }
}

kernel! {
    fn add_chosen<F, T>(gs: &[T], taps: &[u8], tap: u8, dx: &mut [T]) {
        for ((dx, &g), &chosen) in dx.iter_mut().zip(gs).zip(taps) {
            *dx += if chosen == tap { g } else { T::ZERO };
        }
    }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::check_close;

    use super::max_pool;
    use crate::{Activation, Padding, Value, Window, batch_norm, check::check};

    #[test]
    fn takes_the_maximum_of_each_window() -> Result<()> {
        let xs = Tensor::new(&[-1f64, -2.0, -3.0, -4.0, -5.0, -6.0], &Device::Cpu)?;
        let xs = Value::constant(xs.reshape((1, 2, 3, 1))?);
        let ys = max_pool(&xs, Window::square(3, 2, Padding::Symmetric))?;
        // Zeros in the padding would be larger.
        check_close(&ys.tensor()?, &[-1.0, -2.0], 0.0);
        let odd = Tensor::new(&[1f64, f64::NAN, 3.0], &Device::Cpu)?.reshape((1, 1, 3, 1))?;
        let ys = max_pool(&Value::constant(odd), Window::square(3, 1, Padding::Symmetric))?;
        assert!(ys.tensor()?.flatten_all()?.to_vec1::<f64>()?.iter().all(|it| it.is_nan()));
        Ok(())
    }

    #[test]
    fn gradient_is_correct() {
        for padding in [Padding::Symmetric, Padding::Same] {
            for (kernel, stride, h, w) in [(3, 2, 6, 5), (2, 2, 5, 4), (3, 1, 3, 3), (1, 2, 3, 4)] {
                let window = Window::square(kernel, stride, padding);
                check(&[&[2, h, w, 5]], |it| max_pool(&it[0], window));
            }
        }
        check(&[&[2, 4, 4, 5], &[5], &[5]], |v| {
            let (ys, _) = batch_norm(&v[0], &v[1], &v[2], 1e-3, Activation::Silu)?;
            max_pool(&ys, Window::square(3, 2, Padding::Symmetric))
        });
    }
}
