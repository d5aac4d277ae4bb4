//! Parallel work in blocks of rows, or in parts of rows and columns.
//!
//! Where partial sums are added, the partition depends on the shapes alone, so that the bits of every result are
//! independent of the number of threads. Parts whose numbers do not depend on each other may be as many as suit
//! the threads.

use std::ops::Range;

use crate::{kernel::kernel, real::Real, share::share, target::Target};

/// Elements that a block should touch: few enough to stay in a core's L2 cache.
const BLOCK_ELEMENTS: usize = 64 * 1024;

/// The number of rows of `width` elements in a block.
pub(crate) fn rows_per_block(n_rows: usize, width: usize) -> usize {
    // At least sixteen blocks if there are enough rows, so that small maps use all cores too.
    (BLOCK_ELEMENTS / width.max(1)).min(n_rows.div_ceil(16)).max(1)
}

/// A new vector of `n_rows` rows of `width` elements, filled in parallel.
///
/// `fill` gets the index of a block's first row, and the block, zeroed. Each block is zeroed just before
/// it is filled, so that the zeros cost cache traffic but no memory traffic.
pub(crate) fn build<T: Real>(
    n_rows: usize,
    width: usize,
    rows_per_block: usize,
    fill: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    let zero_and_fill = |rows: Range<usize>, block: &mut [T]| {
        block.fill(T::ZERO);
        fill(rows.start, block);
    };
    // SAFETY: every number of a block is written before it is read.
    unsafe { overwrite(n_rows, width, rows_per_block, zero_and_fill) }.0
}

/// A new vector of `n_rows` rows of `width` elements, written in parallel, and the return values of
/// `write`, in block order. A `width` of 0 gives an empty vector and visits all rows.
///
/// # Safety
/// `write` must write every number of a block, and read none before: the memory is uninitialised.
pub(crate) unsafe fn overwrite<T: Real, P: Send>(
    n_rows: usize,
    width: usize,
    rows_per_block: usize,
    write: impl Fn(Range<usize>, &mut [T]) -> P + Sync,
) -> (Vec<T>, Vec<P>) {
    let blocks = (0..n_rows).step_by(rows_per_block);
    let blocks = blocks.map(|first| first..(first + rows_per_block).min(n_rows)).collect();
    // SAFETY: guaranteed by the caller.
    unsafe { overwrite_blocks(width, blocks, |_, rows, block| write(rows, block)) }
}

/// Like [`overwrite`], with blocks of any sizes, of consecutive rows. `write` gets the index of the
/// block as well.
///
/// # Safety
/// Same as [`overwrite`].
pub(crate) unsafe fn overwrite_blocks<T: Real, P: Send>(
    width: usize,
    blocks: Vec<Range<usize>>,
    write: impl Fn(usize, Range<usize>, &mut [T]) -> P + Sync,
) -> (Vec<T>, Vec<P>) {
    let n = blocks.last().map_or(0, |it| it.end) * width;
    let mut built: Vec<T> = Vec::with_capacity(n);
    let mut spare = &mut built.spare_capacity_mut()[..n];
    let mut work = Vec::with_capacity(blocks.len());
    for rows in blocks {
        let (block, rest) = spare.split_at_mut(rows.len() * width);
        spare = rest;
        work.push((rows, block));
    }
    assert!(spare.is_empty(), "blocks that are not consecutive");
    let given = share(work, |idx, (rows, block): (Range<usize>, &mut [_])| {
        // SAFETY: the numbers have no invalid bits, and the caller promises that none is read
        // before it is written.
        let block: &mut [T] = unsafe { &mut *(std::ptr::from_mut(block) as *mut [T]) };
        write(idx, rows, block)
    });
    // SAFETY: the blocks cover all `n` numbers, and the caller promises that each was written.
    unsafe { built.set_len(n) };
    (built, given)
}

/// A part of a matrix: some columns of some rows.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) rows: Range<usize>,
    pub(crate) cols: Range<usize>,
}

impl Part {
    /// Splits all rows into blocks of `rows`, and those into blocks of `cols` columns.
    pub(crate) fn all([n_rows, n_cols]: [usize; 2], [rows, cols]: [usize; 2]) -> Vec<Part> {
        let pieces = |n: usize, of: usize| {
            (0..n).step_by(of.max(1)).map(move |first| first..(first + of.max(1)).min(n))
        };
        let of_rows = |rows: Range<usize>| {
            pieces(n_cols, cols).map(move |cols| Part { rows: rows.clone(), cols })
        };
        pieces(n_rows, rows).flat_map(of_rows).collect()
    }
}

/// Like [`overwrite`], with parts of rows and columns. `write` gets the index of a part, the part, and the numbers
/// from its first one on, of which it may access those of its part.
///
/// # Safety
/// The parts do not overlap, and cover all rows and columns; `write` must write every number of its part, and
/// access no other.
pub(crate) unsafe fn overwrite_parts<T: Real, P: Send>(
    [n_rows, width]: [usize; 2],
    parts: &[Part],
    write: impl Fn(usize, &Part, Target<'_, T>) -> P + Sync,
) -> (Vec<T>, Vec<P>) {
    let n = n_rows * width;
    let covered: usize = parts.iter().map(|it| it.rows.len() * it.cols.len()).sum();
    assert_eq!(covered, n, "parts that do not cover a result");
    let mut built: Vec<T> = Vec::with_capacity(n);
    let first = built.as_mut_ptr();
    let work = parts.iter().map(|it| {
        let at = it.rows.start * width + it.cols.start;
        assert!(it.rows.end <= n_rows && it.cols.end <= width, "a part beyond the result");
        // SAFETY: the vector has room for `n` numbers, and outlives the work; the caller promises that no two
        // parts have a number in common.
        (it, unsafe { Target::shared(first.add(at), n - at) })
    });
    let given = share(work.collect(), |idx, (part, to)| write(idx, part, to));
    // SAFETY: the caller promises that the parts cover all numbers, and that each was written.
    unsafe { built.set_len(n) };
    (built, given)
}

/// A new vector of `n` numbers, and the return value of `write`.
///
/// # Safety
/// Same as [`overwrite`].
pub(crate) unsafe fn written<T: Real, P>(
    n: usize,
    write: impl FnOnce(&mut [T]) -> P,
) -> (Vec<T>, P) {
    let mut built: Vec<T> = Vec::with_capacity(n);
    // SAFETY: the numbers have no invalid bits, and the caller promises that none is read before
    // it is written.
    let spare =
        unsafe { &mut *(std::ptr::from_mut(&mut built.spare_capacity_mut()[..n]) as *mut [T]) };
    let given = write(spare);
    // SAFETY: the caller promises that each was written.
    unsafe { built.set_len(n) };
    (built, given)
}

/// Elements of a sum of vectors that are added by one task.
const PIECE: usize = 4 * 1024;

/// The sum of vectors, added in order.
pub(crate) fn total<T: Real>(parts: impl IntoIterator<Item = Vec<T>>) -> Vec<T> {
    let mut parts = parts.into_iter();
    let mut sums = parts.next().unwrap_or_default();
    let rest: Vec<Vec<T>> = parts.collect();
    let add = |idx: usize, sums: &mut [T]| {
        for part in &rest {
            add_to(&part[idx * PIECE..], sums);
        }
    };
    share(sums.chunks_mut(PIECE).collect(), add);
    sums
}

/// The sum of vectors of `width` elements over blocks of rows, added in block order.
pub(crate) fn reduce<T: Real>(
    n_rows: usize,
    rows_per_block: usize,
    width: usize,
    partial: impl Fn(Range<usize>) -> Vec<T> + Sync,
) -> Vec<T> {
    let block = |idx: usize, ()| {
        let first = idx * rows_per_block;
        partial(first..(first + rows_per_block).min(n_rows))
    };
    let partials: Vec<Vec<T>> = share(vec![(); n_rows.div_ceil(rows_per_block)], block);
    if partials.is_empty() { vec![T::ZERO; width] } else { total(partials) }
}

kernel! {
    /// Adds each number to its sum.
    pub(crate) fn add_to<F, T>(xs: &[T], sums: &mut [T]) {
        for (sum, &x) in sums.iter_mut().zip(xs) {
            *sum += x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{build, reduce};

    #[test]
    fn blocks_cover_all_rows_once() {
        let rows = build::<f64>(7, 2, 3, |first, block| {
            for (idx, row) in block.chunks_mut(2).enumerate() {
                row.fill((first + idx) as f64);
            }
        });
        assert_eq!(rows, [0., 0., 1., 1., 2., 2., 3., 3., 4., 4., 5., 5., 6., 6.]);
    }

    #[test]
    fn the_last_block_may_be_short() {
        let sum = reduce::<f64>(7, 3, 1, |rows| vec![rows.map(|it| it as f64).sum::<f64>()]);
        assert_eq!(sum, [21.0]);
    }

    #[test]
    fn an_empty_sum_is_zero() {
        assert_eq!(reduce::<f64>(0, 3, 2, |_| unreachable!()), [0.0, 0.0]);
        assert!(build::<f32>(0, 4, 1, |_, _| unreachable!()).is_empty());
    }
}
