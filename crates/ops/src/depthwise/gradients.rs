//! The gradients of one tile: some output rows of an image, some channels at a time.

use std::ops::Range;

use super::kernels::{Correlation, Results, Taps, correlate_rows, gather_rows};
use crate::{
    frame::Frame,
    matmul::padded,
    real::Real,
    window::{Grid, phases},
};

/// Some channels of a tile, with the frames of its gradients and of its input.
pub(crate) struct Gradients<'a> {
    grid: &'a Grid,
    /// The output rows.
    rows: Range<usize>,
    /// The input rows whose gradients are computed.
    pub(crate) own: Range<usize>,
    pub(crate) channels: Range<usize>,
    /// The padded number of all channels: the stride of the taps of the kernel.
    wide: usize,
    pub(crate) of_gs: Frame,
    pub(crate) of_xs: Frame,
}

impl<'a> Gradients<'a> {
    /// - `c`: the number of all channels.
    /// - `needs_dx`: whether the gradients are framed with all that the input's depend on.
    pub(crate) fn new(
        grid: &'a Grid,
        rows: &Range<usize>,
        (c, channels): (usize, Range<usize>),
        needs_dx: bool,
    ) -> Gradients<'a> {
        let (own, n) = (grid.own(rows), padded(channels.len()));
        let of_gs = Frame::of_gradients(grid, rows, needs_dx.then_some(&own), n);
        let of_xs = Frame::receptive_field(grid, rows, n);
        Gradients { grid, rows: rows.clone(), own, channels, wide: padded(c), of_gs, of_xs }
    }

    /// Computes the gradients of the tile's own input rows.
    ///
    /// - `gs`: the frame of the gradients.
    /// - `k`: the padded kernel.
    /// - `dx`: from the first channel of the first of these rows on, positions `apart` from each other.
    pub(crate) fn of_input<T: Real>(&self, gs: &[T], k: &[T], dx: &mut [T], apart: usize) {
        let (grid, own, of_gs) = (self.grid, &self.own, &self.of_gs);
        let (stride, w, kw) = (grid.stride, grid.size[1], grid.kernel[1]);
        for (y, x) in phases(stride) {
            // The first row of the phase, and the number of its rows.
            let first = own.start + (y + stride - own.start % stride) % stride;
            let (n_rows, n_cols) = (
                own.end.saturating_sub(first).div_ceil(stride),
                w.saturating_sub(x).div_ceil(stride),
            );
            if n_rows == 0 || n_cols == 0 {
                continue;
            }
            let out = (first / stride) as isize;
            let tap = |(ky, row): (usize, isize), (kx, col): (usize, isize)| {
                (of_gs.at(out + row, col), (ky * kw + kx) * self.wide + self.channels.start)
            };
            let cols = grid.taps_of_phase(1, x);
            let rows = grid.taps_of_phase(0, y).into_iter();
            let taps: Vec<_> =
                rows.flat_map(|row| cols.iter().rev().map(move |&col| tap(row, col))).collect();
            let of = Results {
                n_rows,
                n_cols,
                from_row: of_gs.row_len(),
                position: of_gs.c,
                stride: 1,
                into_row: stride * w * apart,
                into_col: stride * apart,
                last: None,
            };
            let begin = ((first - own.start) * w + x) * apart;
            let (taps, dx) = (Taps { all: &taps, per_row: cols.len() }, &mut dx[begin..]);
            gather_rows(gs, k, taps, of, dx.into(), self.channels.len());
        }
    }

    /// Adds the gradients of the taps to `dw`, `[kh, kw, padded c]`.
    ///
    /// - `xs`, `gs`: the two frames.
    pub(crate) fn of_kernel<T: Real>(&self, xs: &[T], gs: &[T], dw: &mut [T]) {
        let (grid, rows) = (self.grid, &self.rows);
        let top = (rows.start * grid.stride) as isize - grid.before[0] as isize;
        let left = -(grid.before[1] as isize);
        let of = Correlation {
            n_rows: rows.len(),
            n_cols: grid.out[1],
            g_row: self.of_gs.row_len(),
            x_row: self.of_xs.row_len(),
            stride: grid.stride,
            c: self.of_gs.c,
        };
        let gs = &gs[self.of_gs.at(rows.start as isize, 0)..];
        let xs = &xs[self.of_xs.at(top, left)..];
        correlate_rows(xs, gs, of, grid.kernel, &mut dw[self.channels.start..], self.wide);
    }
}
