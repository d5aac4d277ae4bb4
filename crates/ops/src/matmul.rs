//! Matrix products of one thread: tiles of sums that stay in registers.
//!
//! C = A·B, where A is read number by number, each multiplied with a few registers of a row of B.
//! After Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008, without
//! their packing of A: our callers multiply blocks of rows that are in cache already.

use crate::{
    lanes::{Lanes, lanes_kernel},
    real::Real,
};

/// Rows of a right matrix are read in whole registers, so their length is a multiple of this.
pub(crate) const PAD: usize = 16;

/// Columns of a right matrix that lie together.
const PANEL: usize = 48;

/// The next multiple of [`PAD`].
pub(crate) fn padded(n: usize) -> usize {
    n.next_multiple_of(PAD)
}

/// The left matrix, somewhere in a slice.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a, T> {
    data: &'a [T],
    n_rows: usize,
    n_cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Real> Left<'a, T> {
    /// Rows that begin `stride` apart.
    pub(crate) fn rows(data: &'a [T], n_rows: usize, n_cols: usize, stride: usize) -> Left<'a, T> {
        Left { data, n_rows, n_cols, row_stride: stride, col_stride: 1 }
    }

    /// The transpose, without moving anything.
    pub(crate) fn t(self) -> Left<'a, T> {
        Left {
            n_rows: self.n_cols,
            n_cols: self.n_rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// The right matrix: rows in panels of columns, padded with zeros.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a, T> {
    data: &'a [T],
    n_rows: usize,
    n_cols: usize,
    row_stride: usize,
    /// From one panel of [`PANEL`] columns to the next.
    panel_stride: usize,
}

impl<'a, T: Real> Right<'a, T> {
    /// Rows that begin `stride` apart, where `stride` is padded and the padding holds numbers.
    pub(crate) fn rows(data: &'a [T], n_rows: usize, n_cols: usize, stride: usize) -> Right<'a, T> {
        assert!(stride.is_multiple_of(PAD) && n_cols <= stride, "rows without padding");
        Right { data, n_rows, n_cols, row_stride: stride, panel_stride: PANEL }
    }
}

/// A right matrix that is used many times, laid out so that each panel is read in one go.
pub(crate) struct Panels<T> {
    data: Vec<T>,
    n_rows: usize,
    n_cols: usize,
}

impl<T: Real> Panels<T> {
    /// From the numbers (row, col) of a matrix.
    pub(crate) fn new(n_rows: usize, n_cols: usize, at: impl Fn(usize, usize) -> T) -> Panels<T> {
        let n_panels = n_cols.div_ceil(PANEL);
        let mut data = vec![T::ZERO; n_panels * n_rows * PANEL];
        for (panel, data) in data.chunks_exact_mut((n_rows * PANEL).max(1)).enumerate() {
            let first = panel * PANEL;
            for (row, data) in data.chunks_exact_mut(PANEL).enumerate() {
                for (col, to) in (first..n_cols).zip(data) {
                    *to = at(row, col);
                }
            }
        }
        Panels { data, n_rows, n_cols }
    }

    pub(crate) fn right(&self) -> Right<'_, T> {
        let Panels { data, n_rows, n_cols } = self;
        let panel_stride = n_rows * PANEL;
        Right { data, n_rows: *n_rows, n_cols: *n_cols, row_stride: PANEL, panel_stride }
    }
}

/// C = A·B, or with `onto` C += A·B; the rows of `c` begin `stride` apart.
pub(crate) fn multiply<T: Real>(
    a: Left<'_, T>,
    b: Right<'_, T>,
    c: &mut [T],
    stride: usize,
    onto: bool,
) {
    assert_eq!(a.n_cols, b.n_rows, "matrices that do not fit");
    let (n_rows, n_cols, depth) = (a.n_rows, b.n_cols, a.n_cols);
    if n_rows == 0 || n_cols == 0 {
        return;
    }
    assert!(n_cols <= stride && c.len() >= (n_rows - 1) * stride + n_cols, "no room for a result");
    if depth == 0 {
        if !onto {
            c.chunks_mut(stride).take(n_rows).for_each(|row| row[..n_cols].fill(T::ZERO));
        }
        return;
    }
    let a_end = (n_rows - 1) * a.row_stride + (depth - 1) * a.col_stride;
    let b_panel = (n_cols - 1) / PANEL;
    let b_end = b_panel * b.panel_stride + (depth - 1) * b.row_stride;
    let b_end = b_end + padded(n_cols - b_panel * PANEL);
    assert!(a_end < a.data.len() && b_end <= b.data.len(), "a matrix ends early");
    let parts = Parts {
        a: a.data.as_ptr(),
        a_row: a.row_stride,
        a_col: a.col_stride,
        b: b.data.as_ptr(),
        b_row: b.row_stride,
        b_panel: b.panel_stride,
        c: c.as_mut_ptr(),
        c_row: stride,
        n_rows,
        n_cols,
        depth,
        onto,
    };
    // SAFETY: the last number that is read of `a` and of `b` (in whole registers, which divide the
    // padding) and the last that is written of `c` were just checked; `c` is borrowed mutably.
    unsafe { tiles(parts) }
}

#[derive(Clone, Copy)]
struct Parts<T> {
    a: *const T,
    a_row: usize,
    a_col: usize,
    b: *const T,
    b_row: usize,
    b_panel: usize,
    c: *mut T,
    c_row: usize,
    n_rows: usize,
    n_cols: usize,
    depth: usize,
    onto: bool,
}

lanes_kernel! {
    /// Goes through C tile by tile, down each strip of columns.
    unsafe fn tiles(parts: Parts<T>) {
        let mut col = 0;
        while col < parts.n_cols {
            // Strips do not cross panels, whose width is a multiple of every strip's.
            let vecs = (parts.n_cols - col).div_ceil(V::LANES).min(VECS);
            // SAFETY: the caller's.
            unsafe {
                match vecs {
                    3 if VECS >= 3 => strip::<T, V, ROWS, 3>(parts, col),
                    2 => strip::<T, V, ROWS, 2>(parts, col),
                    _ => strip::<T, V, ROWS, 1>(parts, col),
                }
            }
            col += vecs * V::LANES;
        }
    }
}

#[inline(always)]
unsafe fn strip<T: Real, V: Lanes<Number = T>, const ROWS: usize, const VECS: usize>(
    parts: Parts<T>,
    col: usize,
) {
    let Parts { a, b, c, .. } = parts;
    let width = VECS * V::LANES;
    let n_cols = width.min(parts.n_cols - col);
    // SAFETY: the caller's.
    unsafe {
        let b = b.add(col / PANEL * parts.b_panel + col % PANEL);
        for row in (0..parts.n_rows).step_by(ROWS) {
            let n_rows = ROWS.min(parts.n_rows - row);
            // Rows that are not there are read as the last one, and not written.
            let a: [*const T; ROWS] =
                std::array::from_fn(|idx| a.add((row + idx.min(n_rows - 1)) * parts.a_row));
            let mut sums = tile::<T, V, ROWS, VECS>(parts, a, b);
            let c = c.add(row * parts.c_row + col);
            for (idx, sums) in sums.iter_mut().enumerate().take(n_rows) {
                for (vec, sum) in sums.iter_mut().enumerate() {
                    let to = c.add(idx * parts.c_row + vec * V::LANES);
                    // At least one: a strip is only as wide as it has columns.
                    let some = n_cols - vec * V::LANES;
                    if parts.onto {
                        *sum = sum.mul_add(V::splat(T::ONE), V::load_some(to, some));
                    }
                    sum.store_some(to, some);
                }
            }
        }
    }
}

/// The sums of one tile.
#[inline(always)]
unsafe fn tile<T: Real, V: Lanes<Number = T>, const ROWS: usize, const VECS: usize>(
    parts: Parts<T>,
    a: [*const T; ROWS],
    b: *const T,
) -> [[V; VECS]; ROWS] {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[V::splat(T::ZERO); VECS]; ROWS];
        let (mut at, mut b) = (0, b);
        for _ in 0..parts.depth {
            let bs: [V; VECS] = std::array::from_fn(|vec| V::load(b.add(vec * V::LANES)));
            for (sums, a) in sums.iter_mut().zip(a) {
                let a = V::splat(*a.add(at));
                for (sum, b) in sums.iter_mut().zip(bs) {
                    *sum = a.mul_add(b, *sum);
                }
            }
            at += parts.a_col;
            b = b.wrapping_add(parts.b_row);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use testkit::numbers;

    use super::{Left, Panels, Right, multiply, padded};

    #[test]
    fn agrees_with_the_definition_at_every_size_of_tile() {
        for (m, n, k) in [(1, 1, 1), (8, 48, 7), (9, 49, 3), (17, 24, 33), (5, 130, 2), (3, 8, 0)] {
            let (a, b) = (numbers("a", m * k), numbers("b", k * n));
            let wide = padded(n);
            let mut rows = vec![0.0; k * wide];
            for (row, from) in rows.chunks_mut(wide).zip(b.chunks(n)) {
                row[..n].copy_from_slice(from);
            }
            let at = |i: usize, j: usize| (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum::<f64>();
            let transposed: Vec<f64> = (0..k)
                .flat_map(|p| (0..m).map(move |i| (i, p)))
                .map(|(i, p)| a[i * k + p])
                .collect();
            let panels = Panels::new(k, n, |row, col| b[row * n + col]);
            let rights = [panels.right(), Right::rows(&rows, k, n, wide)];
            let lefts = [Left::rows(&a, m, k, k), Left::rows(&transposed, k, m, m).t()];
            for (left, right) in lefts.iter().flat_map(|l| rights.map(|r| (l, r))) {
                let mut c = vec![1.0; m * (n + 2)];
                multiply(*left, right, &mut c, n + 2, false);
                multiply(*left, right, &mut c, n + 2, true);
                for (i, row) in c.chunks(n + 2).enumerate() {
                    for (j, &got) in row[..n].iter().enumerate() {
                        assert!((got - 2.0 * at(i, j)).abs() < 1e-12, "{m}x{n}x{k}: {i}, {j}");
                    }
                    assert_eq!(row[n..], [1.0, 1.0], "what is not the result's was written");
                }
            }
        }
    }
}
