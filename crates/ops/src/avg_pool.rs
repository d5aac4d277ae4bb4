//! Average pooling: the mean of each channel over each window of a feature map.
//!
//! y[i, j] = Σ x[rows of i, columns of j] / their number. A sliding window counts only the positions on
//! the map, not the padding; adaptive windows split a map of any size into the requested number of
//! windows: rows ⌊i·h/h'⌋..⌈(i + 1)·h/h'⌉, so that neighbours may share a row.
//!
//! As in PyTorch with `count_include_pad=False`; with a kernel of 2, a stride of 2 and
//! [`Padding::Same`](crate::Padding::Same) also with `ceil_mode`. Since the windows are
//! separable, rows and columns are summed one after the other.

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
};

/// Averages the positions on the map within each window.
///
/// - `xs`: `[n, h, w, c]`.
/// - returns: `[n, h', w', c]`.
pub fn avg_pool(xs: &Value, window: Window) -> Result<Value> {
    let &[n, h, w, _] = xs.dims() else { bail!("avg_pool: {:?} is not a feature map", xs.dims()) };
    let grid = window.on(n, [h, w])?;
    if let Some(card) = xs.card() {
        return card::avg_pool(card, xs, &grid);
    }
    let axis = |axis: usize| Axis {
        size: grid.size[axis],
        windows: (0..grid.out[axis])
            .map(|out| {
                let end = out * grid.stride + grid.kernel[axis];
                let on_map = |at: usize| at.saturating_sub(grid.before[axis]).min(grid.size[axis]);
                on_map(out * grid.stride)..on_map(end)
            })
            .collect(),
    };
    pool(xs, [axis(0), axis(1)])?.recorded(&[xs], || Ok(Op::AvgPool(grid.sliding())))
}

/// Averages a map of any size to `out` rows and columns.
///
/// - `xs`: `[n, h, w, c]`.
/// - returns: `[n, h', w', c]` with `[h', w'] = out`, which may be larger than the map.
pub fn adaptive_avg_pool(xs: &Value, out: [usize; 2]) -> Result<Value> {
    let &[_, h, w, _] = xs.dims() else {
        bail!("adaptive_avg_pool: {:?} is not a feature map", xs.dims())
    };
    if h * w * out[0] * out[1] == 0 {
        bail!("adaptive_avg_pool: a map of {h}x{w} cannot be pooled to {out:?}");
    }
    if out == [h, w] {
        return Ok(xs.clone());
    }
    if let Some(card) = xs.card() {
        return card::adaptive_avg_pool(card, xs, out);
    }
    let axis = |size: usize, out: usize| Axis {
        size,
        windows: (0..out).map(|idx| idx * size / out..((idx + 1) * size).div_ceil(out)).collect(),
    };
    let ys = pool(xs, [axis(h, out[0]), axis(w, out[1])])?;
    ys.recorded(&[xs], || Ok(Op::AdaptiveAvgPool))
}

/// The windows along one axis of a map: their starts and their ends are non-decreasing.
struct Axis {
    size: usize,
    windows: Vec<Range<usize>>,
}

impl Axis {
    /// The windows that contain a position.
    fn containing(&self, at: usize) -> Range<usize> {
        let first = self.windows.partition_point(|it| it.end <= at);
        first..self.windows.partition_point(|it| it.start <= at)
    }

    /// The weight of each number in a window.
    fn share<T: Real>(&self, window: usize) -> T {
        T::of(1.0 / self.windows[window].len() as f64)
    }

    /// The size of the largest window.
    fn longest(&self) -> usize {
        self.windows.iter().map(|it| it.len()).max().unwrap_or(0)
    }
}

/// The shared implementation of the two functions above.
fn pool(xs: &Value, axes: [Axis; 2]) -> Result<Value> {
    let x = xs.raw()?;
    let (n, h, w, c) = x.dims4()?;
    let [oh, ow] = [axes[0].windows.len(), axes[1].windows.len()];
    let event = move |phase| Event {
        shape: format!("{h}x{w}x{c} to {oh}x{ow}"),
        flops: n * (h * w).max(oh * ow) * c,
        numbers: n * (h * w + oh * ow) * c,
        ..Event::new("average pooling", phase)
    };
    let _recording = record(|| event(Phase::Forward));
    let ys = by_dtype!("avg_pool", x, T => {
        let ys = forward(&View::<T>::of(&x, xs.prologue())?, n, &axes);
        tensor(ys, &[n, oh, ow, c])
    })?;
    let (slot, dims) = (xs.slot(), x.dims().to_vec());
    Value::record(&[xs], ys, move |grad, slots| {
        let _recording = record(|| event(Phase::Backward));
        by_dtype!("avg_pool", grad.tensor, T => slots.give(slot, || {
            let grad = Grad { tensor: grad.tensor.contiguous()?, ..grad };
            let dx = backward(&GradView::<T>::of(&grad)?, n, &axes);
            Ok(Grad::plain(tensor(dx, &dims)?))
        }))
    })
}

fn forward<T: Real>(xs: &View<'_, T>, n: usize, axes: &[Axis; 2]) -> Vec<T> {
    let ([down, across], c) = (axes, xs.c);
    let (oh, ow, w) = (down.windows.len(), across.windows.len(), across.size);
    let write = |rows: Range<usize>, ys: &mut [T]| {
        T::with_scratch(2 * w * c, |lines| {
            let (sums, line) = lines.split_at_mut(w * c);
            for (row, ys) in rows.zip(ys.chunks_exact_mut(ow * c)) {
                let (first, share) = (row / oh * down.size, down.share(row % oh));
                sums.fill(T::ZERO);
                for from in down.windows[row % oh].clone() {
                    match xs.plain((first + from) * w, w) {
                        Some(line) => add_share(line, share, sums),
                        None => {
                            xs.read((first + from) * w, line, c);
                            add_share(line, share, sums);
                        }
                    }
                }
                ys.fill(T::ZERO);
                for (col, y) in ys.chunks_exact_mut(c).enumerate() {
                    for from in across.windows[col].clone() {
                        add_share(&sums[from * c..][..c], across.share(col), y);
                    }
                }
            }
        });
    };
    let per_block = rows_per_block(n * oh, down.longest() * w * c);
    // SAFETY: each block is filled before it is read.
    unsafe { overwrite(n * oh, ow * c, per_block, write) }.0
}

fn backward<T: Real>(gs: &GradView<'_, T>, n: usize, axes: &[Axis; 2]) -> Vec<T> {
    let ([down, across], c) = (axes, gs.c);
    let (oh, ow, h, w) = (down.windows.len(), across.windows.len(), down.size, across.size);
    let write = |rows: Range<usize>, dx: &mut [T]| {
        dx.fill(T::ZERO);
        T::with_scratch(2 * ow * c, |lines| {
            let (sums, line) = lines.split_at_mut(ow * c);
            for (row, dx) in rows.zip(dx.chunks_exact_mut(w * c)) {
                sums.fill(T::ZERO);
                for out in down.containing(row % h) {
                    let first = (row / h * oh + out) * ow;
                    match gs.plain(first, ow) {
                        Some(line) => add_share(line, down.share(out), sums),
                        None => {
                            gs.read(first, line, c);
                            add_share(line, down.share(out), sums);
                        }
                    }
                }
                for (col, g) in sums.chunks_exact(c).enumerate() {
                    for to in across.windows[col].clone() {
                        add_share(g, across.share(col), &mut dx[to * c..][..c]);
                    }
                }
            }
        });
    };
    let per_block = rows_per_block(n * h, w * c);
    // SAFETY: each block is filled before it is read.
    unsafe { overwrite(n * h, w * c, per_block, write) }.0
}

kernel! {
    fn add_share<F, T>(xs: &[T], share: T, sums: &mut [T]) {
        for (sum, &x) in sums.iter_mut().zip(xs) {
            *sum = T::fma::<F>(x, share, *sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::check_close;

    use super::{adaptive_avg_pool, avg_pool};
    use crate::{Activation, Padding, Value, Window, batch_norm, check::check};

    /// 0, 1, 2, … on a map of one channel.
    fn map(h: usize, w: usize) -> Result<Value> {
        let xs = Tensor::arange(0f64, (h * w) as f64, &Device::Cpu)?;
        Ok(Value::constant(xs.reshape((1, h, w, 1))?))
    }

    #[test]
    fn padding_is_not_counted() -> Result<()> {
        // 0 1 2
        // 3 4 5 in windows of 2: the window of the last column, if kept, contains only 2 and 5.
        let ys = avg_pool(&map(2, 3)?, Window::square(2, 2, Padding::Same))?;
        check_close(&ys.tensor()?, &[2.0, 3.5], 1e-12);
        let ys = avg_pool(&map(2, 3)?, Window::square(2, 2, Padding::Symmetric))?;
        check_close(&ys.tensor()?, &[2.0], 1e-12);
        // Windows of 3 at a corner contain 4 numbers: (0 + 1 + 3 + 4) / 4, (1 + 2 + 4 + 5) / 4.
        let ys = avg_pool(&map(2, 3)?, Window::square(3, 2, Padding::Symmetric))?;
        check_close(&ys.tensor()?, &[2.0, 3.0], 1e-12);
        Ok(())
    }

    #[test]
    fn adaptive_pooling_gives_the_requested_size() -> Result<()> {
        // Columns 0..2, 1..3 of three.
        let ys = adaptive_avg_pool(&map(1, 3)?, [1, 2])?;
        check_close(&ys.tensor()?, &[0.5, 1.5], 1e-12);
        // Columns 0..1, 0..2, 1..2 of two.
        let ys = adaptive_avg_pool(&map(1, 2)?, [2, 3])?;
        check_close(&ys.tensor()?, &[0.0, 0.5, 1.0, 0.0, 0.5, 1.0], 1e-12);
        check_close(&adaptive_avg_pool(&map(3, 2)?, [1, 1])?.tensor()?, &[2.5], 1e-12);
        let ys = adaptive_avg_pool(&map(2, 2)?, [2, 2])?;
        check_close(&ys.tensor()?, &[0.0, 1.0, 2.0, 3.0], 0.0);
        assert!(adaptive_avg_pool(&map(2, 2)?, [0, 2]).is_err());
        Ok(())
    }

    #[test]
    fn gradient_is_correct() {
        for padding in [Padding::Symmetric, Padding::Same] {
            for (kernel, stride, h, w) in [(3, 2, 6, 5), (2, 2, 5, 4), (3, 1, 3, 3), (1, 2, 3, 4)] {
                let window = Window::square(kernel, stride, padding);
                check(&[&[2, h, w, 5]], |it| avg_pool(&it[0], window));
            }
        }
        for out in [[1, 1], [2, 3], [4, 5], [3, 7], [6, 2]] {
            check(&[&[2, 4, 5, 3]], |it| adaptive_avg_pool(&it[0], out));
        }
    }

    #[test]
    fn reads_and_is_read_through_a_prologue() {
        check(&[&[2, 4, 4, 5], &[5], &[5], &[5], &[5]], |v| {
            let (xs, _) = batch_norm(&v[0], &v[1], &v[2], 1e-3, Activation::Silu)?;
            let ys = avg_pool(&xs, Window::square(2, 2, Padding::Same))?;
            Ok(batch_norm(&ys, &v[3], &v[4], 1e-3, Activation::Silu)?.0)
        });
    }
}
