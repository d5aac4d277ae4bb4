//! Depthwise convolution: one small kernel for each channel, sliding over that channel alone.
//!
//! y[n, i, j, c] = Σ_{u, v} x[n, i·s + u - p, j·s + v - p, c] · w[u, v, c].
//!
//! A block of rows is read into a frame of zeros in cache, so that no tap has to ask whether it lies
//! on the map. The way forward and the way back to the input are one loop over different taps: each
//! number of the result gathers its own, eight neighbours and one register of channels at a time.

mod kernels;

use std::ops::Range;

use candle::{Result, bail};
use kernels::{Line, correlate_row, gather_row};

use crate::{
    Moments, Value, Window,
    blocks::overwrite_blocks,
    lens::{BackSums, Grad, GradView, View},
    matmul::padded,
    meter::{Job, Way, watch},
    product::total,
    real::{Reading, Real, by_dtype, tensor},
    window::Grid,
};

/// Convolves each channel with its own kernel.
///
/// In training the result knows its [`Moments`], for the norm that follows.
///
/// - `xs`: `[n, h, w, c]`.
/// - `weight`: `[kh, kw, c]`.
/// - returns: `[n, h', w', c]`.
pub fn depthwise(xs: &Value, weight: &Value, window: Window) -> Result<Value> {
    let (x, k) = (xs.raw()?, weight.tensor()?);
    let (n, h, w, c) = x.dims4()?;
    let [kh, kw] = window.kernel;
    if k.dims() != [kh, kw, c] {
        bail!("depthwise: a weight of {:?} does not fit {kh}x{kw} on {c} channels", k.dims());
    }
    let grid = window.on(n, [h, w])?;
    let job = move |way: Way, numbers: usize, times: usize| Job {
        kind: format!("depthwise {kh}x{kw}"),
        shape: format!("{h}x{w}x{c}, stride {}", grid.stride),
        way,
        flops: times * 2 * grid.n_out() * c * kh * kw,
        numbers,
    };
    let (n_in, n_out) = (n * h * w * c, grid.n_out() * c);
    let _watch = watch(|| job(Way::Forward, n_in + n_out, 1));
    let wants_moments = weight.is_on_tape();
    let lens = xs.lens().cloned();
    let (ys, moments) = by_dtype!("depthwise", x, T => {
        let view = View::<T>::of(&x, lens.as_ref())?;
        let k = Reading::of(&k);
        let (ys, moments) = forward(&view, k.slice()?, &grid, wants_moments);
        Ok::<_, candle::Error>((tensor(ys, &[n, grid.out[0], grid.out[1], c])?, moments))
    })?;
    let (x_slot, w_slot) = (xs.slot(), weight.slot());
    let ys = Value::record(&[xs, weight], ys, move |grad, slots| {
        let _watch = watch(|| {
            let (dx, dw) = (usize::from(x_slot.is_some()), usize::from(w_slot.is_some()));
            job(Way::Back, grad.reads() * n_out + (1 + dx) * n_in, dx + dw)
        });
        by_dtype!("depthwise", x, T => {
            let grad = Grad { tensor: grad.tensor.contiguous()?, ..grad };
            let gs = GradView::<T>::of(&grad)?;
            let view = View::<T>::of(&x, lens.as_ref())?;
            let reading = Reading::of(&k);
            let wants = (x_slot.is_some(), w_slot.is_some());
            let (dx, dw, sums) = backward(&view, &gs, reading.slice()?, &grid, wants);
            slots.give(w_slot, || Ok(Grad::plain(tensor(dw, k.dims())?)))?;
            slots.give(x_slot, || {
                Ok(Grad::plain(tensor(dx, x.dims())?).summed(sums, &x, lens.as_ref()))
            })
        })
    })?;
    Ok(ys.with_moments(moments))
}

/// Numbers of a frame: with a second one it stays in a core's second-level cache.
const FRAME: usize = 160 * 1024;

/// Some channels of a part of a map, in a frame of zeros.
#[derive(Clone)]
struct Frame {
    /// Rows and columns of the map that lie in the frame; those beyond the map are zeros.
    rows: Range<isize>,
    cols: Range<isize>,
    /// Channels, padded to whole registers.
    c: usize,
}

impl Frame {
    fn len(&self) -> usize {
        self.rows.len() * self.row_len()
    }

    fn row_len(&self) -> usize {
        self.cols.len() * self.c
    }

    /// Where a position of the map lies.
    fn at(&self, row: isize, col: isize) -> usize {
        (row - self.rows.start) as usize * self.row_len()
            + (col - self.cols.start) as usize * self.c
    }

    /// Fills the frame from a map of `size` with `n` channels: `read` gets the map's row and the
    /// place for it.
    fn fill<T: Real>(
        &self,
        into: &mut [T],
        [h, w]: [usize; 2],
        n: usize,
        mut read: impl FnMut(usize, &mut [T]),
    ) {
        let (left, right) = (self.at(self.rows.start, 0), self.at(self.rows.start, w as isize));
        for (row, line) in self.rows.clone().zip(into.chunks_exact_mut(self.row_len())) {
            if row < 0 || row >= h as isize {
                line.fill(T::ZERO);
                continue;
            }
            line[..left].fill(T::ZERO);
            line[right..].fill(T::ZERO);
            let line = &mut line[left..right];
            read(row as usize, line);
            if self.c > n {
                line.chunks_exact_mut(self.c).for_each(|it| it[n..].fill(T::ZERO));
            }
        }
    }
}

/// The channels that are worked on together.
fn groups(grid: &Grid, c: usize) -> Vec<Range<usize>> {
    let wide = group_len(grid, c);
    (0..c).step_by(wide).map(|first| first..(first + wide).min(c)).collect()
}

/// All channels, as memory lies, unless so few rows of them fit a frame that most would be read
/// twice, for the rows above and those below.
fn group_len(grid: &Grid, c: usize) -> usize {
    let mut wide = c;
    let enough = grid.out[0].min((3 * (grid.kernel[0] - 1)).div_ceil(grid.stride));
    while rows_that_fit(grid, wide) < enough && wide > NARROWEST {
        wide = padded(wide / 2);
    }
    wide
}

/// Channels that are worth a request to memory.
const NARROWEST: usize = 256;

/// Output rows whose frame is no larger than it should be.
fn rows_that_fit(grid: &Grid, c: usize) -> usize {
    let row = (grid.size[1] + grid.kernel[1]) * padded(c);
    (FRAME / row).saturating_sub(grid.kernel[0] - 1) / grid.stride
}

/// A kernel's numbers with padded channels.
fn pad_kernel<T: Real>(k: &[T], c: usize) -> Vec<T> {
    let wide = padded(c);
    let mut all = vec![T::ZERO; k.len() / c * wide];
    for (to, from) in all.chunks_exact_mut(wide).zip(k.chunks_exact(c)) {
        to[..c].copy_from_slice(from);
    }
    all
}

/// The pictures, and in each the output rows, that are worked on together.
fn tiles(grid: &Grid, c: usize) -> Vec<(usize, Range<usize>)> {
    let (oh, tile) = (grid.out[0], tile_rows(grid, c));
    let of_picture = (0..oh).step_by(tile).map(|first| first..(first + tile).min(oh));
    (0..grid.n).flat_map(|n| of_picture.clone().map(move |rows| (n, rows))).collect()
}

/// Output rows that are worked on together.
fn tile_rows(grid: &Grid, c: usize) -> usize {
    let most = rows_that_fit(grid, group_len(grid, c)).clamp(1, grid.out[0]);
    // At least sixteen tiles where there are enough rows, all about as large.
    let wanted = 16_usize.div_ceil(grid.n.max(1)).max(grid.out[0].div_ceil(most));
    grid.out[0].div_ceil(wanted)
}

/// The input rows and columns that output rows see.
fn seen(grid: &Grid, rows: &Range<usize>, c: usize) -> Frame {
    let axis = |axis: usize, of: &Range<usize>| {
        let first = (of.start * grid.stride) as isize - grid.before[axis] as isize;
        let last = ((of.end - 1) * grid.stride + grid.kernel[axis]) as isize;
        first..last - grid.before[axis] as isize
    };
    let mut cols = axis(1, &(0..grid.out[1]));
    cols = cols.start.min(0)..cols.end.max(grid.size[1] as isize);
    Frame { rows: axis(0, rows), cols, c: padded(c) }
}

fn forward<T: Real>(
    xs: &View<'_, T>,
    k: &[T],
    grid: &Grid,
    wants_moments: bool,
) -> (Vec<T>, Option<Moments>) {
    let ([oh, ow], [kh, kw], [h, w]) = (grid.out, grid.kernel, grid.size);
    let c = xs.c;
    let (k, wide) = (pad_kernel(k, c), padded(c));
    let tiles = tiles(grid, c);
    let blocks = tiles.iter().map(|(n, it)| n * oh + it.start..n * oh + it.end).collect();
    let write = |idx: usize, _, ys: &mut [T]| {
        let (picture, rows) = tiles[idx].clone();
        for group in groups(grid, c) {
            let frame = seen(grid, &rows, group.len());
            T::with_scratch(frame.len(), |from| {
                frame.fill(from, grid.size, group.len(), |row, to| {
                    xs.read_channels((picture * h + row) * w, group.clone(), to, frame.c);
                });
                for (row, ys) in rows.clone().zip(ys.chunks_exact_mut(ow * c)) {
                    let top = (row * grid.stride) as isize - grid.before[0] as isize;
                    let left = -(grid.before[1] as isize);
                    let tap = |ky: usize, kx: usize| {
                        let at = frame.at(top + ky as isize, left + kx as isize);
                        (at, (ky * kw + kx) * wide + group.start)
                    };
                    let taps: Vec<_> =
                        (0..kh).flat_map(|ky| (0..kw).map(move |kx| tap(ky, kx))).collect();
                    let line = Line { n: ow, from_step: grid.stride * frame.c, into_step: c };
                    gather_row(from, &k, &taps, line, &mut ys[group.start..], group.len());
                }
            });
        }
        wants_moments.then(|| Moments::of(ys, c))
    };
    // SAFETY: `gather_row` writes every number of each row, group by group.
    let (ys, moments) = unsafe { overwrite_blocks(ow * c, blocks, write) };
    (ys, Moments::join(moments.into_iter().flatten()))
}

/// The gradients of input and kernel, and the sums that a norm before the input asks for.
fn backward<T: Real>(
    xs: &View<'_, T>,
    gs: &GradView<'_, T>,
    k: &[T],
    grid: &Grid,
    (wants_dx, wants_dw): (bool, bool),
) -> (Vec<T>, Vec<T>, Option<BackSums>) {
    let ([oh, ow], [kh, kw], [h, w], stride) = (grid.out, grid.kernel, grid.size, grid.stride);
    let c = xs.c;
    let (k, wide) = (pad_kernel(k, c), padded(c));
    let tiles = tiles(grid, c);
    // The input rows that are finished with a tile.
    let own = |rows: &Range<usize>| {
        let end = if rows.end == oh { h } else { (rows.end * stride).min(h) };
        (rows.start * stride).min(h)..end
    };
    // Which outputs see an input row, and through which tap.
    let seers = |row: usize| -> Vec<(usize, usize)> {
        (0..kh).filter_map(|tap| Some((tap, grid.output(0, row, tap)?))).collect()
    };
    // Of the first column of each phase: columns a stride apart are seen through the same taps. A
    // tap's output may lie off the map.
    let phases: Vec<Vec<(usize, isize)>> = (0..stride.min(w))
        .map(|phase| {
            let taps = (0..kw).filter_map(|kx| {
                let shifted = (phase + grid.before[1]) as isize - kx as isize;
                let fits = shifted.rem_euclid(stride as isize) == 0;
                fits.then(|| (kx, shifted.div_euclid(stride as isize)))
            });
            taps.collect()
        })
        .collect();
    let reach = kw.div_ceil(stride) as isize;
    let write = |idx: usize, _, dx: &mut [T]| {
        let (picture, rows) = tiles[idx].clone();
        let own = own(&rows);
        let mut dw = if wants_dw { vec![T::ZERO; kh * kw * wide] } else { Vec::new() };
        let mut sums = xs.back_sums().filter(|_| wants_dx);
        // The outputs that see the input rows that are finished here.
        let (mut low, mut high) = (rows.start, rows.end);
        if wants_dx {
            for (_, out) in own.clone().flat_map(seers) {
                (low, high) = (low.min(out), high.max(out + 1));
            }
        }
        for group in groups(grid, c) {
            let n = group.len();
            let (g_rows, g_cols) = (low as isize..high as isize, -reach..ow as isize + reach);
            let of_gs = Frame { rows: g_rows, cols: g_cols, c: padded(n) };
            let of_xs = seen(grid, &rows, n);
            let gather_dx = |g_frame: &[T], dx: &mut [T]| {
                for row in own.clone() {
                    let dx = &mut dx[(row - own.start) * w * c + group.start..];
                    let rows = seers(row);
                    for (phase, cols) in phases.iter().enumerate() {
                        let tap = |&(ky, out): &(usize, usize), &(kx, col): &(usize, isize)| {
                            let at = of_gs.at(out as isize, col);
                            (at, (ky * kw + kx) * wide + group.start)
                        };
                        let taps: Vec<_> =
                            rows.iter().flat_map(|r| cols.iter().map(move |k| tap(r, k))).collect();
                        let many = (w - phase).div_ceil(stride);
                        let line = Line { n: many, from_step: of_gs.c, into_step: stride * c };
                        gather_row(g_frame, &k, &taps, line, &mut dx[phase * c..], n);
                    }
                }
            };
            T::with_scratch(of_gs.len(), |g_frame| {
                of_gs.fill(g_frame, grid.out, n, |row, to| {
                    gs.read_channels((picture * oh + row) * ow, group.clone(), to, of_gs.c);
                });
                if wants_dx {
                    gather_dx(g_frame, dx);
                }
                // Rows of the input that no output of this tile sees.
                let of_xs_rows = of_xs.rows.clone();
                let unseen = |row: &usize| !wants_dw || !of_xs_rows.contains(&(*row as isize));
                for row in own.clone().filter(unseen) {
                    if let Some(sums) = &mut sums {
                        let dx = &mut dx[(row - own.start) * w * c + group.start..];
                        xs.look_back(((picture * h + row) * w, w), group.clone(), dx, None, sums);
                    }
                }
                if !wants_dw {
                    return;
                }
                T::with_scratch(of_xs.len(), |x_frame| {
                    // Where the input's gradient is wanted, it is read on that gradient's way back.
                    of_xs.fill(x_frame, grid.size, n, |row, to| {
                        let first = (picture * h + row) * w;
                        match &mut sums {
                            Some(sums) if own.contains(&row) => {
                                let dx = &mut dx[(row - own.start) * w * c + group.start..];
                                let to = Some((to, of_xs.c));
                                xs.look_back((first, w), group.clone(), dx, to, sums);
                            }
                            _ => xs.read_channels(first, group.clone(), to, of_xs.c),
                        }
                    });
                    for row in rows.clone() {
                        let top = (row * stride) as isize - grid.before[0] as isize;
                        let left = -(grid.before[1] as isize);
                        let gs = &g_frame[of_gs.at(row as isize, 0)..][..ow * of_gs.c];
                        for ky in 0..kh {
                            let xs = &x_frame[of_xs.at(top + ky as isize, left)..];
                            let dw = &mut dw[ky * kw * wide + group.start..];
                            correlate_row(xs, gs, of_gs.c, stride, kw, dw, wide);
                        }
                    }
                });
            });
        }
        (dw, sums)
    };
    let blocks = tiles.iter().map(|(n, rows)| {
        let own = own(rows);
        n * h + own.start..n * h + own.end
    });
    let width = if wants_dx { w * c } else { 0 };
    // SAFETY: the phases of a row are all its columns, the groups all channels, and `gather_row`
    // writes every number of them.
    let (dx, parts) = unsafe { overwrite_blocks(width, blocks.collect(), write) };
    let (dw, sums): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let dw = total(dw).chunks_exact(wide).flat_map(|it| it[..c].to_vec()).collect();
    (dx, dw, sums.into_iter().collect::<Option<Vec<_>>>().and_then(BackSums::join))
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use candle::{Device, Result, Tensor, Var};
    use testkit::{check_close, numbers};

    use super::{depthwise, groups};
    use crate::{Activation, Padding, Tape, Value, Window, batch_norm, check::check};

    #[test]
    fn slides_over_one_channel_at_a_time() -> Result<()> {
        // A 1x3 kernel [1, 2, 3] on the row 1 2 3, and its tenth on the row 10 20 30.
        let xs = Tensor::new(&[1f64, 10.0, 2.0, 20.0, 3.0, 30.0], &Device::Cpu)?;
        let w = Tensor::new(&[1f64, 0.1, 2.0, 0.2, 3.0, 0.3], &Device::Cpu)?;
        let window = Window { kernel: [1, 3], stride: 1, padding: Padding::Symmetric };
        let (xs, w) = (xs.reshape((1, 1, 3, 2))?, w.reshape((1, 3, 2))?);
        let ys = depthwise(&Value::constant(xs), &Value::constant(w), window)?;
        check_close(&ys.tensor()?, &[8.0, 8.0, 14.0, 14.0, 8.0, 8.0], 1e-12);
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

    /// With so many channels on so wide a map they are worked on in groups; half of them are not.
    #[test]
    fn channels_in_groups_are_what_each_half_is_alone() -> Result<()> {
        let (c, half, window) = (600, 300, Window::square(5, 1, Padding::Same));
        let grid = window.on(1, [12, 20])?;
        assert_eq!((groups(&grid, c).len(), groups(&grid, half).len()), (2, 1));
        let tensor = |name: &str, dims: &[usize]| {
            Tensor::from_vec(numbers(name, dims.iter().product()), dims, &Device::Cpu)
        };
        let (x, k) = (tensor("x", &[1, 12, 20, c])?, tensor("k", &[5, 5, c])?);
        let (gamma, beta) = (tensor("gamma", &[c])?, tensor("beta", &[c])?);
        let run = |channels: Range<usize>| -> Result<Vec<Tensor>> {
            let (first, n) = (channels.start, channels.len());
            let part =
                |it: &Tensor| Var::from_tensor(&it.narrow(it.rank() - 1, first, n)?.contiguous()?);
            let vars = [part(&x)?, part(&k)?, part(&gamma)?, part(&beta)?];
            let tape = Tape::default();
            let [x, k, gamma, beta] = vars.each_ref().map(|it| tape.leaf(it));
            let (xs, _) = batch_norm(&x, &gamma, &beta, 1e-3, Activation::Silu)?;
            let ys = tape.export(&depthwise(&xs, &k, window)?)?;
            let grads = tape.backward(&ys.sqr()?.sum_all()?)?;
            let grads = vars.iter().map(|it| Ok(grads.get(it).expect("all take part").clone()));
            [Ok(ys.detach())].into_iter().chain(grads).collect()
        };
        for ((all, low), high) in run(0..c)?.iter().zip(run(0..half)?).zip(run(half..c)?) {
            let halves = Tensor::cat(&[low, high], all.rank() - 1)?;
            check_close(all, &halves.flatten_all()?.to_vec1::<f64>()?, 1e-9);
        }
        Ok(())
    }

    #[test]
    fn many_channels_take_the_wide_path() {
        let window = Window::square(3, 1, Padding::Same);
        check(&[&[1, 2, 2, 75], &[3, 3, 75]], |it| depthwise(&it[0], &it[1], window));
    }
}
