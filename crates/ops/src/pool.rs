//! Global average pooling: the mean of each channel over a whole feature map.

use std::ops::Range;

use candle::{Result, bail};

use crate::{
    Value,
    blocks::{overwrite, total},
    card,
    graph::Op,
    kernel::kernel,
    number::Number as _,
    profiler::{Event, Phase, record},
    prologue::View,
    real::{Real, by_dtype, tensor},
};

/// Averages `[n, h, w, c]` to `[n, c]`.
pub fn global_avg_pool(xs: &Value) -> Result<Value> {
    let &[n, h, w, c] = xs.dims() else {
        bail!("global_avg_pool: {:?} is not a feature map", xs.dims())
    };
    if let Some(card) = xs.card() {
        return card::global_avg_pool(card, xs);
    }
    let (area, slot, dims) = (h * w, xs.slot(), xs.dims().to_vec());
    let event = move |phase, flops: usize| Event {
        shape: format!("{h}x{w}x{c}"),
        flops,
        numbers: flops + n * c,
        ..Event::new("pooling", phase)
    };
    let _recording = record(|| event(Phase::Forward, n * h * w * c));
    let x = xs.raw()?;
    if let Some(means) = xs.means() {
        let ys = Value::constant(means.clone());
        return ys.recorded(&[xs], || Ok(Op::GlobalAvgPool));
    }
    let ys = by_dtype!("global_avg_pool", x, T => {
        let view = View::<T>::of(&x, xs.prologue())?;
        let share = T::of(1.0 / area as f64);
        let sums = per_image(&view, area, xs.is_on_tape(), |_, xs, sums| add_rows(xs, sums));
        tensor(sums.into_iter().map(|it| it * share).collect::<Vec<T>>(), &[n, c])
    })?;
    let ys = Value::record(&[xs], ys, move |grad, slots| {
        let _recording = record(|| event(Phase::Backward, n * c));
        slots.spread(slot, (grad.materialise()? / area as f64)?, &dims)
    })?;
    ys.recorded(&[xs], || Ok(Op::GlobalAvgPool))
}

/// Sums over the rows of each image, `[n, c]`: `add` gets a range of rows, their numbers, and the sums to
/// add to.
///
/// - `may_split`: whether large maps of small batches may be split, so that all cores have work. Then the bits of
///   an image's sums depend on the size of its batch, so at inference they may not.
pub(crate) fn per_image<T: Real>(
    xs: &View<'_, T>,
    area: usize,
    may_split: bool,
    add: impl Fn(Range<usize>, &[T], &mut [T]) + Sync,
) -> Vec<T> {
    let c = xs.c;
    let (n, tile) = (xs.n_rows / area, (64 * 1024 / c).clamp(1, area));
    let most = if may_split { 16_usize.div_ceil(n.max(1)) } else { 1 };
    let n_parts = most.min(area.div_ceil(tile));
    let part = area.div_ceil(n_parts);
    let sum = |idx: Range<usize>, _: &mut [T]| {
        let (image, idx) = (idx.start / n_parts, idx.start % n_parts);
        let rows = (idx * part).min(area)..((idx + 1) * part).min(area);
        let mut sums = vec![T::ZERO; c];
        for first in rows.clone().step_by(tile) {
            let many = tile.min(rows.end - first);
            let first = image * area + first;
            T::with_scratch(many * c, |values| {
                let values = match xs.plain(first, many) {
                    Some(it) => it,
                    None => {
                        xs.read(first, values, c);
                        values
                    }
                };
                add(first..first + many, values, &mut sums);
            });
        }
        sums
    };
    // SAFETY: the result is empty.
    let (_, parts) = unsafe { overwrite(n * n_parts, 0, 1, sum) };
    let mut parts = parts.into_iter();
    let images = (0..n).map(|_| total(parts.by_ref().take(n_parts)));
    images.collect::<Vec<_>>().concat()
}

kernel! {
    /// Adds rows to the sums of the columns.
    pub(crate) fn add_rows<F, T>(xs: &[T], sums: &mut [T]) {
        for row in xs.chunks_exact(sums.len()) {
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::check_close;

    use crate::{Value, check::check, global_avg_pool};

    #[test]
    fn is_the_mean_of_each_channel() -> Result<()> {
        let xs = Tensor::new(&[1f64, 10.0, 2.0, 20.0, 3.0, 30.0, 6.0, 60.0], &Device::Cpu)?;
        let ys = global_avg_pool(&Value::constant(xs.reshape((1, 2, 2, 2))?))?;
        assert_eq!(ys.dims(), [1, 2]);
        check_close(&ys.tensor()?, &[3.0, 30.0], 1e-12);
        Ok(())
    }

    #[test]
    fn gradient_is_correct() {
        check(&[&[2, 3, 2, 4]], |it| global_avg_pool(&it[0]));
    }
}
