//! Right matrices, and those that are reused, packed in panels.

use std::ops::Range;

use super::layout::Layout;
use crate::{
    blocks::overwrite,
    kernel::lanes_kernel,
    lanes::{SQUARE, prefetch},
    real::{Real, copy_short},
};

/// The right matrix: rows in panels of columns, read in whole registers.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a, T> {
    pub(super) data: &'a [T],
    pub(super) n_rows: usize,
    pub(super) n_cols: usize,
    pub(super) layout: Layout,
    pub(super) pieces: &'a [usize],
}

impl<'a, T: Real> Right<'a, T> {
    /// The last row must be padded to a multiple of `PAD`.
    pub(crate) fn new(data: &'a [T], n_rows: usize, n_cols: usize, layout: Layout) -> Right<'a, T> {
        Right { data, n_rows, n_cols, layout, pieces: &[0] }
    }

    /// The matrix in pieces of `n_rows`, at the offsets `pieces`.
    pub(crate) fn pieces(self, n_rows: usize, pieces: &'a [usize]) -> Right<'a, T> {
        Right { n_rows, pieces, ..self }
    }
}

/// A right matrix that is reused, packed so that each panel is read sequentially.
pub(crate) struct Panels<T> {
    data: Vec<T>,
    layout: Layout,
    n_rows: usize,
    n_cols: usize,
}

/// The number of pieces that the packing is split into, if there are enough panels.
const N_PIECES: usize = 12;

/// Rows of a panel that stay in a core's L1 cache.
const HOT: usize = 64;

impl<T: Real> Panels<T> {
    /// Packs the rows of a matrix.
    pub(crate) fn of_rows<'b>(
        n_rows: usize,
        n_cols: usize,
        row: impl Fn(usize) -> &'b [T] + Sync,
    ) -> Panels<T> {
        Panels::build(n_rows, n_cols, |cols, width, data| {
            for first in (0..n_rows).step_by(HOT) {
                let rows = first..n_rows.min(first + HOT);
                for (idx, panel) in data.chunks_exact_mut(n_rows * width).enumerate() {
                    let begin = cols.start + idx * width;
                    let end = cols.end.min(begin + width);
                    for (at, to) in rows.clone().zip(panel[first * width..].chunks_exact_mut(width))
                    {
                        let ahead = row(n_rows.min(at + 16) - 1);
                        prefetch(ahead[begin..].as_ptr());
                        let from = &row(at)[begin..end];
                        let (to, spare) = to.split_at_mut(from.len());
                        copy_short(from, to);
                        spare.fill(T::ZERO);
                    }
                }
            }
        })
    }

    /// Packs the columns of a column-major matrix.
    pub(crate) fn of_columns(n_rows: usize, n_cols: usize, columns: &[T]) -> Panels<T> {
        assert_eq!(columns.len(), n_rows * n_cols, "columns of a different length");
        Panels::build(n_rows, n_cols, |cols, width, data| {
            let columns = &columns[cols.start * n_rows..cols.end * n_rows];
            let panels = data.chunks_exact_mut(n_rows * width);
            for (columns, panel) in columns.chunks(n_rows * width).zip(panels) {
                if columns.len() < panel.len() {
                    panel.fill(T::ZERO);
                }
                let shape = [n_rows, columns.len() / n_rows];
                // SAFETY: a panel has room for these columns.
                unsafe { transpose(columns.as_ptr(), shape, panel.as_mut_ptr(), width) }
            }
        })
    }

    /// `fill` gets a range of columns, the width of a panel, and the destination of the panels, which it
    /// writes completely.
    fn build(
        n_rows: usize,
        n_cols: usize,
        fill: impl Fn(Range<usize>, usize, &mut [T]) + Sync,
    ) -> Panels<T> {
        let layout = Layout::panels(n_rows, n_cols);
        let width = layout.panel;
        let some = |panels: Range<usize>, data: &mut [T]| {
            if n_rows > 0 {
                fill(panels.start * width..n_cols.min(panels.end * width), width, data);
            }
        };
        let n_panels = n_cols.div_ceil(width);
        // SAFETY: both kinds of `fill` write every number, or zeros after the last column.
        let (data, _) = unsafe {
            overwrite(n_panels, n_rows * width, n_panels.div_ceil(N_PIECES).max(1), some)
        };
        Panels { data, layout, n_rows, n_cols }
    }

    pub(crate) fn right(&self) -> Right<'_, T> {
        Right::new(&self.data, self.n_rows, self.n_cols, self.layout)
    }

    /// A range of columns: all of them, or a range that begins at a multiple of [`PANEL`](super::PANEL).
    pub(crate) fn columns(&self, cols: Range<usize>) -> Right<'_, T> {
        assert!(
            cols.start.is_multiple_of(self.layout.panel) && cols.end <= self.n_cols,
            "a range that does not begin at a panel"
        );
        let data = &self.data[cols.start * self.n_rows..];
        Right { data, n_cols: cols.len(), ..self.right() }
    }

    /// The offset of a row, for [`Right::pieces`].
    pub(crate) fn row(&self, row: usize) -> usize {
        row * self.layout.row
    }
}

lanes_kernel! {
    /// Transposes contiguous columns into rows that are `width` apart.
    unsafe fn transpose(from: *const T, shape: [usize; 2], into: *mut T, width: usize) {
        let [n_rows, n_cols] = shape;
        let (down, across) = (n_rows / SQUARE * SQUARE, n_cols / SQUARE * SQUARE);
        // SAFETY: guaranteed by the caller.
        unsafe {
            for first in (0..down).step_by(HOT) {
                for col in (0..across).step_by(SQUARE) {
                    for row in (first..down.min(first + HOT)).step_by(SQUARE) {
                        let at = from.add(col * n_rows + row);
                        let ahead = at.wrapping_add(SQUARE * n_rows);
                        (0..SQUARE).for_each(|idx| prefetch(ahead.wrapping_add(idx * n_rows)));
                        V::turn(at, n_rows, into.add(row * width + col), width);
                    }
                }
            }
            for col in 0..n_cols {
                for row in if col < across { down..n_rows } else { 0..n_rows } {
                    *into.add(row * width + col) = *from.add(col * n_rows + row);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Panels;

    #[test]
    fn every_number_is_in_its_panel() {
        for (n_rows, n_cols) in [(1, 1), (8, 16), (133, 50), (64, 17), (9, 130)] {
            let columns: Vec<f32> = (0..n_rows * n_cols).map(|it| it as f32).collect();
            let at = |row: usize, col: usize| columns[col * n_rows + row];
            let places = || (0..n_rows).flat_map(|row| (0..n_cols).map(move |col| (row, col)));
            let rows: Vec<f32> = places().map(|(row, col)| at(row, col)).collect();
            let turned = Panels::of_columns(n_rows, n_cols, &columns);
            let cut = Panels::of_rows(n_rows, n_cols, |row| &rows[row * n_cols..][..n_cols]);
            for (row, col) in places() {
                for panels in [&turned, &cut] {
                    let got = panels.data[panels.row(row) + panels.layout.at(col)];
                    assert_eq!(got, at(row, col), "{n_rows}x{n_cols}: {row}, {col}");
                }
            }
        }
    }
}
