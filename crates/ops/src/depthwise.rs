//! Depthwise convolution: one small kernel per channel, applied to that channel alone.
//!
//! y[n, i, j, c] = Σ_{u, v} x[n, i·s + u - p, j·s + v - p, c] · w[u, v, c].
//!
//! A block of rows is read into a padded [frame](crate::frame) in cache. The forward pass and the gradient
//! of the input use the same loop over different taps: each number of the result gathers its taps, eight
//! neighbours and one register of channels at a time.

mod gradients;
mod kernels;
mod tiles;

use std::ops::Range;

use candle::{Result, bail};
pub(crate) use gradients::Gradients;
use kernels::{Results, Taps, gather_rows, row_sums};
use tiles::parts;
pub(crate) use tiles::{groups, tiles};

use crate::{
    Epilogue, Moments, Value, Window,
    blocks::{Part, overwrite_blocks, overwrite_parts, total},
    card,
    epilogue::OnRows,
    frame::{Frame, PrologueBackward},
    graph::Op,
    matmul::{End, Left, Maps, Panels, Rows, multiply, padded},
    pool::add_rows,
    profiler::{Event, Phase, record},
    prologue::{BackwardSums, Grad, GradView, View},
    real::{Reading, Real, by_dtype, tensor},
    stream::streamed,
    target::Target,
    window::Grid,
};

/// Convolves each channel with its own kernel.
///
/// In training the result carries its [`Moments`], for the norm that follows.
///
/// - `xs`: `[n, h, w, c]`.
/// - `weight`: `[kh, kw, c]`.
/// - `then`: the epilogue, only if no gradient is required.
/// - returns: `[n, h', w', c]`.
pub fn depthwise(
    xs: &Value,
    weight: &Value,
    window: Window,
    then: Option<&Epilogue>,
) -> Result<Value> {
    if let Some(card) = Value::card_of(&[xs, weight]) {
        let c = weight.dims().last().copied().unwrap_or(1);
        let then = Epilogue::on_card(then, &card, &[xs, weight], c)?;
        return card::depthwise(&card, xs, weight, window, then);
    }
    let (x, k) = (xs.raw()?, weight.tensor()?);
    let (n, h, w, c) = x.dims4()?;
    let [kh, kw] = window.kernel;
    if k.dims() != [kh, kw, c] {
        bail!("depthwise: a weight of {:?} does not fit {kh}x{kw} on {c} channels", k.dims());
    }
    let grid = window.on(n, [h, w])?;
    let event = move |phase: Phase, numbers: usize, times: usize| Event {
        kind: format!("depthwise {kh}x{kw}"),
        shape: format!("{h}x{w}x{c}, stride {}", grid.stride),
        phase,
        flops: times * 2 * grid.n_out() * c * kh * kw,
        numbers,
    };
    let (n_in, n_out) = (n * h * w * c, grid.n_out() * c);
    let _recording = record(|| event(Phase::Forward, n_in + n_out, 1));
    let prologue = xs.prologue().cloned();
    let ys = by_dtype!("depthwise", x, T => {
        let source = Source::Stored(View::<T>::of(&x, prologue.as_ref())?);
        convolve(&source, &[xs], weight, &grid, then)
    })?;
    let (moments, means) = (ys.moments().cloned(), ys.means().cloned());
    let (x_slot, w_slot) = (xs.slot(), weight.slot());
    let ys = Value::record(&[xs, weight], ys.raw()?, move |grad, slots| {
        let _recording = record(|| {
            let (dx, dw) = (usize::from(x_slot.is_some()), usize::from(w_slot.is_some()));
            event(Phase::Backward, grad.reads() * n_out + (1 + dx) * n_in, dx + dw)
        });
        by_dtype!("depthwise", x, T => {
            let grad = Grad { tensor: grad.tensor.contiguous()?, ..grad };
            let gs = GradView::<T>::of(&grad)?;
            let view = View::<T>::of(&x, prologue.as_ref())?;
            let reading = Reading::of(&k);
            let needs = (x_slot.is_some(), w_slot.is_some());
            let (dx, dw, sums) = backward(&view, &gs, reading.slice()?, &grid, needs);
            slots.give(w_slot, || Ok(Grad::plain(tensor(dw, k.dims())?)))?;
            slots.give(x_slot, || {
                Ok(Grad::plain(tensor(dx, x.dims())?).summed(sums, &x, prologue.as_ref()))
            })
        })
    })?;
    let ys = ys
        .with_moments(moments)
        .with_means(means)
        .recorded(&[xs], || recorded_op(weight, &grid))?;
    Epilogue::recorded(then, ys)
}

/// The operation in the graph.
pub(crate) fn recorded_op(weight: &Value, grid: &Grid) -> Result<Op> {
    let weight = weight.weight()?.map(|it| it.permute((2, 0, 1))?.unsqueeze(3))?;
    let groups = weight.tensor.dims()[0];
    Ok(Op::Conv { weight, bias: None, sliding: grid.sliding(), groups })
}

/// The result of a forward pass, with its moments and means.
///
/// - `inputs`: the values that `source` reads.
pub(crate) fn convolve<T: Real>(
    source: &Source<'_, T>,
    inputs: &[&Value],
    weight: &Value,
    grid: &Grid,
    then: Option<&Epilogue>,
) -> Result<Value> {
    let c = weight.dims()[2];
    let dims = [grid.n, grid.out[0], grid.out[1], c];
    let inputs: Vec<&Value> = inputs.iter().copied().chain([weight]).collect();
    let last = Epilogue::ready::<T>(then, &inputs, None, &dims)?;
    let last = last.on_rows()?;
    let kernel = weight.tensor()?;
    let kernel = Reading::of(&kernel);
    let k = kernel.slice()?;
    let k = weight.packed(|| Ok(PaddedKernel(pad_kernel(k, c))))?;
    let made = forward(source, c, &k.0, grid, last.as_ref(), weight.is_on_tape());
    let share = T::of(1.0 / (grid.out[0] * grid.out[1]) as f64);
    let means = made.sums.map(|it| it.into_iter().map(|it| it * share).collect());
    let means = means.map(|it| tensor::<T>(it, &[grid.n, c])).transpose()?;
    let ys = Value::constant(tensor(made.ys, &dims)?);
    Ok(ys.with_moments(made.moments).with_means(means))
}

/// The kernel, with its channels padded.
struct PaddedKernel<T>(Vec<T>);

pub(crate) fn pad_kernel<T: Real>(k: &[T], c: usize) -> Vec<T> {
    let wide = padded(c);
    let mut all = vec![T::ZERO; k.len() / c * wide];
    for (to, from) in all.chunks_exact_mut(wide).zip(k.chunks_exact(c)) {
        to[..c].copy_from_slice(from);
    }
    all
}

fn forward<T: Real>(
    xs: &Source<'_, T>,
    c: usize,
    k: &[T],
    grid: &Grid,
    last: Option<&OnRows<'_, T>>,
    needs_moments: bool,
) -> Made<T> {
    let ([oh, ow], [kh, kw]) = (grid.out, grid.kernel);
    let wide = padded(c);
    let parts = if needs_moments { row_parts(grid, c) } else { parts(grid, c) };
    let write_part = |part: &Part, mut ys: Target<'_, T>| {
        let (image, first) = (part.rows.start / (oh * ow), part.rows.start / ow % oh);
        let rows = first..first + part.rows.len() / ow;
        let last = last.map(|it| it.block(part.rows.start, part.rows.len()));
        for group in groups(grid, part.cols.clone()) {
            let frame = Frame::receptive_field(grid, &rows, padded(group.len()));
            T::with_scratch(frame.len(), |from| {
                xs.fill(&frame, from, grid, image, group.clone());
                let top = (rows.start * grid.stride) as isize - grid.before[0] as isize;
                let left = -(grid.before[1] as isize);
                let tap = |ky: usize, kx: usize| {
                    let at = frame.at(top + ky as isize, left + kx as isize);
                    (at, (ky * kw + kx) * wide + group.start)
                };
                let taps: Vec<_> =
                    (0..kh).flat_map(|ky| (0..kw).map(move |kx| tap(ky, kx))).collect();
                let of = Results {
                    n_rows: rows.len(),
                    n_cols: ow,
                    from_row: grid.stride * frame.row_len(),
                    position: frame.c,
                    stride: grid.stride,
                    into_row: ow * c,
                    into_col: c,
                    last: last.map(|it| it.part(group.start, group.start)),
                };
                let into = ys.after(group.start - part.cols.start);
                let taps = Taps { all: &taps, per_row: kw };
                gather_rows(from, k, taps, of, into, group.len());
            });
        }
        // SAFETY: in training a part has all channels of its rows.
        let moments =
            needs_moments.then(|| Moments::of(unsafe { ys.slice(part.rows.len() * c) }, c));
        // With an epilogue, a pooling may follow, which would read the whole result again.
        let sums = last.map(|_| row_sums(ys, [rows.len(), ow], c, part.cols.len()));
        (moments, sums)
    };
    let n = grid.n * oh * ow * c;
    let write = |_, part: &Part, mut ys: Target<'_, T>| match part.cols.len() < c {
        true => write_part(part, ys),
        false => {
            // SAFETY: the part has all channels of its rows.
            let rows = unsafe { ys.slice(part.rows.len() * c) };
            streamed(n, rows, |it| write_part(part, it.into()))
        }
    };
    // SAFETY: `gather_rows` writes every number of the part, group by group.
    let (ys, made) = unsafe { overwrite_parts([grid.n * oh * ow, c], &parts, write) };
    let (moments, sums): (Vec<_>, Vec<_>) = made.into_iter().unzip();
    let sums = sums.into_iter().collect::<Option<Vec<_>>>().map(|of_parts| {
        // Row by row, so that they do not depend on the parts.
        let mut sums = vec![T::ZERO; grid.n * c];
        for (part, rows) in parts.iter().zip(&of_parts) {
            let first = part.rows.start / (oh * ow) * c;
            add_rows(rows, &mut sums[first..first + c][part.cols.clone()]);
        }
        sums
    });
    Made { ys, moments: Moments::join(moments.into_iter().flatten()), sums }
}

/// The parts in training: all channels of some rows, since moments are of whole rows.
fn row_parts(grid: &Grid, c: usize) -> Vec<Part> {
    let [oh, ow] = grid.out;
    let part = |(image, rows): (usize, Range<usize>)| Part {
        rows: (image * oh + rows.start) * ow..(image * oh + rows.end) * ow,
        cols: 0..c,
    };
    tiles(grid, c).into_iter().map(part).collect()
}

/// The input of a forward pass.
pub(crate) enum Source<'a, T> {
    Stored(View<'a, T>),
    /// Rows times a matrix, computed when they are read.
    Expanded {
        xs: View<'a, T>,
        weight: &'a Panels<T>,
        last: OnRows<'a, T>,
    },
}

impl<T: Real> Source<'_, T> {
    /// Fills a frame with some channels of an image.
    fn fill(
        &self,
        frame: &Frame,
        into: &mut [T],
        grid: &Grid,
        image: usize,
        channels: Range<usize>,
    ) {
        let ([h, w], n) = (grid.size, channels.len());
        match self {
            Source::Stored(xs) => frame.fill(into, grid.size, n, |row, to| {
                xs.read_channels((image * h + row) * w, channels.clone(), to, frame.c);
            }),
            Source::Expanded { xs, weight, last } => {
                frame.fill(into, grid.size, n, |_, _| {});
                let rows = frame.rows.start.max(0)..frame.rows.end.min(h as isize);
                let first = (image * h + rows.start as usize) * w;
                let many = rows.len() * w;
                let to = Rows::Maps(Maps {
                    first: frame.at(rows.start, 0),
                    apart: frame.c,
                    width: w,
                    line: frame.row_len(),
                    height: rows.len(),
                    map: 0,
                });
                let last = last.block(0, 0).part(channels.start, 0);
                let mut times = |xs: &[T], n_in: usize| {
                    let xs = Left::rows(xs, many, n_in, n_in);
                    multiply(
                        xs,
                        weight.columns(channels.clone()),
                        &mut *into,
                        to,
                        End::Epilogue(last),
                    );
                };
                match xs.plain(first, many) {
                    Some(values) => times(values, xs.c),
                    None => T::with_scratch(many * xs.c, |values| {
                        xs.read(first, values, xs.c);
                        times(values, xs.c);
                    }),
                }
            }
        }
    }
}

/// The results of a forward pass.
struct Made<T> {
    ys: Vec<T>,
    moments: Option<Moments>,
    /// Sums per channel and image.
    sums: Option<Vec<T>>,
}

/// The gradients of input and kernel, and the sums needed by a norm before the input.
fn backward<T: Real>(
    xs: &View<'_, T>,
    gs: &GradView<'_, T>,
    k: &[T],
    grid: &Grid,
    (needs_dx, needs_dw): (bool, bool),
) -> (Vec<T>, Vec<T>, Option<BackwardSums>) {
    let ([oh, ow], [kh, kw], [h, w]) = (grid.out, grid.kernel, grid.size);
    let c = xs.c;
    let (k, wide) = (pad_kernel(k, c), padded(c));
    let tiles = tiles(grid, c);
    let write_dx = |idx: usize, dx: &mut [T]| {
        let (image, rows) = tiles[idx].clone();
        let mut dw = if needs_dw { vec![T::ZERO; kh * kw * wide] } else { Vec::new() };
        let mut sums = xs.backward_sums().filter(|_| needs_dx);
        for group in groups(grid, 0..c) {
            let tile = Gradients::new(grid, &rows, (c, group.clone()), needs_dx);
            let Gradients { of_gs, of_xs, .. } = &tile;
            T::with_scratch(of_gs.len(), |g_frame| {
                of_gs.fill(g_frame, grid.out, group.len(), |row, to| {
                    gs.read_channels((image * oh + row) * ow, group.clone(), to, of_gs.c);
                });
                if needs_dx {
                    tile.of_input(g_frame, &k, &mut dx[group.start..], c);
                }
                let (own, channels, sums) = (tile.own.clone(), group.clone(), sums.as_mut());
                let prologue_backward =
                    PrologueBackward { image, own, channels, dx: &mut *dx, sums };
                if !needs_dw {
                    return prologue_backward.run(xs, grid, None);
                }
                T::with_scratch(of_xs.len(), |x_frame| {
                    prologue_backward.run(xs, grid, Some((of_xs, &mut *x_frame)));
                    tile.of_kernel(x_frame, g_frame, &mut dw);
                });
            });
        }
        (dw, sums)
    };
    let blocks = tiles.iter().map(|(n, rows)| {
        let own = grid.own(rows);
        n * h + own.start..n * h + own.end
    });
    let width = if needs_dx { w * c } else { 0 };
    let n = grid.n * h * width;
    let write = |idx, _, dx: &mut [T]| streamed(n, dx, |dx| write_dx(idx, dx));
    // SAFETY: the phases of a row cover all its columns, the groups cover all channels, and `gather_rows`
    // writes every number of them.
    let (dx, parts) = unsafe { overwrite_blocks(width, blocks.collect(), write) };
    let (dw, sums): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let dw = total(dw).chunks_exact(wide).map(|it| &it[..c]).collect::<Vec<_>>().concat();
    (dx, dw, sums.into_iter().collect::<Option<Vec<_>>>().and_then(BackwardSums::join))
}

#[cfg(test)]
mod tests;
