//! The transform of a weight, G g Gᵀ, and that of its gradient, Gᵀ u G.

use std::ops::Range;

use super::points::{collect, evaluate, scale, turned};
use crate::{
    blocks::{Part, overwrite, overwrite_parts},
    kernel::lanes_kernel,
    lanes::{Lanes, SQUARE},
    matmul::{Layout, PAD},
    number::Number as _,
    real::Real,
};

/// The most rows of a panel that one task writes, for all positions.
const ROWS: usize = 64;

/// The right matrices of all positions, one after the other, in panels.
///
/// - `w`: `[out, 3, 3, in]`.
/// - `is_turned`: whether they lead from the output's channels to the input's, with the kernel rotated.
pub(super) fn transformed<T: Real, const N: usize>(
    w: &[T],
    [n_in, n_out]: [usize; 2],
    is_turned: bool,
) -> (Vec<T>, Layout) {
    assert_eq!(w.len(), n_out * 9 * n_in, "a weight of a different size");
    let (n_rows, n_cols) = if is_turned { (n_out, n_in) } else { (n_in, n_out) };
    let layout = Layout::panels(n_rows, n_cols);
    let width = layout.panel;
    let len = n_cols.div_ceil(width) * layout.panel_stride;
    let mut parts = Vec::new();
    for panel in 0..n_cols.div_ceil(width) {
        for row in (0..n_rows).step_by(ROWS) {
            let at = |row: usize| panel * layout.panel_stride + row * width;
            parts.push(Part { rows: 0..N * N, cols: at(row)..at(n_rows.min(row + ROWS)) });
        }
    }
    // SAFETY: the parts are those of all panels, and each is written completely, with zeros after the last
    // column.
    let (data, _) = unsafe {
        overwrite_parts([N * N, len], &parts, |_, part, mut to| {
            let first = part.cols.start % layout.panel_stride / width;
            let rows = first..first + part.cols.len() / width;
            let begin = part.cols.start / layout.panel_stride * width;
            let cols = begin..n_cols.min(begin + width);
            let into = (to.as_mut_ptr(), len, width);
            if is_turned {
                write_rows::<T, N>(w.as_ptr(), n_in, rows, cols, into);
            } else {
                T::with_scratch(N * N * PAD * PAD, |scratch| {
                    let scratch = scratch.as_mut_ptr();
                    write_columns::<T, N>(w.as_ptr(), n_in, rows, cols, into, scratch);
                });
            }
        })
    };
    (data, layout)
}

/// The gradient of a weight, `[out, 3, 3, in]`, from those of its transform, `[position, out, in]`.
pub(super) fn gradient<T: Real, const N: usize>(of: &[T], [n_in, n_out]: [usize; 2]) -> Vec<T> {
    assert_eq!(of.len(), N * N * n_out * n_in, "gradients of a different size");
    // SAFETY: every number is written.
    let (dw, _) = unsafe {
        overwrite(n_out, 9 * n_in, n_out.div_ceil(16), |rows, dw| {
            for (row, dw) in rows.zip(dw.chunks_exact_mut(9 * n_in)) {
                let from = (of[row * n_in..].as_ptr(), n_out * n_in);
                gather::<T, N>(from, n_in, dw.as_mut_ptr());
            }
        })
    };
    dw
}

/// G g Gᵀ of some channels of one output: stores the register of each position.
#[inline(always)]
unsafe fn spread_kernel<V: Lanes, const N: usize>(
    (w, n_in, is_turned): (*const V::Number, usize, bool),
    some: usize,
    (into, apart): (*mut V::Number, usize),
) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut rows = [[V::splat(V::Number::ZERO); N]; 3];
        for (y, row) in rows.iter_mut().enumerate() {
            let mut line = [V::splat(V::Number::ZERO); 3];
            for (x, it) in line.iter_mut().enumerate() {
                let tap = if is_turned { 8 - (3 * y + x) } else { 3 * y + x };
                *it = V::load_some(w.add(tap * n_in), some);
            }
            *row = evaluate(line);
        }
        for (x, col) in turned(rows).into_iter().enumerate() {
            let col: [V; N] = evaluate(col);
            for (y, it) in col.into_iter().enumerate() {
                it.mul(scale::<V, N>(y, x)).store_some(into.add((N * y + x) * apart), some);
            }
        }
    }
}

lanes_kernel! {
    /// Rows of a panel: the outputs, with the input's channels as columns.
    unsafe fn write_rows<const N: usize>(
        w: *const T,
        n_in: usize,
        rows: Range<usize>,
        cols: Range<usize>,
        into: (*mut T, usize, usize),
    ) {
        let (into, apart, width) = into;
        // SAFETY: guaranteed by the caller.
        unsafe {
            for (idx, row) in rows.enumerate() {
                let (w, into) = (w.add(row * 9 * n_in + cols.start), into.add(idx * width));
                for col in (0..cols.len()).step_by(V::LANES) {
                    let from = (w.add(col), n_in, true);
                    spread_kernel::<V, N>(from, cols.len() - col, (into.add(col), apart));
                }
                for place in 0..N * N {
                    for col in cols.len()..width {
                        *into.add(place * apart + col) = T::ZERO;
                    }
                }
            }
        }
    }
}

lanes_kernel! {
    /// Rows of a panel: the input's channels, with the outputs as columns. Squares of [`PAD`] are transposed.
    unsafe fn write_columns<const N: usize>(
        w: *const T,
        n_in: usize,
        rows: Range<usize>,
        cols: Range<usize>,
        into: (*mut T, usize, usize),
        scratch: *mut T,
    ) {
        let (into, apart, width) = into;
        // SAFETY: guaranteed by the caller.
        unsafe {
            for row in rows.clone().step_by(PAD) {
                for col in (0..width).step_by(PAD) {
                    let n_rows = PAD.min(rows.end - row);
                    let n_cols = PAD.min(cols.len().saturating_sub(col));
                    for idx in 0..n_cols {
                        let w = w.add((cols.start + col + idx) * 9 * n_in + row);
                        for at in (0..n_rows).step_by(V::LANES) {
                            let to = scratch.add(idx * PAD + at);
                            let from = (w.add(at), n_in, false);
                            spread_kernel::<V, N>(from, n_rows - at, (to, PAD * PAD));
                        }
                    }
                    for place in 0..N * N {
                        let from = scratch.add(place * PAD * PAD);
                        from.add(n_cols * PAD).write_bytes(0, (PAD - n_cols) * PAD);
                        let to = into.add(place * apart + (row - rows.start) * width + col);
                        let whole = n_rows / SQUARE * SQUARE;
                        for col in (0..PAD).step_by(SQUARE) {
                            for row in (0..whole).step_by(SQUARE) {
                                let from = from.add(col * PAD + row);
                                V::turn(from, PAD, to.add(row * width + col), width);
                            }
                        }
                        for row in whole..n_rows {
                            for col in 0..PAD {
                                *to.add(row * width + col) = *from.add(col * PAD + row);
                            }
                        }
                    }
                }
            }
        }
    }
}

lanes_kernel! {
    /// Gᵀ u G of one output.
    unsafe fn gather<const N: usize>(
        from: (*const T, usize), n_in: usize, into: *mut T,
    ) {
        let (from, apart) = from;
        for channel in (0..n_in).step_by(V::LANES) {
            let some = n_in - channel;
            // SAFETY: guaranteed by the caller.
            unsafe {
                let mut rows = [[V::splat(T::ZERO); 3]; N];
                for (y, row) in rows.iter_mut().enumerate() {
                    let mut line = [V::splat(T::ZERO); N];
                    for (x, it) in line.iter_mut().enumerate() {
                        let from = from.add((N * y + x) * apart + channel);
                        *it = V::load_some(from, some).mul(scale::<V, N>(y, x));
                    }
                    *row = collect(line);
                }
                for (x, col) in turned(rows).into_iter().enumerate() {
                    let col: [V; 3] = collect(col);
                    for (y, it) in col.into_iter().enumerate() {
                        it.store_some(into.add((3 * y + x) * n_in + channel), some);
                    }
                }
            }
        }
    }
}
