//! A 1x1 convolution, its batch norm and activation, and a depthwise convolution in training, fused: what is between
//! the two convolutions is never stored, neither in the forward pass nor in the backward pass.
//!
//! z = x Wᵀ, y = depthwise(act(scale·z + shift)), as at the start of an inverted residual block (Sandler et al.,
//! "MobileNetV2", 2018, <https://arxiv.org/abs/1801.04381>), where z has several times as many channels as x, and is
//! most of the memory of a training step. If it fits no cache, multiplying again takes no longer than storing and
//! reading z and its gradient. So both passes compute z row by row when a [frame](crate::frame) is filled.
//!
//! z is linear in x, so that its moments are those of x times W: see [`Covariance`]. And its gradient is
//! scale·d + slope·(z - μ) + at_mean (see [`Backward`]), where d is the gradient before the activation, and slope and
//! at_mean are known only when all of d is. The last two terms are linear in x as well: with C = Σ (x - x̄)ᵀ(x - x̄),
//!
//! dx = d·diag(scale)·W + (x - x̄)·Wᵀ·diag(slope)·W + at_mean·W,
//!
//! dW = diag(scale)·Σ dᵀx + diag(slope)·W·C + at_meanᵀ·Σ x.

use std::ops::Range;

use candle::{DType, Result, bail};

use crate::{
    Activation, RunningStatistics, Value, Window,
    batch_norm::{Backward, batch_norm_running, check_count},
    blocks::{add_to, overwrite_blocks, total},
    covariance::Covariance,
    depthwise::{self, Gradients, Source, convolve, groups, pad_kernel, tiles},
    epilogue::OnRows,
    isa::Isa,
    linear,
    matmul::{End, Layout, Left, PAD, Panels, Right, Rows, multiply, padded},
    moments::lines,
    profiler::{Event, Phase, record},
    prologue::{BackwardSums, Grad, GradView, Prologue, Step, View},
    real::{Reading, Real, by_dtype, cast, tensor},
    share::share,
    window::Grid,
};

/// A batch norm in training, and the activation after it.
pub struct BatchNorm<'a> {
    /// `[c]`.
    pub gamma: &'a Value,
    /// `[c]`.
    pub beta: &'a Value,
    /// Moved towards the statistics of the batch.
    pub running: RunningStatistics<'a>,
    /// Added to the variance.
    pub eps: f64,
    /// Applied to the result.
    pub activation: Activation,
}

/// A 1x1 convolution, its norm and activation, and a depthwise convolution, in training.
///
/// Where the result of the 1x1 convolution is large it is never stored, which depends on the shapes and the instruction
/// set alone.
///
/// - `xs`: `[n, h, w, in]`.
/// - `expand`: `[c, 1, 1, in]`, and its norm.
/// - `weight`: `[kh, kw, c]`.
/// - returns: `[n, h', w', c]`.
///
/// # Errors
/// Shapes that do not match; a batch with a single value per channel.
pub fn expand_norm_depthwise(
    xs: &Value,
    (expand, norm): (&Value, BatchNorm<'_>),
    weight: &Value,
    window: Window,
) -> Result<Value> {
    let inputs = [xs, expand, norm.gamma, norm.beta, weight];
    let is_on_host = Value::card_of(&inputs).is_none();
    let is_trained = inputs.iter().all(|it| it.is_on_tape());
    if is_on_host && is_trained && is_worth(xs.dims(), expand.dims()) {
        return fused(xs, (expand, norm), weight, window);
    }
    let BatchNorm { gamma, beta, running, eps, activation } = norm;
    let wide = linear(xs, expand, None, None)?;
    let wide = batch_norm_running(&wide, gamma, beta, running, eps, activation)?;
    depthwise::depthwise(&wide, weight, window, None)
}

/// Numbers of the result for one image, 1 MiB in `f32`: a batch of it fits no cache. Of one image, so that memory is
/// linear in the size of the batch.
const LARGE: usize = 256 * 1024;

/// Input channels for which multiplying again takes no longer than storing and reading.
const NARROW: usize = 24;

/// Whether the product of these shapes is not stored. With AVX2 multiplying again takes longer than memory.
fn is_worth(xs: &[usize], expand: &[usize]) -> bool {
    match (xs, expand) {
        _ if Isa::chosen() != Isa::Avx512 => false,
        (&[_, h, w, n_in], &[c, ..]) => h * w * c >= LARGE && n_in <= NARROW,
        _ => false,
    }
}

fn fused(
    xs: &Value,
    (expand, norm): (&Value, BatchNorm<'_>),
    weight: &Value,
    window: Window,
) -> Result<Value> {
    let (x, e, k) = (xs.raw()?, expand.tensor()?, weight.tensor()?);
    let (n, h, w, n_in) = x.dims4()?;
    let ([kh, kw], c) = (window.kernel, e.dims()[0]);
    if e.elem_count() != c * n_in || k.dims() != [kh, kw, c] {
        bail!(
            "expand_norm_depthwise: the shapes {:?}, {:?} and {:?} do not match",
            xs.dims(),
            e.dims(),
            k.dims()
        );
    }
    let (grid, n_rows) = (window.on(n, [h, w])?, n * h * w);
    check_count(&[n, h, w, c], n_rows)?;
    let event = move |phase, products: usize, times: usize, numbers: usize| Event {
        kind: format!("1x1 and depthwise {kh}x{kw}"),
        shape: format!("{h}x{w}x{n_in} -> {c}, stride {}", grid.stride),
        phase,
        flops: 2 * n_rows * n_in * (products * c + n_in) + times * 2 * grid.n_out() * c * kh * kw,
        numbers: numbers + c * n_in,
    };
    let (all_in, all_out) = (n_rows * n_in, grid.n_out() * c);
    let _recording = record(|| event(Phase::Forward, 1, 1, 2 * all_in + all_out));
    let BatchNorm { gamma, beta, running, eps, activation } = norm;
    let list = |it: &Value| it.raw()?.to_dtype(DType::F64)?.to_vec1::<f64>();
    let (gamma_numbers, beta_numbers) = (list(gamma)?, list(beta)?);
    let through = xs.prologue().cloned();
    let (ys, rows, between, inverse) = by_dtype!("expand_norm_depthwise", x, T => {
        let xs_view = View::<T>::of(&x, through.as_ref())?;
        let reading = Reading::of(&e);
        let e = reading.slice::<T>()?;
        let rows = Covariance::of(&xs_view);
        let moments = rows.moments(e);
        running.update(&moments)?;
        let (inverse, scale, shift) = lines(&gamma_numbers, &beta_numbers, &moments, eps);
        let line = (cast::<T>(&scale), cast::<T>(&shift));
        let last = OnRows::of_line(&line.0, &line.1, activation);
        let weights = Panels::of_columns(n_in, c, e);
        let source = Source::Expanded { xs: xs_view, weight: &weights, last };
        let ys = convolve(&source, &[xs, expand], weight, &grid, None)?;
        let (scale, shift, center) = (scale.into(), shift.into(), moments.mean.into());
        let between = Prologue { scale, shift, center, activation, gate: None };
        Ok::<_, candle::Error>((ys, rows, between, inverse))
    })?;
    let moments = ys.moments().cloned();
    let inputs = [xs, expand, gamma, beta, weight];
    let slots_of = inputs.map(Value::slot);
    let ys = Value::record(&inputs, ys.raw()?, move |grad, slots| {
        let numbers = (grad.reads() * grid.n_out() * c) + 4 * all_in;
        let _recording = record(|| event(Phase::Backward, 3, 2, numbers));
        let [x_slot, e_slot, gamma_slot, beta_slot, w_slot] = slots_of;
        by_dtype!("expand_norm_depthwise", x, T => {
            let grad = Grad { tensor: grad.tensor.contiguous()?, ..grad };
            let gs = GradView::<T>::of(&grad)?;
            let view = View::<T>::of(&x, through.as_ref())?;
            let (e_reading, k_reading) = (Reading::of(&e), Reading::of(&k));
            let weights = (e_reading.slice()?, k_reading.slice()?);
            let found = backward::<T>((&view, &rows), &gs, weights, (&between, &inverse), &grid);
            let vector = |xs: &[f64]| tensor(cast::<T>(xs), &[c]).map(Grad::plain);
            slots.give(w_slot, || Ok(Grad::plain(tensor(found.dw, k.dims())?)))?;
            slots.give(gamma_slot, || vector(&found.norm.d_gamma))?;
            slots.give(beta_slot, || vector(&found.norm.d_beta))?;
            slots.give(e_slot, || Ok(Grad::plain(tensor(found.de, e.dims())?)))?;
            slots.give(x_slot, || {
                let dx = Grad::plain(tensor(found.dx, x.dims())?);
                Ok(dx.summed(found.x_sums, &x, through.as_ref()))
            })
        })
    })?;
    Ok(ys.with_moments(moments))
}

/// Numbers of the input in a block: few enough that what is computed of them stays in a core's L2 cache.
const BLOCK: usize = 16 * 1024;

/// The gradients of all inputs.
struct Found<T> {
    dx: Vec<T>,
    /// The sums needed by a norm before the input.
    x_sums: Option<BackwardSums>,
    de: Vec<T>,
    norm: Backward,
    dw: Vec<T>,
}

/// What a tile adds to the sums over all positions.
struct Sums<T> {
    /// Of the kernel's taps, `[kh, kw, padded c]`.
    dw: Vec<T>,
    /// Σ xᵀd, `[in, c]`.
    xd: Vec<T>,
    /// Σ d and Σ d·(z - μ), `[2, c]`.
    norm: Vec<f64>,
}

fn backward<T: Real>(
    (xs, rows): (&View<'_, T>, &Covariance),
    gs: &GradView<'_, T>,
    (e, k): (&[T], &[T]),
    (between, inverse): (&Prologue, &[f64]),
    grid: &Grid,
) -> Found<T> {
    let (n_in, c, [h, w], [oh, ow]) = (xs.c, gs.c, grid.size, grid.out);
    let step = Step::<T>::of(between);
    let scaled: Vec<T> = e
        .chunks_exact(n_in)
        .zip(&step.scale)
        .flat_map(|(row, &scale)| row.iter().map(move |&it| it * scale))
        .collect();
    let tile = Tile {
        xs,
        gs,
        k: &pad_kernel(k, c),
        forward: &Panels::of_columns(n_in, c, e),
        back: &Panels::of_rows(c, n_in, |row| &scaled[row * n_in..][..n_in]),
        step: &step,
        last: OnRows::of_line(&step.scale, &step.shift, between.activation),
        grid,
    };
    let tiles = tiles(grid, c);
    let blocks = tiles.iter().map(|(image, rows)| {
        let own = grid.own(rows);
        image * h + own.start..image * h + own.end
    });
    let write = |idx: usize, _: Range<usize>, dx: &mut [T]| {
        let (image, rows) = &tiles[idx];
        tile.run(*image, rows, [oh, ow], dx)
    };
    // SAFETY: `run` writes every number of the tile's own rows.
    let (mut dx, parts) = unsafe { overwrite_blocks(w * n_in, blocks.collect(), write) };

    let (mut dw, mut xd) = (Vec::new(), Vec::new());
    let mut norm = vec![0.0; 2 * c];
    for part in parts {
        dw.push(part.dw);
        xd.push(part.xd);
        add_to(&part.norm, &mut norm);
    }
    let count = xs.n_rows as f64;
    let norm = Backward::of(&norm, inverse, &between.scale, count);
    let wide = padded(c);
    let dw = total(dw).chunks_exact(wide).map(|it| &it[..c]).collect::<Vec<_>>().concat();

    let xd = total(xd);
    let mut de = Vec::with_capacity(c * n_in);
    // Wᵀ·diag(slope)·W, and at_mean·W - x̄·Wᵀ·diag(slope)·W.
    let (mut turned, mut offset) = (vec![0.0; n_in * n_in], vec![0.0; n_in]);
    for (channel, row) in e.chunks_exact(n_in).enumerate() {
        let (slope, at_mean) = (norm.slope[channel], norm.at_mean[channel]);
        let row: Vec<f64> = row.iter().map(|it| it.to_f64()).collect();
        for (idx, &it) in row.iter().enumerate() {
            let of_row = |matrix: &[f64]| {
                let column = &matrix[idx * n_in..][..n_in];
                row.iter().zip(column).map(|(a, b)| a * b).sum::<f64>()
            };
            let own = between.scale[channel] * xd[idx * c + channel].to_f64();
            de.push(T::of(own + slope * of_row(&rows.sums) + at_mean * count * rows.mean[idx]));
            offset[idx] += at_mean * it;
            let to = &mut turned[idx * n_in..][..n_in];
            to.iter_mut().zip(&row).for_each(|(to, other)| *to += slope * it * other);
        }
    }
    for (row, mean) in turned.chunks_exact(n_in).zip(&rows.mean) {
        offset.iter_mut().zip(row).for_each(|(to, it)| *to -= mean * it);
    }
    let x_sums = add_terms_of_x(xs, &mut dx, &turned, &offset);
    Found { dx, x_sums, de, norm, dw }
}

/// Adds x·matrix + offset to the gradients of x, and runs the backward pass of its prologue.
///
/// - `matrix`: symmetric.
fn add_terms_of_x<T: Real>(
    xs: &View<'_, T>,
    dx: &mut [T],
    matrix: &[f64],
    offset: &[f64],
) -> Option<BackwardSums> {
    let n_in = xs.c;
    let matrix = Panels::of_columns(n_in, n_in, &cast::<T>(matrix));
    let (ones, offset) = (vec![T::ONE; n_in], cast::<T>(offset));
    let last = OnRows::of_line(&ones, &offset, Activation::None);
    let per_block = (BLOCK / n_in).min(xs.n_rows / 8).next_multiple_of(64);
    let add = |idx: usize, dx: &mut [T]| {
        let (first, n) = (idx * per_block, dx.len() / n_in);
        T::with_scratch(2 * dx.len(), |scratch| {
            let (values, terms) = scratch.split_at_mut(dx.len());
            xs.read(first, values, n_in);
            let (values, end) = (Left::rows(values, n, n_in, n_in), last.block(0, 0));
            multiply(values, matrix.right(), &mut *terms, Rows::Apart(n_in), End::Epilogue(end));
            add_to(terms, dx);
        });
        let mut sums = xs.backward_sums();
        if let Some(sums) = &mut sums {
            xs.backward_step((first, n), 0..n_in, dx, None, sums);
        }
        sums
    };
    let sums = share(dx.chunks_mut(per_block * n_in).collect(), add);
    sums.into_iter().collect::<Option<Vec<_>>>().and_then(BackwardSums::join)
}

/// The backward pass of one tile.
struct Tile<'a, T> {
    xs: &'a View<'a, T>,
    gs: &'a GradView<'a, T>,
    k: &'a [T],
    /// The weight of the 1x1 convolution, and its transpose, scaled by the norm.
    forward: &'a Panels<T>,
    back: &'a Panels<T>,
    step: &'a Step<T>,
    last: OnRows<'a, T>,
    grid: &'a Grid,
}

impl<T: Real> Tile<'_, T> {
    /// Writes d·diag(scale)·W of the tile's own rows to `dx`.
    fn run(
        &self,
        image: usize,
        rows: &Range<usize>,
        [oh, ow]: [usize; 2],
        dx: &mut [T],
    ) -> Sums<T> {
        let &Tile { xs, gs, grid, .. } = self;
        let (n_in, c, [h, w], [kh, kw]) = (xs.c, gs.c, grid.size, grid.kernel);
        let mut sums = Sums {
            dw: vec![T::ZERO; kh * kw * padded(c)],
            xd: vec![T::ZERO; n_in * c],
            norm: vec![0.0; 2 * c],
        };
        let of_all = Gradients::new(grid, rows, (c, 0..c), true);
        let (own, framed) = (of_all.own, of_all.of_xs.rows);
        // The rows that are framed and those whose gradients are computed.
        let framed = framed.start.max(0) as usize..framed.end.clamp(0, h as isize) as usize;
        let all = match own.is_empty() {
            true => framed,
            false => framed.start.min(own.start)..framed.end.max(own.end),
        };
        T::with_scratch(all.len() * w * n_in + PAD, |x_rows| {
            xs.read((image * h + all.start) * w, &mut x_rows[..all.len() * w * n_in], n_in);
            let line = |row: usize| &x_rows[(row - all.start) * w * n_in..];
            for group in groups(grid, 0..c) {
                let of = Gradients::new(grid, rows, (c, group.clone()), true);
                let (n, wide) = (group.len(), of.of_gs.c);
                T::with_scratch(own.len() * w * wide, |ds| {
                    T::with_scratch(of.of_gs.len(), |g_frame| {
                        of.of_gs.fill(g_frame, [oh, ow], n, |row, to| {
                            let first = (image * oh + row) * ow;
                            gs.read_channels(first, group.clone(), to, of.of_gs.c);
                        });
                        of.of_input(g_frame, self.k, ds, wide);
                        T::with_scratch(of.of_xs.len(), |x_frame| {
                            self.fill(&of, line, x_frame, (&mut *ds, &mut *dx), &mut sums);
                            of.of_kernel(x_frame, g_frame, &mut sums.dw);
                        });
                    });
                });
            }
        });
        sums
    }

    /// Fills the frame of the depthwise convolution's input. In each of the tile's own rows, whose gradients are `ds`,
    /// goes back through the activation and multiplies by the weight and by x.
    fn fill<'x>(
        &self,
        of: &Gradients<'_>,
        line: impl Fn(usize) -> &'x [T],
        x_frame: &mut [T],
        (ds, dx): (&mut [T], &mut [T]),
        sums: &mut Sums<T>,
    ) where
        T: 'x,
    {
        let (size, n, n_in, c) = (self.grid.size, of.channels.len(), self.xs.c, self.gs.c);
        // The stride of positions.
        let wide = of.of_gs.c;
        let (w, group) = (size[1], of.channels.clone());
        let times = |xs: &[T], to: &mut [T], end: End<'_, T>| {
            let (xs, weight) = (Left::rows(xs, w, n_in, n_in), self.forward);
            multiply(xs, weight.columns(group.clone()), to, Rows::Apart(wide), end);
        };
        let piece = [self.back.row(group.start)];
        let back = self.back.right().pieces(n, &piece);
        let end = if group.start == 0 { End::Store } else { End::Add };
        let mut step = |row: usize, values: Option<(&mut [T], Layout)>| {
            let (first, xs) = ((row - of.own.start) * w, line(row));
            let (ds, dx) = (&mut ds[first * wide..][..w * wide], &mut dx[first * n_in..]);
            T::with_scratch(w * wide, |zs| {
                times(xs, zs, End::Store);
                self.step.run(group.clone(), (zs, ds, wide), values, &mut sums.norm);
            });
            multiply(Left::rows(ds, w, n, wide), back, dx, Rows::Apart(n_in), end);
            let left = Left::columns(xs, n_in, w, n_in, &[0]);
            let right = Right::new(ds, w, n, Layout::rows(wide));
            multiply(left, right, &mut sums.xd[group.start..], Rows::Apart(c), End::Add);
        };
        let framed = &of.of_xs.rows;
        for row in of.own.clone().filter(|row| !framed.contains(&(*row as isize))) {
            step(row, None);
        }
        of.of_xs.fill(x_frame, size, n, |row, to| match of.own.contains(&row) {
            true => step(row, Some((to, Layout::rows(wide)))),
            false => {
                let last = self.last.block(0, 0).part(group.start, 0);
                times(line(row), to, End::Epilogue(last));
            }
        });
    }
}

#[cfg(test)]
mod tests;
