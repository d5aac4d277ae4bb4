//! The sum of two tensors, each read through its prologue.

use std::ops::Range;

use candle::{Result, Tensor};

use super::{deferred::Prologue, view::View};
use crate::{
    blocks::{add_to, overwrite, rows_per_block},
    number::Number as _,
    profiler::{Event, Phase, record},
    real::{by_dtype, tensor},
};

/// Adds two tensors of the same shape.
pub(crate) fn add(
    (x, x_prologue): (&Tensor, Option<&Prologue>),
    (y, y_prologue): (&Tensor, Option<&Prologue>),
) -> Result<Tensor> {
    let _recording = record(|| {
        let n = x.dims().iter().product();
        Event { flops: n, numbers: 3 * n, ..Event::new("add", Phase::Forward) }
    });
    let (x, y) = (x.contiguous()?, y.contiguous()?);
    by_dtype!("add", x, T => {
        let (a, b) = (View::<T>::of(&x, x_prologue)?, View::<T>::of(&y, y_prologue)?);
        let per_block = rows_per_block(a.n_rows, a.c);
        let write = |rows: Range<usize>, block: &mut [T]| {
            a.read(rows.start, block, a.c);
            match b.plain(rows.start, rows.len()) {
                Some(ys) => add_to(ys, block),
                None => T::with_scratch(block.len(), |ys| {
                    b.read(rows.start, ys, b.c);
                    add_to(ys, block);
                }),
            }
        };
        // SAFETY: `read` writes the whole block.
        let (total, _) = unsafe { overwrite(a.n_rows, a.c, per_block, write) };
        tensor(total, x.dims())
    })
}
