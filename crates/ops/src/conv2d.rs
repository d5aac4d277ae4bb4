//! Dense convolution, as matrix products over unrolled patches.
//!
//! y[n, i, j, o] = Σ_{u, v, c} x[n, i·s + u - p, j·s + v - p, c] · w[o, u, v, c].
//!
//! Patches are unrolled for a few rows at a time, so that they stay in cache; on the way back they
//! are unrolled again instead of kept.

use std::ops::Range;

use candle::{Result, bail};

use crate::{
    Moments, Value, Window,
    blocks::{build, overwrite, rows_per_block},
    lens::{Grad, GradView},
    matmul::{Left, Panels, Right, multiply, padded},
    meter::{Job, Way, watch},
    product::total,
    real::{Reading, Real, by_dtype, tensor},
    window::Grid,
};

/// Convolves with a dense kernel.
///
/// In training the result knows its [`Moments`], for the norm that follows.
///
/// - `xs`: `[n, h, w, in]`.
/// - `weight`: `[out, kh, kw, in]`.
/// - returns: `[n, h', w', out]`.
pub fn conv2d(xs: &Value, weight: &Value, window: Window) -> Result<Value> {
    let (x, k) = (xs.tensor()?, weight.tensor()?);
    let (n, h, w, n_in) = x.dims4()?;
    let [kh, kw] = window.kernel;
    let n_out = weight.dims()[0];
    if weight.dims() != [n_out, kh, kw, n_in] {
        bail!("conv2d: a weight of {:?} does not fit {kh}x{kw} on {n_in} channels", weight.dims());
    }
    let grid = window.on(n, [h, w])?;
    let job = move |way: Way, numbers: usize, times: usize| Job {
        kind: format!("{kh}x{kw}, from {}", if n_in < 8 { "colours" } else { "channels" }),
        shape: format!("{h}x{w}x{n_in} -> {n_out}, stride {}", grid.stride),
        way,
        flops: times * 2 * grid.n_out() * n_in * n_out * kh * kw,
        numbers: times * n_in * n_out * kh * kw + numbers,
    };
    let (all_in, all_out) = (n * h * w * n_in, grid.n_out() * n_out);
    let _watch = watch(|| job(Way::Forward, all_in + all_out, 1));
    let wants_moments = weight.is_on_tape();
    let (ys, moments) = by_dtype!("conv2d", x, T => {
        let (x, k) = (Reading::of(&x), Reading::of(&k));
        let (ys, moments) = forward(x.slice::<T>()?, k.slice()?, &grid, n_in, n_out, wants_moments);
        let ys = tensor(ys, &[n, grid.out[0], grid.out[1], n_out])?;
        Ok::<_, candle::Error>((ys, moments))
    })?;
    let (x_slot, w_slot) = (xs.slot(), weight.slot());
    let ys = Value::record(&[xs, weight], ys, move |grad, slots| {
        let _watch = watch(|| {
            let (dx, dw) = (usize::from(x_slot.is_some()), usize::from(w_slot.is_some()));
            job(Way::Back, grad.reads() * all_out + (1 + dx) * all_in, dx + dw)
        });
        by_dtype!("conv2d", x, T => {
            let grad = Grad { tensor: grad.tensor.contiguous()?, ..grad };
            let gs = GradView::<T>::of(&grad)?;
            slots.give(w_slot, || {
                let x = Reading::of(&x);
                let dw = weight_gradient(x.slice::<T>()?, &gs, &grid, n_in, n_out);
                Ok(Grad::plain(tensor(dw, k.dims())?))
            })?;
            slots.give(x_slot, || {
                let k = Reading::of(&k);
                let dx = input_gradient(&gs, k.slice::<T>()?, &grid, n_in, n_out);
                Ok(Grad::plain(tensor(dx, x.dims())?))
            })
        })
    })?;
    Ok(ys.with_moments(moments))
}

/// Output rows whose patches are unrolled together.
fn block_of(grid: &Grid, n_in: usize, n_out: usize) -> usize {
    let patch = grid.kernel[0] * grid.kernel[1] * n_in;
    rows_per_block(grid.n * grid.out[0], grid.out[1] * patch.max(n_out))
}

fn forward<T: Real>(
    xs: &[T],
    w: &[T],
    grid: &Grid,
    n_in: usize,
    n_out: usize,
    wants_moments: bool,
) -> (Vec<T>, Option<Moments>) {
    let [oh, ow] = grid.out;
    let patch = grid.kernel[0] * grid.kernel[1] * n_in;
    let weight = Panels::new(patch, n_out, |row, col| w[col * patch + row]);
    let write = |rows: Range<usize>, ys: &mut [T]| {
        let n = rows.len() * ow;
        T::with_scratch(n * patch, |patches| {
            unroll(xs, grid, n_in, rows, patches, patch);
            multiply(Left::rows(patches, n, patch, patch), weight.right(), ys, n_out, false);
        });
        wants_moments.then(|| Moments::of(ys, n_out))
    };
    let per_block = block_of(grid, n_in, n_out);
    // SAFETY: `multiply` writes every number.
    let (ys, moments) = unsafe { overwrite(grid.n * oh, ow * n_out, per_block, write) };
    (ys, Moments::join(moments.into_iter().flatten()))
}

fn weight_gradient<T: Real>(
    xs: &[T],
    gs: &GradView<'_, T>,
    grid: &Grid,
    n_in: usize,
    n_out: usize,
) -> Vec<T> {
    let [oh, ow] = grid.out;
    let patch = grid.kernel[0] * grid.kernel[1] * n_in;
    let wide = padded(patch);
    let n_rows = grid.n * oh;
    let tile = block_of(grid, n_in, n_out);
    let part = |rows: Range<usize>, _: &mut [T]| {
        let mut dw = vec![T::ZERO; n_out * patch];
        for first in rows.clone().step_by(tile) {
            let rows = first..(first + tile).min(rows.end);
            let n = rows.len() * ow;
            T::with_scratch(n * wide, |patches| {
                unroll(xs, grid, n_in, rows, patches, wide);
                T::with_scratch(n * n_out, |read| {
                    gs.read(first * ow, read, n_out);
                    let gs = Left::rows(read, n, n_out, n_out).t();
                    multiply(gs, Right::rows(patches, n, patch, wide), &mut dw, patch, true);
                });
            });
        }
        dw
    };
    // A few partial sums, each over whole tiles.
    let n_parts = ((1 << 20) / (n_out * patch)).clamp(4, 16);
    let per_part = n_rows.div_ceil(n_parts).next_multiple_of(tile);
    // SAFETY: nothing is built.
    total(unsafe { overwrite(n_rows, 0, per_part, part) }.1)
}

fn input_gradient<T: Real>(
    gs: &GradView<'_, T>,
    w: &[T],
    grid: &Grid,
    n_in: usize,
    n_out: usize,
) -> Vec<T> {
    let [oh, ow] = grid.out;
    let [h, wide] = grid.size;
    let patch = grid.kernel[0] * grid.kernel[1] * n_in;
    let tile = block_of(grid, n_in, n_out);
    let weight = Panels::new(n_out, patch, |row, col| w[row * patch + col]);
    build(grid.n, h * wide * n_in, 1, |picture, dx: &mut [T]| {
        for first in (0..oh).step_by(tile) {
            let n = tile.min(oh - first) * ow;
            T::with_scratch(n * n_out, |read| {
                gs.read((picture * oh + first) * ow, read, n_out);
                T::with_scratch(n * patch, |patches| {
                    let gs = Left::rows(read, n, n_out, n_out);
                    multiply(gs, weight.right(), patches, patch, false);
                    roll_up(patches, grid, n_in, first, dx);
                });
            });
        }
    })
}

/// The patches that rows of outputs, of all pictures in a line, see: one a row of `into`, which
/// begin `stride` apart; zeros where a patch hangs over the edge, and between the rows.
fn unroll<T: Real>(
    xs: &[T],
    grid: &Grid,
    n_in: usize,
    rows: Range<usize>,
    into: &mut [T],
    stride: usize,
) {
    let [oh, ow] = grid.out;
    let [h, w] = grid.size;
    let [kh, kw] = grid.kernel;
    into.fill(T::ZERO);
    for (row, patches) in rows.zip(into.chunks_exact_mut(ow * stride)) {
        let (picture, out_row) = (row / oh, row % oh);
        for ky in 0..kh {
            let Some(in_row) = grid.source(0, out_row, ky) else { continue };
            let xs = &xs[(picture * h + in_row) * w * n_in..][..w * n_in];
            for (out, patch) in patches.chunks_exact_mut(stride).enumerate() {
                for kx in 0..kw {
                    let Some(at) = grid.source(1, out, kx) else { continue };
                    let to = &mut patch[(ky * kw + kx) * n_in..][..n_in];
                    to.copy_from_slice(&xs[at * n_in..][..n_in]);
                }
            }
        }
    }
}

/// The opposite of [`unroll`] within one picture: adds every patch to where it was seen.
fn roll_up<T: Real>(patches: &[T], grid: &Grid, n_in: usize, first: usize, dx: &mut [T]) {
    let ow = grid.out[1];
    let w = grid.size[1];
    let [kh, kw] = grid.kernel;
    for (idx, row) in patches.chunks_exact(ow * kh * kw * n_in).enumerate() {
        for ky in 0..kh {
            let Some(in_row) = grid.source(0, first + idx, ky) else { continue };
            let dx = &mut dx[in_row * w * n_in..][..w * n_in];
            for (out, patch) in row.chunks_exact(kh * kw * n_in).enumerate() {
                for kx in 0..kw {
                    let Some(at) = grid.source(1, out, kx) else { continue };
                    let from = &patch[(ky * kw + kx) * n_in..][..n_in];
                    for (dx, &g) in dx[at * n_in..][..n_in].iter_mut().zip(from) {
                        *dx += g;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::check_close;

    use super::conv2d;
    use crate::{Padding, Value, Window, check::check};

    #[test]
    fn sums_over_the_window_and_the_channels() -> Result<()> {
        // A 2x2 map of two channels under a 3x3 kernel of ones: everything is seen everywhere.
        let xs = Tensor::new(&[1f64, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0], &Device::Cpu)?;
        let xs = Value::constant(xs.reshape((1, 2, 2, 2))?);
        let w = Value::constant(Tensor::ones((1, 3, 3, 2), candle::DType::F64, &Device::Cpu)?);
        let ys = conv2d(&xs, &w, Window::square(3, 1, Padding::Symmetric))?;
        check_close(&ys.tensor()?, &[110.0; 4], 1e-12);
        Ok(())
    }

    #[test]
    fn has_the_right_gradients() {
        for padding in [Padding::Symmetric, Padding::Same] {
            for (kernel, stride, h, w) in
                [(3, 1, 3, 4), (3, 2, 5, 4), (3, 2, 4, 5), (1, 2, 3, 3), (2, 2, 5, 3)]
            {
                let window = Window::square(kernel, stride, padding);
                check(&[&[2, h, w, 3], &[2, kernel, kernel, 3]], |it| {
                    conv2d(&it[0], &it[1], window)
                });
            }
        }
    }
}
