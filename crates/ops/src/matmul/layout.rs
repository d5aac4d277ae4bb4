//! The memory layout of a right matrix.

use crate::isa::Isa;

/// Rows of a right matrix are read in whole registers, so their length is padded to a multiple of this.
pub(crate) const PAD: usize = 16;

/// In a matrix of at least this many columns twice, a multiple of this is the start of a panel.
pub(crate) const PANEL: usize = 48;

/// The number of columns of each of `n_parts` parts of a right matrix of `n` columns: whole panels. A matrix of
/// fewer than two panels is not split.
pub(crate) fn split(n: usize, n_parts: usize) -> usize {
    if n < 2 * PANEL { n } else { n.div_ceil(n_parts.max(1)).next_multiple_of(PANEL).min(n) }
}

/// The panel width of a right matrix of `n` columns, so that a strip is read sequentially: three registers
/// of the widest kind, or two if the matrix is exactly two strips of two; two registers of the other kinds.
fn panel(n: usize) -> usize {
    match Isa::chosen() {
        Isa::Avx512 if padded(n) == 4 * PAD => 2 * PAD,
        Isa::Avx512 => PANEL,
        Isa::Avx2 | Isa::Portable => PAD,
    }
}

/// The next multiple of [`PAD`].
pub(crate) fn padded(n: usize) -> usize {
    n.next_multiple_of(PAD)
}

/// The memory layout of a right matrix: panels of columns, each from the first row to the last.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    /// The stride from one row of a panel to the next.
    pub(crate) row: usize,
    /// The columns of a panel, and the stride from one panel to the next.
    pub(crate) panel: usize,
    pub(crate) panel_stride: usize,
}

impl Layout {
    /// Row-major with the given row stride.
    pub(crate) fn rows(stride: usize) -> Layout {
        Layout { row: stride, panel: usize::MAX, panel_stride: 0 }
    }

    /// Panels as wide as the strip of one tile.
    pub(crate) fn panels(n_rows: usize, n_cols: usize) -> Layout {
        let panel = panel(n_cols);
        Layout { row: panel, panel, panel_stride: n_rows * panel }
    }

    /// The offset of a column.
    #[inline(always)]
    pub(crate) fn at(self, col: usize) -> usize {
        col / self.panel * self.panel_stride + col % self.panel
    }

    /// The length up to the last number of the last row.
    pub(crate) fn len(self, n_rows: usize, n_cols: usize) -> usize {
        match (n_rows.checked_sub(1), n_cols.checked_sub(1)) {
            (Some(row), Some(col)) => row * self.row + self.at(col) + 1,
            _ => 0,
        }
    }
}
