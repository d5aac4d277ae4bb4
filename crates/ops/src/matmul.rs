//! Single-threaded matrix products: tiles of sums that stay in registers.
//!
//! C = A·B, where A is read number by number, each multiplied by a few registers of a row of B.
//! After Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008, without
//! the packing of A: the callers multiply blocks of rows that are already in cache.

mod layout;
mod panels;
mod rows;

use std::{hint::black_box, ops::Range};

pub(crate) use layout::{Layout, PAD, PANEL, padded, split};
pub(crate) use panels::{Panels, Right};
pub(crate) use rows::{Maps, Rows};

use crate::{
    epilogue::Last,
    isa::Isa,
    kernel::{lanes_kernel, unrolled},
    lanes::{Lanes, prefetch, prefetch_far},
    real::Real,
    target::Target,
};

/// The left matrix, in a slice.
///
/// The columns, which are summed over, may be in pieces of equal width, at the listed offsets from the
/// start of a row; the right matrix has a piece for each.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a, T> {
    data: &'a [T],
    n_rows: usize,
    n_cols: usize,
    rows: Rows<'a>,
    col_stride: usize,
    pieces: &'a [usize],
    /// What is read after the product.
    next: &'a [T],
}

impl<'a, T: Real> Left<'a, T> {
    /// Rows with a constant stride.
    pub(crate) fn rows(data: &'a [T], n_rows: usize, n_cols: usize, stride: usize) -> Left<'a, T> {
        Left::scattered(data, (Rows::Apart(stride), n_rows), n_cols, &[0])
    }

    /// Rows anywhere, in pieces of `n_cols`.
    pub(crate) fn scattered(
        data: &'a [T],
        (rows, n_rows): (Rows<'a>, usize),
        n_cols: usize,
        pieces: &'a [usize],
    ) -> Left<'a, T> {
        Left { data, n_rows, n_cols, rows, col_stride: 1, pieces, next: &[] }
    }

    /// The number of products that are added up.
    fn depth(&self) -> usize {
        self.n_cols * self.pieces.len()
    }

    /// Column-major: columns of `n_rows` contiguous numbers, `stride` apart, in pieces of `n_cols`.
    pub(crate) fn columns(
        data: &'a [T],
        n_rows: usize,
        n_cols: usize,
        stride: usize,
        pieces: &'a [usize],
    ) -> Left<'a, T> {
        let rows = (Rows::Apart(1), n_rows);
        Left { col_stride: stride, ..Left::scattered(data, rows, n_cols, pieces) }
    }

    /// With numbers that are read after the product: they are prefetched meanwhile.
    pub(crate) fn before(self, next: &'a [T]) -> Left<'a, T> {
        Left { next, ..self }
    }
}

/// What to do with a product.
#[derive(Clone, Copy)]
pub(crate) enum End<'a, T> {
    /// C = A·B.
    Store,
    /// C += A·B.
    Add,
    /// C = epilogue(A·B).
    Epilogue(Last<'a, T>),
}

impl<'a, T> End<'a, T> {
    pub(crate) fn of(last: Option<Last<'a, T>>) -> End<'a, T> {
        last.map_or(End::Store, End::Epilogue)
    }
}

/// Multiplies A·B into rows of `c`.
pub(crate) fn multiply<'c, T: Real>(
    a: Left<'_, T>,
    b: Right<'_, T>,
    c: impl Into<Target<'c, T>>,
    rows: Rows<'_>,
    end: End<'_, T>,
) {
    let mut c: Target<'c, T> = c.into();
    assert!(
        a.n_cols == b.n_rows && a.pieces.len() == b.pieces.len(),
        "matrix shapes that do not match"
    );
    let (n_rows, n_cols, depth) = (a.n_rows, b.n_cols, a.n_cols);
    if n_rows == 0 || n_cols == 0 {
        return;
    }
    let c_end = rows.furthest(n_rows) + n_cols;
    assert!(c_end <= c.len(), "no room for a result");
    if let End::Epilogue(it) = &end {
        assert!(it.fits(n_cols, c_end), "an epilogue of a different size");
    }
    if let (Some(a_piece), Some(b_piece)) = (a.pieces.iter().max(), b.pieces.iter().max()) {
        assert!(depth > 0, "empty pieces");
        let a_end = a.rows.furthest(n_rows) + (depth - 1) * a.col_stride + a_piece;
        let last = (n_cols - 1) / b.layout.panel * b.layout.panel;
        let b_end = b_piece + (depth - 1) * b.layout.row + b.layout.at(last);
        let b_end = b_end + padded(n_cols - last);
        assert!(a_end < a.data.len() && b_end <= b.data.len(), "a matrix ends early");
    }
    let at_once = at_once(n_rows, b.pieces.len() * depth * n_cols);
    // SAFETY: the last number that is read of `a` and of `b` (in whole registers, which divide the
    // padding) and the last that is written of `c` were just checked; nobody else accesses these of `c`.
    unsafe { tiles(Parts { a, b, c: c.as_mut_ptr(), rows, is_continued: false, end }, at_once) }
}

/// The number of rows of C that are computed through all strips before the next rows: all, strip by strip, where
/// the right matrix comes from memory, since each of its panels is then read once. Few where it stays in the L2
/// cache, so that C and the residual are accessed in long contiguous pieces, and A stays in the L1 cache.
///
/// - `right`: the numbers of the right matrix.
fn at_once(n_rows: usize, right: usize) -> usize {
    // On AVX2 nothing was gained.
    let is_few = Isa::chosen() == Isa::Avx512 && n_rows >= 4 * AT_ONCE && right <= IN_CACHE;
    if is_few { AT_ONCE } else { n_rows }
}

/// A multiple of the rows of every tile.
const AT_ONCE: usize = 24;

/// Numbers that stay in a core's L2 cache, beside a few rows.
const IN_CACHE: usize = 160 * 1024;

/// Rows of a panel that stay in a core's L2 cache, beside those that are prefetched.
const DEEP: usize = 2048;

#[derive(Clone, Copy)]
struct Parts<'a, T> {
    a: Left<'a, T>,
    b: Right<'a, T>,
    c: *mut T,
    rows: Rows<'a>,
    /// Whether C has the sums over the pieces before.
    is_continued: bool,
    end: End<'a, T>,
}

impl<'a, T> Parts<'a, T> {
    /// The part of the sums over one piece of the columns; the last one ends with the epilogue.
    fn piece(self, idx: usize) -> Parts<'a, T> {
        let is_last = idx + 1 == self.a.pieces.len();
        Parts {
            a: Left { pieces: &self.a.pieces[idx..=idx], ..self.a },
            b: Right { pieces: &self.b.pieces[idx..=idx], ..self.b },
            is_continued: idx > 0,
            end: if is_last { self.end } else { End::Store },
            ..self
        }
    }

    /// The share of what is read next that is prefetched with some rows of `width` columns from `col` on.
    fn next(&self, rows: &Range<usize>, col: usize, width: usize) -> &'a [T] {
        let (next, done) = (self.a.next, rows.start * self.b.n_cols + rows.len() * col);
        if next.is_empty() {
            return next;
        }
        let all = self.a.n_rows * self.b.n_cols;
        let at = |done: usize| next.len() * done.min(all) / all;
        &next[at(done)..at(done + rows.len() * width)]
    }
}

lanes_kernel! {
    /// Computes C tile by tile, down each strip of columns, `at_once` rows at a time.
    unsafe fn tiles(parts: Parts<'_, T>, at_once: usize) {
        let (n_rows, n_cols) = (parts.a.n_rows, parts.b.n_cols);
        for first in (0..n_rows).step_by(at_once) {
            let rows = first..n_rows.min(first + at_once);
            let mut col = 0;
            while col < n_cols {
                // Strips do not cross panels.
                let left = (n_cols - col).min(parts.b.layout.panel - col % parts.b.layout.panel);
                // Four registers are split into two strips of two, since a strip of one is bound by its loads.
                let vecs = match left.div_ceil(V::LANES) {
                    4 => 2,
                    n => n.min(VECS),
                };
                // SAFETY: guaranteed by the caller.
                unsafe {
                    match vecs {
                        3 if VECS >= 3 => strip::<T, V, ROWS, 3>(parts, rows.clone(), col),
                        2 => strip::<T, V, ROWS, 2>(parts, rows.clone(), col),
                        // Enough independent sums to hide latency.
                        _ => strip::<T, V, 12, 1>(parts, rows.clone(), col),
                    }
                }
                col += vecs * V::LANES;
            }
        }
    }
}

#[inline(always)]
unsafe fn strip<T: Real, V: Lanes<Number = T>, const ROWS: usize, const VECS: usize>(
    parts: Parts<'_, T>,
    rows: Range<usize>,
    col: usize,
) {
    let Parts { a, b, end, .. } = parts;
    let panel = b.layout.at(col);
    let is_once = b.layout.panel_stride > 0 && rows.len() == a.n_rows;
    // A deep panel is read piece by piece, each for all rows: it would not stay in the L2 cache.
    let is_deep = is_once && a.depth() > DEEP && !matches!(end, End::Add);
    let n = a.pieces.len().max(1);
    for first in (0..n).step_by(if is_deep { 1 } else { n }) {
        let parts = if is_deep { parts.piece(first) } else { parts };
        let depth = parts.a.depth();
        let steps = depth / UNROLLED;
        // Tile by tile, what is read next is prefetched: the next panel, if each is read only once.
        let (next, per_step) = if is_once {
            let after = b.pieces.get(first + 1).filter(|_| is_deep);
            let next = panel + after.copied().unwrap_or(b.layout.panel_stride);
            let stop = b.data.len().min(next + depth * b.layout.row);
            (&b.data[next.min(stop)..stop], AHEAD)
        } else if !has_many::<V>() {
            (&[][..], AHEAD)
        } else {
            let next = parts.next(&rows, col, VECS * V::LANES);
            let n_steps = rows.len().div_ceil(ROWS) * steps.max(1);
            (next, next.len().div_ceil(n_steps * LINE).min(MOST_AHEAD))
        };
        let mut next = next.chunks((steps * per_step * LINE).max(1));
        let mut row = rows.start;
        while row < rows.end {
            let ahead = next.next().map(|it| (it.as_ptr(), per_step));
            // SAFETY: guaranteed by the caller.
            unsafe {
                row += match rows.end - row {
                    1 => tile::<T, V, 1, VECS>(parts, row, col, ahead),
                    2 | 3 => tile::<T, V, 2, VECS>(parts, row, col, ahead),
                    left if left < ROWS => tile::<T, V, 4, VECS>(parts, row, col, ahead),
                    _ => tile::<T, V, ROWS, VECS>(parts, row, col, ahead),
                };
            }
        }
    }
}

/// Computes a tile of C, and returns its number of rows.
///
/// - `ahead`: numbers to prefetch, and how many lines in each unrolled step.
#[inline(always)]
unsafe fn tile<T: Real, V: Lanes<Number = T>, const ROWS: usize, const VECS: usize>(
    parts: Parts<'_, T>,
    row: usize,
    col: usize,
    ahead: Option<(*const T, usize)>,
) -> usize {
    let Parts { a, b, c, rows, is_continued, end } = parts;
    let n_cols = (VECS * V::LANES).min(b.n_cols - col);
    // SAFETY: guaranteed by the caller.
    unsafe {
        let at: [usize; ROWS] = rows.begins(row).map(|it| it + col);
        // Maps of results are frames, which a core has in its cache.
        let is_near = matches!(rows, Rows::Maps(_));
        let prefetch_row = |idx: usize| {
            let at = at[idx];
            for vec in 0..VECS {
                if !is_near {
                    prefetch(c.wrapping_add(at + vec * V::LANES));
                }
                if let End::Epilogue(it) = &end {
                    it.prefetch(at + vec * V::LANES);
                }
            }
        };
        let mut ahead = Ahead {
            next: ahead,
            every: a.pieces.len() * (a.n_cols / UNROLLED) / ROWS,
            wait: 0,
            rows: 0..ROWS,
        };
        if !has_many::<V>() || ahead.every == 0 {
            ahead.rows.by_ref().for_each(prefetch_row);
        }
        let mut sums = [[V::splat(T::ZERO); VECS]; ROWS];
        if is_continued {
            unrolled!(ROWS, row => {
                let from = c.add(at[row]);
                unrolled!(VECS, vec => {
                    let first = vec * V::LANES;
                    sums[row][vec] = V::load_some(from.add(first), n_cols - first);
                });
            });
        }
        let first_b = b.data.as_ptr().add(b.layout.at(col));
        let pieces = || a.pieces.iter().zip(b.pieces).map(|(&a, &b)| (a, first_b.wrapping_add(b)));
        if a.col_stride == 1 {
            // If the compiler knew the strides, it would recompute the addresses in every step.
            let a_rows: [usize; ROWS] = a.rows.begins(row);
            let a_rows = black_box(a_rows.map(|it| a.data.as_ptr().wrapping_add(it)));
            for (piece, b_rows) in pieces() {
                let a_rows = (a_rows.map(|it| it.wrapping_add(piece)), 1);
                let b_rows = (b_rows, b.layout.row);
                sums = add_tile(sums, a.n_cols, a_rows, b_rows, (&mut ahead, prefetch_row));
            }
        } else {
            let first_a = a.data.as_ptr().wrapping_add(a.rows.begin(row));
            for (piece, b_rows) in pieces() {
                let a_rows = std::array::from_fn(|idx| first_a.wrapping_add(piece + idx));
                let (a_rows, b_rows) = ((a_rows, a.col_stride), (b_rows, b.layout.row));
                sums = add_tile(sums, a.n_cols, a_rows, b_rows, (&mut ahead, prefetch_row));
            }
        }
        match &end {
            End::Epilogue(it) => {
                // A copy, which the epilogue reads from memory; the sums stay in registers.
                let mut copy = [[V::splat(T::ZERO); VECS]; ROWS];
                unrolled!(ROWS, row => {
                    unrolled!(VECS, vec => { copy[row][vec] = sums[row][vec]; });
                });
                it.store(&copy, c, &at, (col, n_cols), (V::LANES, V::LANES));
            }
            End::Add => store_tile::<T, V, ROWS, VECS, true>(sums, c, &at, n_cols),
            End::Store => store_tile::<T, V, ROWS, VECS, false>(sums, c, &at, n_cols),
        }
    }
    ROWS
}

/// Stores the sums of a tile, or adds them to what is there.
///
/// - `at`: the offset of each row in `c`.
#[inline(always)]
unsafe fn store_tile<
    T: Real,
    V: Lanes<Number = T>,
    const ROWS: usize,
    const VECS: usize,
    const ADDS: bool,
>(
    sums: [[V; VECS]; ROWS],
    c: *mut T,
    at: &[usize; ROWS],
    n_cols: usize,
) {
    let is_whole = n_cols == VECS * V::LANES;
    unrolled!(ROWS, row => {
        unrolled!(VECS, vec => {
            // SAFETY: guaranteed by the caller; at least one number, since a strip is no wider than its columns.
            unsafe {
                let to = c.add(at[row] + vec * V::LANES);
                let some = if is_whole { V::LANES } else { n_cols - vec * V::LANES };
                let mut sum = sums[row][vec];
                if ADDS {
                    sum = sum.mul_add(V::splat(T::ONE), V::load_some(to, some));
                }
                sum.store_some(to, some);
            }
        });
    });
}

/// What a tile prefetches while it multiplies, a little at a time: a processor waits for few lines at once.
struct Ahead<T> {
    /// What is read next, and its lines in each unrolled step.
    next: Option<(*const T, usize)>,
    /// The rows of C, and of the residual, one in as many unrolled steps.
    rows: Range<usize>,
    every: usize,
    /// The unrolled steps until the next row.
    wait: usize,
}

/// Whether there are registers beside those of a tile. With the sixteen of AVX2 whatever is counted or copied while
/// a tile multiplies is in memory.
const fn has_many<V: Lanes>() -> bool {
    V::LANES * size_of::<V::Number>() >= 64
}

/// Adds the products of `depth` columns and rows to the sums of a tile, which stay in registers, and prefetches what
/// is ahead.
#[inline(always)]
unsafe fn add_tile<T: Real, V: Lanes<Number = T>, const ROWS: usize, const VECS: usize>(
    mut tile: [[V; VECS]; ROWS],
    depth: usize,
    (a, a_step): ([*const T; ROWS], usize),
    (mut b, b_step): (*const T, usize),
    (ahead, prefetch_row): (&mut Ahead<T>, impl Fn(usize)),
) -> [[V; VECS]; ROWS] {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut at = 0;
        // Not a closure: one that is not inlined is not compiled for the instruction set, and each of its
        // products becomes a call.
        macro_rules! step {
            () => {{
                let mut bs = [V::splat(T::ZERO); VECS];
                for (vec, b_vec) in bs.iter_mut().enumerate() {
                    *b_vec = V::load(b.add(vec * V::LANES));
                }
                for (sums, a) in tile.iter_mut().zip(&a) {
                    let a = V::splat(*a.add(at));
                    for (sum, b) in sums.iter_mut().zip(&bs) {
                        *sum = a.mul_add(*b, *sum);
                    }
                }
                at += a_step;
                b = b.wrapping_add(b_step);
            }};
        }
        for _ in 0..depth / UNROLLED {
            if has_many::<V>() && !ahead.rows.is_empty() {
                if ahead.wait == 0 {
                    ahead.rows.next().into_iter().for_each(&prefetch_row);
                    ahead.wait = ahead.every;
                }
                ahead.wait -= 1;
            }
            if let Some((next, per_step)) = &mut ahead.next {
                for _ in 0..if has_many::<V>() { *per_step } else { AHEAD } {
                    prefetch_far(*next);
                    *next = next.wrapping_add(LINE);
                }
            }
            for _ in 0..UNROLLED {
                step!();
            }
        }
        for _ in 0..depth % UNROLLED {
            step!();
        }
    }
    tile
}

/// Unrolled steps of a tile.
const UNROLLED: usize = 4;

/// Cache lines that are prefetched in as many steps: with six tiles of 8 rows, as many as a panel has.
const AHEAD: usize = 2;

/// Lines that are prefetched in as many steps at most: more would wait for each other.
const MOST_AHEAD: usize = 6;

/// Numbers of a cache line in `f32`.
const LINE: usize = 16;

#[cfg(test)]
mod tests;
