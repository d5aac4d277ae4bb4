//! Dense convolution, as matrix products over patches.
//!
//! y[n, i, j, o] = Σ_{u, v, c} x[n, i·s + u - p, j·s + v - p, c] · w[o, u, v, c].
//!
//! Nothing is unrolled: a block of rows is read into a [frame](crate::frame) in cache, in which the
//! patch that an output sees lies in pieces, one for each row of the kernel. The product takes a
//! list of where patches begin, and where in them the pieces are. The way back to the input is the
//! same product, of the result's gradient in a frame and the weight's taps.

use std::ops::Range;

use candle::{Result, bail};

use crate::{
    Finish, Moments, Value, Window,
    blocks::{overwrite_blocks, total},
    finish::OnRows,
    frame::{Frame, WayBack},
    lens::{BackSums, Grad, GradView, View},
    matmul::{End, Left, PAD, Panels, Right, Rows, multiply},
    meter::{Job, Way, watch},
    real::{Reading, Real, by_dtype, tensor},
    window::{Grid, phases},
};

/// Convolves with a dense kernel.
///
/// In training the result knows its [`Moments`], for the norm that follows.
///
/// - `xs`: `[n, h, w, in]`.
/// - `weight`: `[out, kh, kw, in]`.
/// - `then`: what follows, where no gradient is asked for.
/// - returns: `[n, h', w', out]`.
pub fn conv2d(xs: &Value, weight: &Value, window: Window, then: Option<&Finish>) -> Result<Value> {
    let (x, k) = (xs.raw()?, weight.tensor()?);
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
    let lens = xs.lens().cloned();
    let (ys, moments) = by_dtype!("conv2d", x, T => {
        let dims = [n, grid.out[0], grid.out[1], n_out];
        let last = Finish::ready::<T>(then, &[xs, weight], None, &dims)?;
        let last = last.on_rows()?;
        let view = View::<T>::of(&x, lens.as_ref())?;
        let k = Reading::of(&k);
        let (ys, moments) = forward(&view, k.slice()?, &grid, last.as_ref(), n_out, wants_moments);
        Ok::<_, candle::Error>((tensor(ys, &dims)?, moments))
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

/// Numbers of the frames that are worked on together, where that makes enough blocks.
const FRAMES: usize = 256 * 1024;

/// Outputs for which it is worth to go through a weight, and its gradient, that fit no cache.
const ENOUGH: usize = 192;

/// Some pictures, and output rows of each.
#[derive(Clone)]
struct Block {
    pictures: Range<usize>,
    rows: Range<usize>,
}

/// What is worked on together: rows of large maps, several pictures of small ones, so that a
/// weight that does not fit a cache is read for many rows at a time.
fn blocks(grid: &Grid, n_in: usize, n_out: usize) -> Vec<Block> {
    let (n, oh) = (grid.n, grid.out[0]);
    let row_len = (grid.size[1] + grid.kernel[1]) * n_in * grid.stride
        + (grid.out[1] + grid.kernel[1]) * n_out;
    let halo = grid.kernel[0].div_ceil(grid.stride);
    let rows_that_fit = (FRAMES / row_len).max(1);
    let enough = ENOUGH.div_ceil(oh * grid.out[1]);
    let pictures = (rows_that_fit / (oh + halo)).max(enough).min(n / 4).max(1);
    if pictures > 1 {
        let first = (0..n).step_by(pictures);
        let block = |it| Block { pictures: it..(it + pictures).min(n), rows: 0..oh };
        return first.map(block).collect();
    }
    let most = rows_that_fit.saturating_sub(halo).clamp(1, oh);
    // At least eight blocks where there are enough rows, all about as large.
    let rows = oh.div_ceil(8_usize.div_ceil(n.max(1)).max(oh.div_ceil(most)));
    let of_picture = (0..oh).step_by(rows).map(|first| first..(first + rows).min(oh));
    let blocks =
        (0..n).flat_map(|n| of_picture.clone().map(move |rows| Block { pictures: n..n + 1, rows }));
    blocks.collect()
}

impl Block {
    /// Its rows in a tensor whose pictures have `of` rows.
    fn span(&self, rows: &Range<usize>, of: usize) -> Range<usize> {
        self.pictures.start * of + rows.start..(self.pictures.end - 1) * of + rows.end
    }

    /// The rows of outputs: `f` gets the picture's position in the block, and the row.
    fn outputs<R>(&self, mut f: impl FnMut(usize, usize) -> R) -> Vec<R> {
        let pictures = 0..self.pictures.len();
        let all = pictures.flat_map(|n| self.rows.clone().map(move |row| (n, row)));
        all.map(|(n, row)| f(n, row)).collect()
    }
}

/// Where in a frame the window of a row's first output begins.
fn corner(grid: &Grid, frame: &Frame, row: usize) -> usize {
    let top = (row * grid.stride) as isize - grid.before[0] as isize;
    frame.at(top, -(grid.before[1] as isize))
}

fn forward<T: Real>(
    xs: &View<'_, T>,
    w: &[T],
    grid: &Grid,
    last: Option<&OnRows<'_, T>>,
    n_out: usize,
    wants_moments: bool,
) -> (Vec<T>, Option<Moments>) {
    let ([oh, ow], [kh, kw], [h, wide]) = (grid.out, grid.kernel, grid.size);
    let n_in = xs.c;
    let patch = kh * kw * n_in;
    let weight = Panels::of_columns(patch, n_out, |col| &w[col * patch..][..patch]);
    // A row of the kernel is one piece, as memory lies.
    let in_weight: Vec<usize> = (0..kh).map(|ky| weight.row(ky * kw * n_in)).collect();
    let blocks = blocks(grid, n_in, n_out);
    let write = |idx: usize, span: Range<usize>, ys: &mut [T]| {
        let block = &blocks[idx];
        let frame = Frame::seen(grid, &block.rows, n_in);
        T::with_scratch(block.pictures.len() * frame.len(), |frames| {
            for (n, into) in block.pictures.clone().zip(frames.chunks_exact_mut(frame.len())) {
                frame.fill(into, grid.size, n_in, |row, to| {
                    xs.read((n * h + row) * wide, to, n_in);
                });
            }
            let begin = block.outputs(|n, row| {
                let first = n * frame.len() + corner(grid, &frame, row);
                (0..ow).map(move |col| first + col * grid.stride * n_in)
            });
            let begin: Vec<usize> = begin.into_iter().flatten().collect();
            let in_frame: Vec<usize> = (0..kh).map(|ky| ky * frame.row_len()).collect();
            let a = Left::scattered(frames, &begin, kw * n_in, &in_frame);
            let b = weight.right().pieces(kw * n_in, &in_weight);
            let last = last.map(|it| it.block(span.start * ow, span.len() * ow));
            multiply(a, b, ys, Rows::Apart(n_out), End::of(last));
        });
        wants_moments.then(|| Moments::of(ys, n_out))
    };
    let spans = blocks.iter().map(|it| it.span(&it.rows, oh)).collect();
    // SAFETY: `multiply` writes every number.
    let (ys, moments) = unsafe { overwrite_blocks(ow * n_out, spans, write) };
    (ys, Moments::join(moments.into_iter().flatten()))
}

/// The gradients of input and weight, and the sums that a norm before the input asks for.
fn backward<T: Real>(
    xs: &View<'_, T>,
    gs: &GradView<'_, T>,
    w: &[T],
    grid: &Grid,
    (wants_dx, wants_dw): (bool, bool),
) -> (Vec<T>, Vec<T>, Option<BackSums>) {
    let ([oh, ow], [kh, kw], [h, wide]) = (grid.out, grid.kernel, grid.size);
    let (n_in, n_out) = (xs.c, gs.c);
    let patch = kh * kw * n_in;
    // The weight of each tap lies as a piece of `n_out` rows.
    let n_rows = if wants_dx { kh * kw * n_out } else { 0 };
    let weight = Panels::of_rows(n_rows, n_in, |row| {
        let (tap, out) = (row / n_out, row % n_out);
        &w[out * patch + tap * n_in..][..n_in]
    });
    let all = blocks(grid, n_in, n_out);
    // Few parts of many blocks, since each part's dW costs a pass over it.
    let n_parts = ((1 << 20) / (n_out * patch)).clamp(4, 16);
    let parts: Vec<&[Block]> = all.chunks(all.len().div_ceil(n_parts).max(1)).collect();
    let span = |block: &Block| block.span(&grid.own(&block.rows), h);
    let write = |idx: usize, whole: Range<usize>, dx: &mut [T]| {
        let mut dw = if wants_dw { vec![T::ZERO; n_out * patch] } else { Vec::new() };
        let mut sums = xs.back_sums().filter(|_| wants_dx);
        for (idx, block) in parts[idx].iter().enumerate() {
            let (span, own) = (span(block), grid.own(&block.rows));
            let of_gs = Frame::seeing(grid, &block.rows, wants_dx.then_some(&own), n_out);
            let of_xs = Frame::seen(grid, &block.rows, n_in);
            let n_pictures = block.pictures.len();
            let width = if wants_dx { wide * n_in } else { 0 };
            let dx = &mut dx[(span.start - whole.start) * width..][..span.len() * width];
            T::with_scratch(n_pictures * of_gs.len(), |g_frames| {
                for (n, into) in block.pictures.clone().zip(g_frames.chunks_exact_mut(of_gs.len()))
                {
                    of_gs.fill(into, grid.out, n_out, |row, to| {
                        gs.read((n * oh + row) * ow, to, n_out);
                    });
                }
                if wants_dx {
                    input_gradient(grid, &own, (g_frames, &of_gs), &weight, n_in, dx);
                }
                let len = n_pictures * of_xs.len();
                // Registers may be read beyond the last number.
                T::with_scratch(if wants_dw { len + PAD } else { 0 }, |x_frames| {
                    let mut frames = x_frames.chunks_exact_mut(of_xs.len());
                    for (n, picture) in block.pictures.clone().enumerate() {
                        let rows = own.len() * width;
                        let way_back = WayBack {
                            picture,
                            own: own.clone(),
                            channels: 0..n_in,
                            dx: &mut dx[n * rows..][..rows],
                            sums: sums.as_mut(),
                        };
                        way_back.go(xs, grid, frames.next().map(|it| (&of_xs, it)));
                    }
                    if !wants_dw {
                        return;
                    }
                    let in_gs = block.outputs(|n, row| n * of_gs.len() + of_gs.at(row as isize, 0));
                    let end = if idx == 0 { End::Store } else { End::Add };
                    for ky in 0..kh {
                        let in_xs = block.outputs(|n, row| {
                            n * of_xs.len() + corner(grid, &of_xs, row) + ky * of_xs.row_len()
                        });
                        let a = Left::columns(g_frames, n_out, ow, n_out, &in_gs);
                        let b = Right::rows(x_frames, ow, kw * n_in, grid.stride * n_in);
                        let to = &mut dw[ky * kw * n_in..];
                        multiply(a, b.pieces(ow, &in_xs), to, Rows::Apart(patch), end);
                    }
                });
            });
        }
        (dw, sums)
    };
    let width = if wants_dx { wide * n_in } else { 0 };
    let spans = parts.iter().map(|it| span(&it[0]).start..span(&it[it.len() - 1]).end);
    // SAFETY: `input_gradient` writes every number.
    let (dx, parts) = unsafe { overwrite_blocks(width, spans.collect(), write) };
    let (dw, sums): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    (dx, total(dw), sums.into_iter().collect::<Option<Vec<_>>>().and_then(BackSums::join))
}

/// The gradients of input rows of the pictures whose results' gradients lie in frames.
///
/// Each [phase](phases) is one product.
fn input_gradient<T: Real>(
    grid: &Grid,
    own: &Range<usize>,
    (g_frames, frame): (&[T], &Frame),
    weight: &Panels<T>,
    n_in: usize,
    dx: &mut [T],
) {
    let (n_out, wide, kw, stride) = (frame.c, grid.size[1], grid.kernel[1], grid.stride);
    let n_pictures = g_frames.len() / frame.len();
    for (y, x) in phases(stride) {
        let (rows, cols) = (grid.seers(0, y), grid.seers(1, x));
        let taps = || rows.iter().flat_map(|row| cols.iter().map(move |col| (row, col)));
        // Pieces are counted from the output that sees a position and lies first of all.
        let first = |of: &[(usize, isize)]| of.iter().map(|it| it.1).min();
        let corner = first(&rows).zip(first(&cols));
        let (top, left) = corner.unwrap_or((0, 0));
        let piece = |(row, col): (&(usize, isize), &(usize, isize))| {
            (row.1 - top) as usize * frame.row_len() + (col.1 - left) as usize * n_out
        };
        let in_frame: Vec<usize> = taps().map(piece).collect();
        let in_weight: Vec<usize> =
            taps().map(|(row, col)| weight.row((row.0 * kw + col.0) * n_out)).collect();
        let (mut begin, mut to) = (Vec::new(), Vec::new());
        for n in 0..n_pictures {
            for row in own.clone().filter(|row| row % stride == y) {
                for col in (x..wide).step_by(stride) {
                    let at = |(top, left): (isize, isize)| {
                        let (row, col) = ((row / stride) as isize, (col / stride) as isize);
                        n * frame.len() + frame.at(row + top, col + left)
                    };
                    // What no output sees has no place in the frame, and pieces of nothing.
                    begin.push(corner.map_or(0, at));
                    to.push(((n * own.len() + row - own.start) * wide + col) * n_in);
                }
            }
        }
        let a = Left::scattered(g_frames, &begin, n_out, &in_frame);
        multiply(a, weight.right().pieces(n_out, &in_weight), dx, Rows::At(&to), End::Store);
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
        let ys = conv2d(&xs, &w, Window::square(3, 1, Padding::Symmetric), None)?;
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
                    conv2d(&it[0], &it[1], window, None)
                });
            }
        }
    }
}
