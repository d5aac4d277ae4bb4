//! Depthwise convolution: one small kernel for each channel, sliding over that channel alone.
//!
//! y[n, i, j, c] = Σ_{u, v} x[n, i·s + u - p, j·s + v - p, c] · w[u, v, c].
//!
//! The way forward and the way back to the input are one loop over different neighbours: each
//! number of the result gathers its taps, all channels side by side.

use candle::{Result, bail};

use crate::{
    Value, Window,
    blocks::{build, reduce, rows_per_block},
    isa::kernel,
    real::{Reading, Real, by_dtype, tensor},
    window::Grid,
};

/// Convolves each channel with its own kernel.
///
/// - `xs`: `[n, h, w, c]`.
/// - `weight`: `[kh, kw, c]`.
/// - returns: `[n, h', w', c]`.
pub fn depthwise(xs: &Value, weight: &Value, window: Window) -> Result<Value> {
    let (n, h, w, c) = xs.tensor().dims4()?;
    let [kh, kw] = window.kernel;
    if weight.dims() != [kh, kw, c] {
        bail!("depthwise: a weight of {:?} does not fit {kh}x{kw} on {c} channels", weight.dims());
    }
    let grid = window.on(n, [h, w])?;
    let (x, k) = (xs.tensor().contiguous()?, weight.tensor().contiguous()?);
    let ys = by_dtype!("depthwise", x, T => {
        let (x, k) = (Reading::of(&x), Reading::of(&k));
        let ys = gather(x.slice::<T>()?, k.slice()?, grid.size, grid.out, &Taps::forward(&grid), n, c);
        tensor(ys, &[n, grid.out[0], grid.out[1], c])
    })?;
    let (x_slot, w_slot) = (xs.slot(), weight.slot());
    Value::record(&[xs, weight], ys, move |grad, slots| {
        by_dtype!("depthwise", x, T => {
            let grad = grad.contiguous()?;
            let gs = Reading::of(&grad);
            let gs = gs.slice::<T>()?;
            slots.give(w_slot, || {
                let x = Reading::of(&x);
                tensor(weight_gradient(x.slice::<T>()?, gs, &grid, c), k.dims())
            })?;
            slots.give(x_slot, || {
                let k = Reading::of(&k);
                let taps = Taps::backward(&grid);
                let dx = gather(gs, k.slice::<T>()?, grid.out, grid.size, &taps, n, c);
                tensor(dx, x.dims())
            })
        })
    })
}

/// For each position of the result along an axis: which taps reach which position of the source.
struct Taps {
    rows: Vec<Vec<(usize, usize)>>,
    cols: Vec<Vec<(usize, usize)>>,
    /// The kernel's width.
    width: usize,
}

impl Taps {
    /// From outputs to the inputs that they see.
    fn forward(grid: &Grid) -> Taps {
        Taps::of(grid, grid.out, |axis, at, tap| grid.source(axis, at, tap))
    }

    /// From inputs to the outputs that see them.
    fn backward(grid: &Grid) -> Taps {
        Taps::of(grid, grid.size, |axis, at, tap| grid.output(axis, at, tap))
    }

    fn of(
        grid: &Grid,
        size: [usize; 2],
        source: impl Fn(usize, usize, usize) -> Option<usize>,
    ) -> Taps {
        let axis = |axis: usize| {
            let taps = |at| {
                let tap = |tap| source(axis, at, tap).map(|source| (tap, source));
                (0..grid.kernel[axis]).filter_map(tap).collect()
            };
            (0..size[axis]).map(taps).collect()
        };
        Taps { rows: axis(0), cols: axis(1), width: grid.kernel[1] }
    }
}

/// Each number of a map of size `to` as the sum over its taps of a map of size `from`.
fn gather<T: Real>(
    source: &[T],
    weight: &[T],
    from: [usize; 2],
    to: [usize; 2],
    taps: &Taps,
    n: usize,
    c: usize,
) -> Vec<T> {
    let n_rows = n * to[0];
    build(n_rows, to[1] * c, rows_per_block(n_rows, to[1] * c), |first, block: &mut [T]| {
        for (idx, out) in block.chunks_exact_mut(to[1] * c).enumerate() {
            let (picture, row) = ((first + idx) / to[0], (first + idx) % to[0]);
            let map = &source[picture * from[0] * from[1] * c..][..from[0] * from[1] * c];
            gather_row(map, weight, from[1], &taps.rows[row], &taps.cols, taps.width, c, out);
        }
    })
}

/// dW: for each tap the products of what it saw and the gradient there.
fn weight_gradient<T: Real>(xs: &[T], gs: &[T], grid: &Grid, c: usize) -> Vec<T> {
    let [h, w] = grid.size;
    let [oh, ow] = grid.out;
    let [kh, kw] = grid.kernel;
    let taps = Taps::forward(grid);
    let n_rows = grid.n * oh;
    // Where along a row each horizontal tap sees something: pairs of (output, input).
    let pairs: Vec<Vec<(usize, usize)>> = (0..kw)
        .map(|tap| (0..ow).filter_map(|out| Some((out, grid.source(1, out, tap)?))).collect())
        .collect();
    reduce(n_rows, rows_per_block(n_rows, ow * c).max(4), kh * kw * c, |rows| {
        let mut dw = vec![T::ZERO; kh * kw * c];
        for row in rows {
            let (picture, out_row) = (row / oh, row % oh);
            let gs = &gs[row * ow * c..][..ow * c];
            for &(ky, in_row) in &taps.rows[out_row] {
                let xs = &xs[(picture * h + in_row) * w * c..][..w * c];
                for (kx, pairs) in pairs.iter().enumerate() {
                    correlate_row(xs, gs, pairs, &mut dw[(ky * kw + kx) * c..][..c]);
                }
            }
        }
        dw
    })
}

/// Channels that are worked on together: four registers of sixteen.
const WIDE: usize = 64;
const NARROW: usize = 8;

kernel! {
    /// One row of [`gather`].
    fn gather_row<F, T>(
        map: &[T],
        weight: &[T],
        width: usize,
        rows: &[(usize, usize)],
        cols: &[Vec<(usize, usize)>],
        kernel_width: usize,
        c: usize,
        out: &mut [T],
    ) {
        for (out, cols) in out.chunks_exact_mut(c).zip(cols) {
            let mut from = 0;
            while from < c {
                let left = c - from;
                let taps = rows.iter().flat_map(|&(ky, row)| {
                    cols.iter().map(move |&(kx, col)| {
                        ((row * width + col) * c + from, (ky * kernel_width + kx) * c + from)
                    })
                });
                from += if left >= WIDE {
                    gather_channels::<F, T, WIDE>(map, weight, taps, &mut out[from..])
                } else if left >= NARROW {
                    gather_channels::<F, T, NARROW>(map, weight, taps, &mut out[from..])
                } else {
                    gather_channels::<F, T, 1>(map, weight, taps, &mut out[from..])
                };
            }
        }
    }
}

/// The sum over taps (position in the map, position in the weight) for `N` channels.
#[inline(always)]
fn gather_channels<F: crate::isa::Fma, T: Real, const N: usize>(
    map: &[T],
    weight: &[T],
    taps: impl Iterator<Item = (usize, usize)>,
    out: &mut [T],
) -> usize {
    let mut sums = [T::ZERO; N];
    for (at, tap) in taps {
        let (xs, ws) = (&map[at..at + N], &weight[tap..tap + N]);
        for ((sum, &x), &w) in sums.iter_mut().zip(xs).zip(ws) {
            *sum = T::fma::<F>(x, w, *sum);
        }
    }
    out[..N].copy_from_slice(&sums);
    N
}

kernel! {
    /// Adds the products of a row of inputs and a row of gradients, at the given pairs.
    fn correlate_row<F, T>(xs: &[T], gs: &[T], pairs: &[(usize, usize)], dw: &mut [T]) {
        let c = dw.len();
        let mut from = 0;
        while from < c {
            let left = c - from;
            from += if left >= WIDE {
                correlate_channels::<F, T, WIDE>(xs, gs, pairs, c, from, dw)
            } else if left >= NARROW {
                correlate_channels::<F, T, NARROW>(xs, gs, pairs, c, from, dw)
            } else {
                correlate_channels::<F, T, 1>(xs, gs, pairs, c, from, dw)
            };
        }
    }
}

#[inline(always)]
fn correlate_channels<F: crate::isa::Fma, T: Real, const N: usize>(
    xs: &[T],
    gs: &[T],
    pairs: &[(usize, usize)],
    c: usize,
    from: usize,
    dw: &mut [T],
) -> usize {
    let mut sums = [T::ZERO; N];
    for &(out, at) in pairs {
        let (gs, xs) = (&gs[out * c + from..][..N], &xs[at * c + from..][..N]);
        for ((sum, &x), &g) in sums.iter_mut().zip(xs).zip(gs) {
            *sum = T::fma::<F>(x, g, *sum);
        }
    }
    for (dw, sum) in dw[from..from + N].iter_mut().zip(sums) {
        *dw += sum;
    }
    N
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::check_close;

    use super::depthwise;
    use crate::{Padding, Value, Window, check::check};

    #[test]
    fn slides_over_one_channel_at_a_time() -> Result<()> {
        // A 1x3 kernel [1, 2, 3] on the row 1 2 3, and its tenth on the row 10 20 30.
        let xs = Tensor::new(&[1f64, 10.0, 2.0, 20.0, 3.0, 30.0], &Device::Cpu)?;
        let w = Tensor::new(&[1f64, 0.1, 2.0, 0.2, 3.0, 0.3], &Device::Cpu)?;
        let window = Window { kernel: [1, 3], stride: 1, padding: Padding::Symmetric };
        let (xs, w) = (xs.reshape((1, 1, 3, 2))?, w.reshape((1, 3, 2))?);
        let ys = depthwise(&Value::constant(xs), &Value::constant(w), window)?;
        check_close(ys.tensor(), &[8.0, 8.0, 14.0, 14.0, 8.0, 8.0], 1e-12);
        Ok(())
    }

    #[test]
    fn has_the_right_gradients() {
        for padding in [Padding::Symmetric, Padding::Same] {
            for (kernel, stride, h, w) in
                [(3, 1, 4, 3), (3, 2, 5, 4), (3, 2, 4, 5), (5, 2, 6, 3), (2, 1, 3, 3)]
            {
                let window = Window::square(kernel, stride, padding);
                check(&[&[2, h, w, 11], &[kernel, kernel, 11]], |it| {
                    depthwise(&it[0], &it[1], window)
                });
            }
        }
    }

    #[test]
    fn many_channels_take_the_wide_path() {
        let window = Window::square(3, 1, Padding::Same);
        check(&[&[1, 2, 2, 75], &[3, 3, 75]], |it| depthwise(&it[0], &it[1], window));
    }
}
