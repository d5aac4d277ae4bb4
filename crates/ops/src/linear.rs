//! y = x Wᵀ + b over the last dimension: a linear layer, and a 1x1 convolution, which in
//! channels-last layout is the same thing over `n·h·w` rows.

use std::ops::Range;

use candle::{Result, bail};

use crate::{
    Epilogue, Moments, Value,
    blocks::{Part, overwrite, overwrite_parts, total, written},
    card,
    epilogue::OnRows,
    graph::Op,
    matmul::{End, Layout, Left, Panels, Right, Rows, multiply, split},
    pool::add_rows,
    profiler::{Event, Phase, record},
    prologue::{BackwardSums, Grad, GradView, View},
    real::{Reading, Real, by_dtype, cast, tensor},
    target::Target,
};

/// Multiplies every row by a matrix.
///
/// Without a bias and in training the result carries its [`Moments`], for the norm that follows.
///
/// - `xs`: `[…, in]`.
/// - `weight`: `[out, in]`, or the shape of a 1x1 kernel, `[out, 1, 1, in]`.
/// - `bias`: `[out]`.
/// - `then`: the epilogue, only if no gradient is required.
/// - returns: `[…, out]`.
pub fn linear(
    xs: &Value,
    weight: &Value,
    bias: Option<&Value>,
    then: Option<&Epilogue>,
) -> Result<Value> {
    if let Some(card) = Value::card_of(&[xs, weight]) {
        let then = Epilogue::on_card(then, &card, &[xs, weight], weight.dims()[0])?;
        return card::linear(&card, xs, weight, bias, then);
    }
    let Some((&n_in, dims)) = xs.dims().split_last() else {
        bail!("linear: a scalar has no rows");
    };
    let n_dims = xs.dims().len();
    let (x, w) = (xs.raw()?, weight.tensor()?);
    let n_out = w.dims()[0];
    if w.elem_count() != n_out * n_in {
        bail!("linear: rows of {n_in} do not match a weight of {:?}", w.dims());
    }
    let n_rows = dims.iter().product::<usize>();
    let event = move |phase: Phase, numbers: usize, times: usize| Event {
        kind: kind(n_dims, n_in, n_out).to_owned(),
        shape: format!("{n_rows} x {n_in} -> {n_out}"),
        phase,
        flops: times * 2 * n_rows * n_in * n_out,
        numbers: times * n_in * n_out + n_rows * numbers,
    };
    let _recording = record(|| event(Phase::Forward, n_in + n_out, 1));
    let out_dims: Vec<usize> = dims.iter().copied().chain([n_out]).collect();
    let b = bias.map(Value::tensor).transpose()?;
    let needs_moments = bias.is_none() && weight.is_on_tape();
    let prologue = xs.prologue().cloned();
    let (ys, moments) = by_dtype!("linear", x, T => {
        let view = View::<T>::of(&x, prologue.as_ref())?;
        let (w, b) = (Reading::of(&w), b.as_ref().map(Reading::of));
        let b = b.as_ref().map(|it| it.slice::<T>()).transpose()?;
        let inputs: Vec<&Value> = [xs, weight].into_iter().chain(bias).collect();
        let last = Epilogue::ready(then, &inputs, b, &out_dims)?;
        let last = last.on_rows()?;
        let w = w.slice()?;
        let panels = weight.packed(|| Ok(Panels::of_columns(n_in, n_out, w)))?;
        let (ys, moments) = product(&view, &panels, last.as_ref(), n_out, needs_moments);
        Ok::<_, candle::Error>((tensor(ys, &out_dims)?, moments))
    })?;

    let (x_slot, w_slot) = (xs.slot(), weight.slot());
    let b_slot = bias.map(Value::slot);
    let inputs: Vec<&Value> = [xs, weight].into_iter().chain(bias).collect();
    let ys = Value::record(&inputs, ys, move |grad, slots| {
        let _recording = record(|| {
            let (dx, dw) = (usize::from(x_slot.is_some()), usize::from(w_slot.is_some()));
            event(Phase::Backward, grad.reads() * n_out + (1 + dx) * n_in, dx + dw)
        });
        by_dtype!("linear", x, T => {
            let grad = Grad { tensor: grad.tensor.contiguous()?, ..grad };
            let gs = GradView::<T>::of(&grad)?;
            if let Some(b_slot) = b_slot {
                slots.give(b_slot, || Ok(Grad::plain(tensor(column_sums(&gs), &[n_out])?)))?;
            }
            let view = View::<T>::of(&x, prologue.as_ref())?;
            let needs = Needs { dx: x_slot.is_some(), dw: w_slot.is_some() };
            let reading = Reading::of(&w);
            let found = backward(&view, &gs, reading.slice()?, needs);
            slots.give(w_slot, || Ok(Grad::plain(tensor(found.dw, w.dims())?)))?;
            slots.give(x_slot, || {
                let dx = Grad::plain(tensor(found.dx, x.dims())?);
                Ok(dx.summed(found.sums, &x, prologue.as_ref()))
            })
        })
    })?;
    let linear = || {
        let matrix = weight.weight()?.map(|it| it.reshape((n_out, n_in)))?;
        Ok(Op::Linear { weight: matrix, bias: bias.map(Value::weight).transpose()? })
    };
    Epilogue::recorded(then, ys.with_moments(moments).recorded(&[xs], linear)?)
}

/// The name of a product in the profile.
fn kind(n_dims: usize, n_in: usize, n_out: usize) -> &'static str {
    match (n_dims, n_out > n_in) {
        (..=2, _) => "linear",
        (_, true) => "1x1, expanding",
        (_, false) => "1x1, projecting",
    }
}

/// Numbers that a block may touch, so that it stays in a core's L2 cache.
const BLOCK: usize = 128 * 1024;

/// Rows whose contribution to a weight's gradient is added at once, so that the columns read by a strip
/// stay in a core's L1 cache.
const DEEP: usize = 128;

/// The number of rows per block, where each row reads and writes `width` numbers in total.
fn block_rows(n_rows: usize, width: usize) -> usize {
    // At least eight blocks, if there are enough rows.
    ((BLOCK / width).min(n_rows / 8) / 8 * 8).max(8)
}

/// The number of columns per part: all of them, unless so few rows have to be shared by all threads that each
/// block would read the whole weight for a few of them. Then all rows are in one part, and its columns, none
/// of which depends on another, are shared.
///
/// - `is_plain`: whether the rows are read where they are; if not, each part reads them through their prologue.
fn block_cols([n_rows, n_in, n_out]: [usize; 3], is_plain: bool) -> usize {
    let (few, n_parts) = if is_plain { (8 * FEW_ROWS, 8) } else { (4 * FEW_ROWS, 2) };
    if n_rows >= few || (n_rows + 20) * n_in * n_out < WORTH_SHARING {
        return n_out;
    }
    split(n_out, n_parts * rayon::current_num_threads())
}

/// The number of rows for which it pays to read a weight from the outer caches.
const FEW_ROWS: usize = 32;

/// Multiplications that take longer than handing a part of them to another thread. Reading a number of the weight
/// takes as long as twenty.
const WORTH_SHARING: usize = 1024 * 1024;

/// The product of all rows and a matrix, and the moments of its columns.
pub(crate) fn product<T: Real>(
    xs: &View<'_, T>,
    weight: &Panels<T>,
    last: Option<&OnRows<'_, T>>,
    n_out: usize,
    needs_moments: bool,
) -> (Vec<T>, Option<Moments>) {
    let (n_in, n_rows) = (xs.c, xs.n_rows);
    let cols = match needs_moments {
        true => n_out,
        false => block_cols([n_rows, n_in, n_out], xs.plain(0, n_rows).is_some()),
    };
    let rows = if cols < n_out { n_rows } else { block_rows(n_rows, n_in + n_out) };
    let write = |_, part: &Part, mut ys: Target<'_, T>| {
        let Part { rows, cols } = part;
        let last = last.map(|it| it.block(rows.start, rows.len()).part(cols.start, cols.start));
        // A part of all columns is followed by that of the next rows.
        let next = if cols.len() == n_out { xs.rows(rows.end, rows.len()) } else { &[] };
        let mut times = |xs: &[T]| {
            let (xs, ys) = (Left::rows(xs, rows.len(), n_in, n_in).before(next), ys.after(0));
            multiply(xs, weight.columns(cols.clone()), ys, Rows::Apart(n_out), End::of(last));
        };
        match xs.plain(rows.start, rows.len()) {
            Some(xs) => times(xs),
            None => T::with_scratch(rows.len() * n_in, |values| {
                xs.read(rows.start, values, n_in);
                times(values);
            }),
        }
        // SAFETY: the part has whole rows.
        needs_moments.then(|| Moments::of(unsafe { ys.slice(rows.len() * n_out) }, n_out))
    };
    let parts = Part::all([n_rows, n_out], [rows, cols]);
    // SAFETY: `multiply` writes every number of its part, and no other.
    let (ys, moments) = unsafe { overwrite_parts([n_rows, n_out], &parts, write) };
    (ys, Moments::join(moments.into_iter().flatten()))
}

#[derive(Clone, Copy)]
struct Needs {
    dx: bool,
    dw: bool,
}

struct Grads<T> {
    dx: Vec<T>,
    dw: Vec<T>,
    sums: Option<BackwardSums>,
}

/// dX = G W and dW = Gᵀ X, reading G and X once: block by block, in few partial sums of dW.
fn backward<T: Real>(xs: &View<'_, T>, gs: &GradView<'_, T>, w: &[T], needs: Needs) -> Grads<T> {
    let (n_in, n_out, n_rows) = (xs.c, gs.c, xs.n_rows);
    let weight = Panels::of_rows(n_out, n_in, |row| &w[row * n_in..][..n_in]);
    // Few parts of many rows, since each part adds a pass over its dW.
    let n_parts = ((1 << 20) / (n_in * n_out)).clamp(4, 16).min((n_rows / 192).max(2));
    let per_part = n_rows.div_ceil(n_parts).next_multiple_of(8);
    let per_block = per_part.div_ceil(per_part.div_ceil(DEEP)).next_multiple_of(8);
    let per_step = (BLOCK / (2 * n_in + n_out)).next_multiple_of(8);
    let write = |rows: Range<usize>, dx: &mut [T], dw: &mut [T]| {
        let mut sums = xs.backward_sums().filter(|_| needs.dx);
        for first in rows.clone().step_by(per_block) {
            let n = per_block.min(rows.end - first);
            let [next_gs, next_zs] = gs.rows(first + n, n);
            let layout = Layout::panels(n, n_in);
            let room = if needs.dw { n_in.next_multiple_of(layout.panel) * n } else { 0 };
            let mut block = |gs: &[T]| {
                T::with_scratch(room, |values| {
                    let steps = if needs.dx { 0..n } else { 0..0 };
                    for done in steps.step_by(per_step) {
                        let (from, n) = (first + done, per_step.min(n - done));
                        // What the step through the prologue reads of these rows, else of the next block.
                        let next = if sums.is_some() { xs.rows(from, n) } else { next_gs };
                        let gs = Left::rows(&gs[done * n_out..], n, n_out, n_out).before(next);
                        let dx = &mut dx[(from - rows.start) * n_in..][..n * n_in];
                        multiply(gs, weight.right(), &mut *dx, Rows::Apart(n_in), End::Store);
                        if let Some(sums) = &mut sums {
                            let values =
                                needs.dw.then(|| (&mut values[done * layout.row..], layout));
                            xs.backward_step((from, n), 0..n_in, dx, values, sums);
                        }
                    }
                    if needs.dw {
                        // Otherwise it was read by the backward pass of the prologue.
                        if sums.is_none() {
                            xs.read_laid(first, n, 0..n_in, values, layout);
                        }
                        let next = if sums.is_some() { next_gs } else { next_zs };
                        let gs = Left::columns(gs, n_out, n, n_out, &[0]).before(next);
                        let end = if first == rows.start { End::Store } else { End::Add };
                        let values = Right::new(values, n, n_in, layout);
                        multiply(gs, values, &mut *dw, Rows::Apart(n_in), end);
                    }
                });
            };
            match gs.plain(first, n) {
                Some(gs) => block(gs),
                None => T::with_scratch(n * n_out, |read| {
                    gs.read(first, read, n_out);
                    block(read);
                }),
            }
        }
        sums
    };
    let dw_len = if needs.dw { n_out * n_in } else { 0 };
    // SAFETY: `multiply` writes every number of each part's dW with its first block.
    let write =
        |rows: Range<usize>, dx: &mut [T]| unsafe { written(dw_len, |dw| write(rows, dx, dw)) };
    let width = if needs.dx { n_in } else { 0 };
    // SAFETY: `multiply` writes every number of each block.
    let (dx, parts) = unsafe { overwrite(n_rows, width, per_part, write) };
    let (dw, sums): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let sums = sums.into_iter().collect::<Option<Vec<_>>>().and_then(BackwardSums::join);
    Grads { dx, dw: total(dw), sums }
}

/// The sum of each column.
fn column_sums<T: Real>(gs: &GradView<'_, T>) -> Vec<T> {
    let part = |rows: Range<usize>, _: &mut [T]| {
        let mut sums = vec![T::ZERO; gs.c];
        T::with_scratch(rows.len() * gs.c, |read| {
            gs.read(rows.start, read, gs.c);
            add_rows(read, &mut sums);
        });
        sums
    };
    // SAFETY: the result is empty.
    let (_, parts) = unsafe { overwrite(gs.n_rows, 0, block_rows(gs.n_rows, gs.c), part) };
    if parts.is_empty() { cast(&vec![0.0; gs.c]) } else { total(parts) }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::check_close;

    use crate::{Value, check::check, linear};

    #[test]
    fn agrees_with_the_definition() -> Result<()> {
        let of = |xs: &[f64], dims: &[usize]| {
            Ok::<_, candle::Error>(Value::constant(Tensor::from_slice(xs, dims, &Device::Cpu)?))
        };
        let xs = of(&[1.0, 2.0, 3.0, 4.0], &[1, 2, 1, 2])?;
        let (w, b) = (of(&[1.0, 0.0, 0.5, -1.0, 2.0, 2.0], &[3, 2])?, of(&[0.0, 10.0, 0.0], &[3])?);
        let ys = linear(&xs, &w, Some(&b), None)?;
        assert_eq!(ys.dims(), [1, 2, 1, 3]);
        check_close(&ys.tensor()?, &[1.0, 8.5, 6.0, 3.0, 7.5, 14.0], 1e-12);
        Ok(())
    }

    #[test]
    fn gradients_are_correct() {
        check(&[&[2, 3, 1, 4], &[5, 4]], |it| linear(&it[0], &it[1], None, None));
        check(&[&[3, 4], &[2, 4], &[2]], |it| linear(&it[0], &it[1], Some(&it[2]), None));
    }
}
