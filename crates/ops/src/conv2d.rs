//! Dense convolution, as matrix products over unrolled patches.
//!
//! y[n, i, j, o] = Σ_{u, v, c} x[n, i·s + u - p, j·s + v - p, c] · w[o, u, v, c].
//!
//! Patches are unrolled for a few rows at a time, so that they stay in cache; on the way back they
//! are unrolled again instead of kept.

use candle::{Result, bail};

use crate::{
    Value, Window,
    blocks::{build, reduce, rows_per_block},
    matmul::{Matrix, matmul},
    real::{Reading, Real, by_dtype, tensor},
    window::Grid,
};

/// Convolves with a dense kernel.
///
/// - `xs`: `[n, h, w, in]`.
/// - `weight`: `[out, kh, kw, in]`.
/// - returns: `[n, h', w', out]`.
pub fn conv2d(xs: &Value, weight: &Value, window: Window) -> Result<Value> {
    let (n, h, w, n_in) = xs.tensor().dims4()?;
    let [kh, kw] = window.kernel;
    let n_out = weight.dims()[0];
    if weight.dims() != [n_out, kh, kw, n_in] {
        bail!("conv2d: a weight of {:?} does not fit {kh}x{kw} on {n_in} channels", weight.dims());
    }
    let grid = window.on(n, [h, w])?;
    let (x, k) = (xs.tensor().contiguous()?, weight.tensor().contiguous()?);
    let ys = by_dtype!("conv2d", x, T => {
        let (x, k) = (Reading::of(&x), Reading::of(&k));
        let ys = forward(x.slice::<T>()?, k.slice()?, &grid, n_in, n_out);
        tensor(ys, &[n, grid.out[0], grid.out[1], n_out])
    })?;
    let (x_slot, w_slot) = (xs.slot(), weight.slot());
    Value::record(&[xs, weight], ys, move |grad, slots| {
        by_dtype!("conv2d", x, T => {
            let grad = grad.contiguous()?;
            let gs = Reading::of(&grad);
            let gs = gs.slice::<T>()?;
            slots.give(w_slot, || {
                let x = Reading::of(&x);
                tensor(weight_gradient(x.slice::<T>()?, gs, &grid, n_in, n_out), k.dims())
            })?;
            slots.give(x_slot, || {
                let k = Reading::of(&k);
                tensor(input_gradient(gs, k.slice::<T>()?, &grid, n_in, n_out), x.dims())
            })
        })
    })
}

/// Output rows whose patches are unrolled together.
fn block_of(grid: &Grid, n_in: usize, n_out: usize) -> usize {
    let patch = grid.kernel[0] * grid.kernel[1] * n_in;
    rows_per_block(grid.n * grid.out[0], grid.out[1] * patch.max(n_out))
}

fn forward<T: Real>(xs: &[T], w: &[T], grid: &Grid, n_in: usize, n_out: usize) -> Vec<T> {
    let [oh, ow] = grid.out;
    let patch = grid.kernel[0] * grid.kernel[1] * n_in;
    build(grid.n * oh, ow * n_out, block_of(grid, n_in, n_out), |first, ys: &mut [T]| {
        let n_rows = ys.len() / (ow * n_out);
        let patches = unroll(xs, grid, n_in, first, n_rows);
        let patches = Matrix::new(&patches, n_rows * ow, patch);
        matmul(patches, Matrix::new(w, n_out, patch).t(), ys, false);
    })
}

fn weight_gradient<T: Real>(xs: &[T], gs: &[T], grid: &Grid, n_in: usize, n_out: usize) -> Vec<T> {
    let [oh, ow] = grid.out;
    let patch = grid.kernel[0] * grid.kernel[1] * n_in;
    let n_rows = grid.n * oh;
    let tile = block_of(grid, n_in, n_out);
    // At most sixteen partial sums, each over whole tiles.
    reduce(n_rows, n_rows.div_ceil(16).next_multiple_of(tile), n_out * patch, |rows| {
        let mut dw = vec![T::ZERO; n_out * patch];
        for first in rows.clone().step_by(tile) {
            let n_rows = tile.min(rows.end - first);
            let patches = unroll(xs, grid, n_in, first, n_rows);
            let gs = &gs[first * ow * n_out..(first + n_rows) * ow * n_out];
            let gs = Matrix::new(gs, n_rows * ow, n_out);
            matmul(gs.t(), Matrix::new(&patches, n_rows * ow, patch), &mut dw, true);
        }
        dw
    })
}

fn input_gradient<T: Real>(gs: &[T], w: &[T], grid: &Grid, n_in: usize, n_out: usize) -> Vec<T> {
    let [oh, ow] = grid.out;
    let [h, wide] = grid.size;
    let patch = grid.kernel[0] * grid.kernel[1] * n_in;
    let tile = block_of(grid, n_in, n_out);
    build(grid.n, h * wide * n_in, 1, |picture, dx: &mut [T]| {
        for first in (0..oh).step_by(tile) {
            let n_rows = tile.min(oh - first);
            let gs = &gs[(picture * oh + first) * ow * n_out..][..n_rows * ow * n_out];
            let mut patches = vec![T::ZERO; n_rows * ow * patch];
            let gs = Matrix::new(gs, n_rows * ow, n_out);
            matmul(gs, Matrix::new(w, n_out, patch), &mut patches, false);
            roll_up(&patches, grid, n_in, first, dx);
        }
    })
}

/// The patches that `n_rows` rows of outputs see, one a row of the result, from output row `first`
/// of all pictures in a line; zeros where a patch hangs over the edge.
fn unroll<T: Real>(xs: &[T], grid: &Grid, n_in: usize, first: usize, n_rows: usize) -> Vec<T> {
    let [oh, ow] = grid.out;
    let [h, w] = grid.size;
    let [kh, kw] = grid.kernel;
    let mut patches = vec![T::ZERO; n_rows * ow * kh * kw * n_in];
    for (idx, row) in patches.chunks_exact_mut(ow * kh * kw * n_in).enumerate() {
        let (picture, out_row) = ((first + idx) / oh, (first + idx) % oh);
        for ky in 0..kh {
            let Some(in_row) = grid.source(0, out_row, ky) else { continue };
            let xs = &xs[(picture * h + in_row) * w * n_in..][..w * n_in];
            for (out, patch) in row.chunks_exact_mut(kh * kw * n_in).enumerate() {
                for kx in 0..kw {
                    let Some(at) = grid.source(1, out, kx) else { continue };
                    let to = &mut patch[(ky * kw + kx) * n_in..][..n_in];
                    to.copy_from_slice(&xs[at * n_in..][..n_in]);
                }
            }
        }
    }
    patches
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
        check_close(ys.tensor(), &[110.0; 4], 1e-12);
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
