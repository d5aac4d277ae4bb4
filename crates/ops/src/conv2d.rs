//! Dense convolution, as matrix products over patches.
//!
//! y[n, i, j, o] = Σ_{u, v, c} x[n, i·s + u - p, j·s + v - p, c] · w[o, u, v, c].
//!
//! There is no im2col: a block of rows is read into a padded [frame](crate::frame) in cache, in which the
//! patch of an output consists of pieces, one per row of the kernel. The matrix product takes the offsets
//! of the patches, and the offsets of the pieces within a patch. The gradient of the input is the same
//! product, of the output gradient in a frame and the weight's taps.
//! 3x3 kernels of stride 1 need less than half of the multiplications, or a quarter: see [`winograd`].
//!
//! With groups, an output depends only on the channels of its own group: Krizhevsky et al., 2012; Xie et
//! al., "Aggregated Residual Transformations", 2017, <https://arxiv.org/abs/1611.05431>. Narrow
//! groups are merged, with zeros between them, until a product is efficient: see [`Groups`].

mod blocks;
mod groups;

use std::{ops::Range, sync::Arc};

use candle::{Result, bail};

use blocks::{Block, ENOUGH, blocks};
use groups::Groups;

use crate::{
    Epilogue, Moments, Value, Window,
    blocks::{Part, overwrite_blocks, overwrite_parts, total},
    card,
    epilogue::OnRows,
    frame::{Frame, PrologueBackward},
    graph::Op,
    matmul::{End, Layout, Left, Maps, PAD, Panels, Right, Rows, multiply, split},
    profiler::{Event, Phase, record},
    prologue::{BackwardSums, Grad, GradView, View},
    real::{Reading, Real, by_dtype, tensor},
    target::Target,
    window::{Grid, phases},
    winograd::{self, Side},
};

/// Convolves with a dense kernel.
///
/// In training the result carries its [`Moments`], for the norm that follows.
///
/// - `xs`: `[n, h, w, in]`.
/// - `weight`: `[out, kh, kw, in]`; with `g` groups `[out, kh, kw, in / g]`.
/// - `then`: the epilogue, only if no gradient is required.
/// - returns: `[n, h', w', out]`.
pub fn conv2d(
    xs: &Value,
    weight: &Value,
    window: Window,
    then: Option<&Epilogue>,
) -> Result<Value> {
    if let Some(card) = Value::card_of(&[xs, weight]) {
        let then = Epilogue::on_card(then, &card, &[xs, weight], weight.dims()[0])?;
        return card::conv2d(&card, xs, weight, window, then);
    }
    let (x, k) = (xs.raw()?, weight.tensor()?);
    let (n, h, w, n_in) = x.dims4()?;
    let [kh, kw] = window.kernel;
    let Some(groups) = Groups::of(weight.dims(), window.kernel, n_in) else {
        bail!("conv2d: a weight of {:?} does not fit {kh}x{kw} on {n_in} channels", weight.dims());
    };
    let (n_out, group_in) = (weight.dims()[0], groups.n_in);
    let grid = window.on(n, [h, w])?;
    let sides = groups.tiles(&grid);
    // Those that are executed.
    let flops = move |side: Option<Side>| match side {
        Some(side) => 2 * n * side.multiplications(grid.out) * group_in * n_out,
        None => 2 * grid.n_out() * group_in * n_out * kh * kw,
    };
    let event = move |phase: Phase, numbers: usize, (dx, dw): (usize, usize)| Event {
        kind: format!("{kh}x{kw}, {}", groups.kind(n_in)),
        shape: format!("{h}x{w}x{n_in} -> {n_out}, stride {}", grid.stride),
        phase,
        flops: dx * flops(sides.0) + dw * flops(sides.1),
        numbers: (dx + dw) * group_in * n_out * kh * kw + numbers,
    };
    let (all_in, all_out) = (n * h * w * n_in, grid.n_out() * n_out);
    let _recording = record(|| event(Phase::Forward, all_in + all_out, (1, 0)));
    let needs_moments = weight.is_on_tape();
    let prologue = xs.prologue().cloned();
    let (ys, moments) = by_dtype!("conv2d", x, T => {
        let dims = [n, grid.out[0], grid.out[1], n_out];
        let last = Epilogue::ready::<T>(then, &[xs, weight], None, &dims)?;
        let last = last.on_rows()?;
        let view = View::<T>::of(&x, prologue.as_ref())?;
        let k = Reading::of(&k);
        let w = k.slice()?;
        let weights = match sides.0 {
            Some(side) => {
                Weights::Tiled(winograd::Weights::forward(side, weight, w, [n_in, n_out])?)
            }
            None => Weights::Plain(weight.packed(|| Ok(plain_weights(&groups.join(w), groups)))?),
        };
        let (ys, moments) =
            forward(&view, (&weights, groups), &grid, last.as_ref(), n_out, needs_moments);
        Ok::<_, candle::Error>((tensor(ys, &dims)?, moments))
    })?;
    let (x_slot, w_slot) = (xs.slot(), weight.slot());
    let ys = Value::record(&[xs, weight], ys, move |grad, slots| {
        let _recording = record(|| {
            let (dx, dw) = (usize::from(x_slot.is_some()), usize::from(w_slot.is_some()));
            event(Phase::Backward, grad.reads() * all_out + (1 + dx) * all_in, (dx, dw))
        });
        by_dtype!("conv2d", x, T => {
            let grad = Grad { tensor: grad.tensor.contiguous()?, ..grad };
            let gs = GradView::<T>::of(&grad)?;
            let view = View::<T>::of(&x, prologue.as_ref())?;
            let reading = Reading::of(&k);
            let needs = (x_slot.is_some(), w_slot.is_some());
            let w = groups.join(reading.slice()?);
            let (dx, dw, sums) = backward(&view, &gs, (&w, groups), &grid, needs);
            slots.give(w_slot, || Ok(Grad::plain(tensor(groups.part(dw), k.dims())?)))?;
            slots.give(x_slot, || {
                Ok(Grad::plain(tensor(dx, x.dims())?).summed(sums, &x, prologue.as_ref()))
            })
        })
    })?;
    let conv = || {
        let (weight, sliding, groups) = (weight.weight()?, grid.sliding(), n_in / group_in);
        Ok(Op::Conv { weight, bias: None, sliding, groups })
    };
    Epilogue::recorded(then, ys.with_moments(moments).recorded(&[xs], conv)?)
}

/// The offset in a frame of the window of a row's first output.
fn corner(grid: &Grid, frame: &Frame, row: usize) -> usize {
    let top = (row * grid.stride) as isize - grid.before[0] as isize;
    frame.at(top, -(grid.before[1] as isize))
}

/// The weight as the forward pass reads it.
enum Weights<T> {
    Tiled(winograd::Weights<T>),
    /// Panels for each product.
    Plain(Arc<Vec<Panels<T>>>),
}

/// - `w`: the weight with its groups joined.
fn plain_weights<T: Real>(w: &[T], groups: Groups) -> Vec<Panels<T>> {
    let (n_products, _, product_out) = groups.products();
    let patch = w.len() / (n_products * product_out);
    let panels = |w: &[T]| Panels::of_columns(patch, product_out, w);
    w.chunks_exact(product_out * patch).map(panels).collect()
}

fn forward<T: Real>(
    xs: &View<'_, T>,
    (weights, groups): (&Weights<T>, Groups),
    grid: &Grid,
    last: Option<&OnRows<'_, T>>,
    n_out: usize,
    needs_moments: bool,
) -> (Vec<T>, Option<Moments>) {
    let ([oh, ow], [kh, kw], [h, wide]) = (grid.out, grid.kernel, grid.size);
    let n_in = xs.c;
    let (n_products, product_in, product_out) = groups.products();
    // A row of the kernel is one contiguous piece if an output depends on all channels.
    let (len, per_row) = if n_products == 1 { (kw * n_in, 1) } else { (product_in, kw) };
    let pieces = || (0..kh * per_row).map(|it| (it, it / per_row, it % per_row));
    let (side, _) = groups.tiles(grid);
    // At inference the channels of small maps are shared, so that the weight is not read for a few outputs.
    let blocks = blocks(grid, [n_in, n_out], side, if needs_moments { 1 } else { ENOUGH });
    let threads = rayon::current_num_threads();
    let n_parts = match side {
        _ if needs_moments => 1,
        // Each part transforms the whole patches.
        Some(_) => threads.div_ceil(blocks.len().max(1)),
        None => (4 * threads).div_ceil(blocks.len().max(1)),
    };
    let n_cols = match n_products {
        1 => split(n_out, n_parts),
        _ => product_out * n_products.div_ceil(n_parts),
    };
    let of_block = |block: &Block| {
        let Range { start, end } = block.span(&block.rows, oh);
        let cols = (0..n_out).step_by(n_cols).map(|first| first..(first + n_cols).min(n_out));
        cols.map(move |cols| Part { rows: start * ow..end * ow, cols }).collect::<Vec<_>>()
    };
    let parts: Vec<Part> = blocks.iter().flat_map(of_block).collect();
    let per_block = n_out.div_ceil(n_cols);
    let write = |idx: usize, part: &Part, mut ys: Target<'_, T>| {
        let (block, cols) = (&blocks[idx / per_block], part.cols.clone());
        let last = last.map(|it| it.block(part.rows.start, part.rows.len()));
        let of_part = |at: usize| last.map(|it| it.part(at, at));
        // Patches begin at these positions of a slice, and consist of pieces at these offsets.
        let multiply_patches = |ys: &mut Target<'_, T>,
                                weights: &[Panels<T>],
                                (from, begin): (&[T], Maps),
                                of: &[usize]| {
            let products = cols.start / product_out..cols.end.div_ceil(product_out);
            for (idx, weight) in products.clone().zip(&weights[products]) {
                let first = idx * product_out;
                let own = cols.start.max(first)..cols.end.min(first + product_out);
                let in_weight: Vec<usize> =
                    pieces().map(|(idx, ..)| weight.row(idx * len)).collect();
                let rows = (Rows::Maps(begin), part.rows.len());
                let a = Left::scattered(&from[idx * product_in..], rows, len, of);
                let b = weight.columns(own.start - first..own.end - first);
                let (b, last) = (b.pieces(len, &in_weight), of_part(own.start));
                let ys = ys.after(own.start - cols.start);
                multiply(a, b, ys, Rows::Apart(n_out), End::of(last));
            }
        };
        let begin = |first: usize, of_row: usize, map: usize| Maps {
            first,
            apart: grid.stride * n_in,
            width: ow,
            line: grid.stride * of_row,
            height: block.rows.len(),
            map,
        };
        let is_in_place = (grid.kernel, grid.before) == ([1, 1], [0, 0]);
        let stored = xs.plain(block.images.start * h * wide, block.images.len() * h * wide);
        match (weights, stored.filter(|_| is_in_place)) {
            (Weights::Plain(weights), Some(stored)) => {
                let row = wide * n_in;
                let begin = begin(block.rows.start * grid.stride * row, row, h * row);
                multiply_patches(&mut ys, weights, (stored, begin), &[0]);
            }
            _ => {
                let mut frame = Frame::receptive_field(grid, &block.rows, n_in);
                if let Some(side) = side {
                    frame = side.extend(frame, &block.rows, ow);
                }
                T::with_scratch(block.images.len() * frame.len(), |frames| {
                    for (n, into) in block.images.clone().zip(frames.chunks_exact_mut(frame.len()))
                    {
                        frame.fill(into, grid.size, n_in, |row, to| {
                            xs.read((n * h + row) * wide, to, n_in);
                        });
                    }
                    match weights {
                        Weights::Plain(weights) => {
                            let in_frame: Vec<usize> = pieces()
                                .map(|(_, ky, kx)| ky * frame.row_len() + kx * n_in)
                                .collect();
                            let first = corner(grid, &frame, block.rows.start);
                            let begin = begin(first, frame.row_len(), frame.len());
                            multiply_patches(&mut ys, weights, (&*frames, begin), &in_frame);
                        }
                        Weights::Tiled(weights) => {
                            let corner = grid.before.map(|it| -(it as isize));
                            let to = (ys.after(0), of_part(cols.start));
                            let rows = (&block.rows, ow);
                            weights.convolve((frames, &frame), rows, corner, cols.clone(), to);
                        }
                    }
                });
            }
        }
        // SAFETY: in training a part has all channels of its rows.
        needs_moments.then(|| Moments::of(unsafe { ys.slice(part.rows.len() * n_out) }, n_out))
    };
    // SAFETY: `multiply` and `convolve` write every number of the part.
    let (ys, moments) = unsafe { overwrite_parts([grid.n_out(), n_out], &parts, write) };
    (ys, Moments::join(moments.into_iter().flatten()))
}

/// The gradients of input and weight, and the sums needed by a norm before the input.
fn backward<T: Real>(
    xs: &View<'_, T>,
    gs: &GradView<'_, T>,
    (w, groups): (&[T], Groups),
    grid: &Grid,
    (needs_dx, needs_dw): (bool, bool),
) -> (Vec<T>, Vec<T>, Option<BackwardSums>) {
    let ([oh, ow], [kh, kw], [h, wide]) = (grid.out, grid.kernel, grid.size);
    let (n_in, n_out) = (xs.c, gs.c);
    let (n_products, product_in, product_out) = groups.products();
    let patch = kh * kw * product_in;
    // The weight of each tap is a piece of `product_out` rows.
    let panels = |of: usize| {
        Panels::of_rows(kh * kw * product_out, product_in, |row| {
            let (tap, out) = (row / product_out, row % product_out);
            &w[(of * product_out + out) * patch + tap * product_in..][..product_in]
        })
    };
    // The side of one is a multiple of the other's.
    let (side, side_of_dw) = groups.tiles(grid);
    let tiled = side.filter(|_| needs_dx);
    let tiled = tiled.map(|side| winograd::Weights::backward(side, w, [n_in, n_out]));
    let n_panels = if needs_dx && side.is_none() { n_products } else { 0 };
    let weights: Vec<Panels<T>> = (0..n_panels).map(panels).collect();
    let (len_of_piece, per_row) = if n_products == 1 { (kw * n_in, 1) } else { (product_in, kw) };
    let pieces = || (0..kh * per_row).map(|it| (it, it / per_row, it % per_row));
    let all = blocks(grid, [n_in, n_out], side, 1);
    let transformed = side_of_dw.map(|side| winograd::Gradients::new(side, [n_in, n_out]));
    let len_of_dw = transformed.as_ref().map_or(n_out * patch, winograd::Gradients::len);
    // Few parts of many blocks, since each part adds a pass over its dW.
    let n_parts = ((1 << 20) / len_of_dw).clamp(4, 16);
    let parts: Vec<&[Block]> = all.chunks(all.len().div_ceil(n_parts).max(1)).collect();
    let span = |block: &Block| block.span(&grid.own(&block.rows), h);
    let write = |idx: usize, whole: Range<usize>, dx: &mut [T]| {
        let mut dw = if needs_dw { vec![T::ZERO; len_of_dw] } else { Vec::new() };
        let mut sums = xs.backward_sums().filter(|_| needs_dx);
        for (idx, block) in parts[idx].iter().enumerate() {
            let (span, own) = (span(block), grid.own(&block.rows));
            let mut of_gs = Frame::of_gradients(grid, &block.rows, needs_dx.then_some(&own), n_out);
            let mut of_xs = Frame::receptive_field(grid, &block.rows, n_in);
            if let Some(side) = side {
                of_gs = side.extend(of_gs, &own, wide);
            }
            if let Some(side) = side_of_dw {
                of_xs = side.extend(of_xs, &block.rows, ow);
            }
            let n_images = block.images.len();
            let width = if needs_dx { wide * n_in } else { 0 };
            let dx = &mut dx[(span.start - whole.start) * width..][..span.len() * width];
            T::with_scratch(n_images * of_gs.len(), |g_frames| {
                for (n, into) in block.images.clone().zip(g_frames.chunks_exact_mut(of_gs.len())) {
                    of_gs.fill(into, grid.out, n_out, |row, to| {
                        gs.read((n * oh + row) * ow, to, n_out);
                    });
                }
                if let Some(weights) = &tiled {
                    let corner = grid.before.map(|it| it as isize - 2);
                    let (rows, to) = ((&own, wide), ((&mut *dx).into(), None));
                    weights.convolve((g_frames, &of_gs), rows, corner, 0..n_in, to);
                } else if needs_dx {
                    input_gradient(grid, &own, (g_frames, &of_gs), &weights, n_in, dx);
                }
                let len = n_images * of_xs.len();
                // Whole registers may be read beyond the last number.
                T::with_scratch(if needs_dw { len + PAD } else { 0 }, |x_frames| {
                    let mut frames = x_frames.chunks_exact_mut(of_xs.len());
                    for (n, image) in block.images.clone().enumerate() {
                        let rows = own.len() * width;
                        let prologue_backward = PrologueBackward {
                            image,
                            own: own.clone(),
                            channels: 0..n_in,
                            dx: &mut dx[n * rows..][..rows],
                            sums: sums.as_mut(),
                        };
                        prologue_backward.run(xs, grid, frames.next().map(|it| (&of_xs, it)));
                    }
                    if !needs_dw {
                        return;
                    }
                    if let Some(transformed) = &transformed {
                        let x_frames = (&x_frames[..len], &of_xs);
                        let corner = grid.before.map(|it| -(it as isize));
                        let (rows, sums) = ((&block.rows, ow), (&mut dw[..], idx == 0));
                        transformed.add(x_frames, (g_frames, &of_gs), rows, corner, sums);
                        return;
                    }
                    let in_gs = block.outputs(|n, row| n * of_gs.len() + of_gs.at(row as isize, 0));
                    let end = if idx == 0 { End::Store } else { End::Add };
                    let layout = Layout::rows(grid.stride * n_in);
                    for (idx, ky, kx) in pieces() {
                        let in_xs = block.outputs(|n, row| {
                            let tap = ky * of_xs.row_len() + kx * n_in;
                            n * of_xs.len() + corner(grid, &of_xs, row) + tap
                        });
                        for of in 0..n_products {
                            let a = Left::columns(
                                &g_frames[of * product_out..],
                                product_out,
                                ow,
                                n_out,
                                &in_gs,
                            );
                            let x_frames = &x_frames[of * product_in..];
                            let b = Right::new(x_frames, ow, len_of_piece, layout);
                            let to = &mut dw[of * product_out * patch + idx * len_of_piece..];
                            multiply(a, b.pieces(ow, &in_xs), to, Rows::Apart(patch), end);
                        }
                    }
                });
            });
        }
        match &transformed {
            Some(it) if needs_dw => (it.of_weight(&dw), sums),
            _ => (dw, sums),
        }
    };
    let width = if needs_dx { wide * n_in } else { 0 };
    let spans = parts.iter().map(|it| span(&it[0]).start..span(&it[it.len() - 1]).end);
    // SAFETY: `convolve` and `input_gradient` write every number.
    let (dx, parts) = unsafe { overwrite_blocks(width, spans.collect(), write) };
    let (dw, sums): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    (dx, total(dw), sums.into_iter().collect::<Option<Vec<_>>>().and_then(BackwardSums::join))
}

/// The gradients of input rows, from the output gradients in frames.
///
/// Each [phase](phases) is one product.
fn input_gradient<T: Real>(
    grid: &Grid,
    own: &Range<usize>,
    (g_frames, frame): (&[T], &Frame),
    weights: &[Panels<T>],
    n_in: usize,
    dx: &mut [T],
) {
    let (n_out, wide, kw, stride) = (frame.c, grid.size[1], grid.kernel[1], grid.stride);
    let n_images = g_frames.len() / frame.len();
    let (product_out, product_in) = (n_out / weights.len(), n_in / weights.len());
    for (y, x) in phases(stride) {
        let (rows, cols) = (grid.taps_of_phase(0, y), grid.taps_of_phase(1, x));
        let taps = || rows.iter().flat_map(|row| cols.iter().map(move |col| (row, col)));
        // Offsets of pieces are relative to the first output whose window contains the position.
        let first = |of: &[(usize, isize)]| of.iter().map(|it| it.1).min();
        let corner = first(&rows).zip(first(&cols));
        let (top, left) = corner.unwrap_or((0, 0));
        let piece = |(row, col): (&(usize, isize), &(usize, isize))| {
            (row.1 - top) as usize * frame.row_len() + (col.1 - left) as usize * n_out
        };
        let in_frame: Vec<usize> = taps().map(piece).collect();
        let in_weight: Vec<usize> =
            taps().map(|(row, col)| weights[0].row((row.0 * kw + col.0) * product_out)).collect();
        let (mut begin, mut to) = (Vec::new(), Vec::new());
        for n in 0..n_images {
            for row in own.clone().filter(|row| row % stride == y) {
                for col in (x..wide).step_by(stride) {
                    let at = |(top, left): (isize, isize)| {
                        let (row, col) = ((row / stride) as isize, (col / stride) as isize);
                        n * frame.len() + frame.at(row + top, col + left)
                    };
                    // A position that no window contains has no offset in the frame, and no pieces.
                    begin.push(corner.map_or(0, at));
                    to.push(((n * own.len() + row - own.start) * wide + col) * n_in);
                }
            }
        }
        for (of, weight) in weights.iter().enumerate() {
            let rows = (Rows::At(&begin), begin.len());
            let a = Left::scattered(&g_frames[of * product_out..], rows, product_out, &in_frame);
            let b = weight.right().pieces(product_out, &in_weight);
            multiply(a, b, &mut dx[of * product_in..], Rows::At(&to), End::Store);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::{check_close, numbers};

    use super::conv2d;
    use crate::{Padding, Value, Window, check::check};

    #[test]
    fn sums_over_the_window_and_the_channels() -> Result<()> {
        // A 2x2 map of two channels and a 3x3 kernel of ones: every window contains the whole map.
        let xs = Tensor::new(&[1f64, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0], &Device::Cpu)?;
        let xs = Value::constant(xs.reshape((1, 2, 2, 2))?);
        let w = Value::constant(Tensor::ones((1, 3, 3, 2), candle::DType::F64, &Device::Cpu)?);
        let ys = conv2d(&xs, &w, Window::square(3, 1, Padding::Symmetric), None)?;
        check_close(&ys.tensor()?, &[110.0; 4], 1e-12);
        Ok(())
    }

    /// They are read where they are, without a frame.
    #[test]
    fn a_kernel_of_one_position_skips_positions() -> Result<()> {
        let n_in = 40;
        let (all, k) = (numbers("x", 2 * 5 * 3 * n_in), numbers("k", 50 * 20));
        let at =
            |n: usize, row: usize, col: usize| &all[((n * 5 + row) * 3 + col) * n_in..][..n_in];
        let dot = |xs: &[f64], k: &[f64]| xs.iter().zip(k).map(|(x, k)| x * k).sum::<f64>();
        let mut want = Vec::new();
        for (n, row, col) in (0..2 * 3 * 2).map(|it| (it / 6, it / 2 % 3, it % 2)) {
            let groups = at(n, 2 * row, 2 * col).chunks_exact(20).zip(k.chunks_exact(25 * 20));
            want.extend(groups.flat_map(|(xs, k)| k.chunks_exact(20).map(move |k| dot(xs, k))));
        }
        let xs = Tensor::from_slice(&all, (2, 5, 3, n_in), &Device::Cpu)?;
        let k = Tensor::from_slice(&k, (50, 1, 1, 20), &Device::Cpu)?;
        let window = Window::square(1, 2, Padding::Symmetric);
        let ys = conv2d(&Value::constant(xs), &Value::constant(k), window, None)?;
        assert_eq!(ys.dims(), [2, 3, 2, 50]);
        check_close(&ys.tensor()?, &want, 1e-12);
        Ok(())
    }

    #[test]
    fn gradients_are_correct() {
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

    #[test]
    fn gradients_of_groups_are_correct() {
        // All groups in one product; in two; one each, with more outputs than inputs.
        for (n_in, n_out, per_group, kernel, stride) in
            [(6, 4, 3, 3, 1), (6, 4, 3, 3, 2), (40, 20, 2, 1, 2), (36, 18, 18, 3, 1)]
        {
            let window = Window::square(kernel, stride, Padding::Symmetric);
            check(&[&[1, 3, 2, n_in], &[n_out, kernel, kernel, per_group]], |it| {
                conv2d(&it[0], &it[1], window, None)
            });
        }
    }

    #[test]
    fn a_group_depends_only_on_its_own_channels() -> Result<()> {
        let xs = Tensor::new(&[1f64, 10.0, 100.0, 1000.0], &Device::Cpu)?.reshape((1, 1, 1, 4))?;
        let w = Value::constant(Tensor::ones((2, 3, 3, 2), candle::DType::F64, &Device::Cpu)?);
        let window = Window::square(3, 1, Padding::Symmetric);
        let ys = conv2d(&Value::constant(xs), &w, window, None)?;
        check_close(&ys.tensor()?, &[11.0, 1100.0], 1e-12);
        Ok(())
    }
}
