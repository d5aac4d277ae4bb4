//! A zero-padded copy of a part of a feature map, so that no tap of a kernel needs a bounds check.

use std::ops::Range;

use crate::{
    matmul::Layout,
    prologue::{BackwardSums, View},
    real::Real,
    window::Grid,
};

/// The layout of a frame: some channels of a part of a feature map.
#[derive(Clone)]
pub(crate) struct Frame {
    /// Rows and columns of the map in the frame; those beyond the map are zeros.
    pub(crate) rows: Range<isize>,
    pub(crate) cols: Range<isize>,
    /// Numbers per position: its channels, padded with zeros.
    pub(crate) c: usize,
}

impl Frame {
    /// The receptive field of output rows: the frame of the input that they depend on.
    pub(crate) fn receptive_field(grid: &Grid, rows: &Range<usize>, c: usize) -> Frame {
        let axis = |axis: usize, of: &Range<usize>| {
            let first = (of.start * grid.stride) as isize - grid.before[axis] as isize;
            let last = ((of.end - 1) * grid.stride + grid.kernel[axis]) as isize;
            first..last - grid.before[axis] as isize
        };
        let cols = axis(1, &(0..grid.out[1]));
        let cols = cols.start.min(0)..cols.end.max(grid.size[1] as isize);
        Frame { rows: axis(0, rows), cols, c }
    }

    /// The frame of the gradients of output rows, and of all others that depend on some input rows.
    pub(crate) fn of_gradients(
        grid: &Grid,
        rows: &Range<usize>,
        own: Option<&Range<usize>>,
        c: usize,
    ) -> Frame {
        let mut all = rows.start as isize..rows.end as isize;
        if let Some(own) = own.filter(|it| !it.is_empty()) {
            let reach = |at: usize| grid.reach(0, at);
            all.start = all.start.min(reach(own.start).start);
            all.end = all.end.max(reach(own.end - 1).end);
        }
        let cols = grid.reach(1, 0).start.min(0)..grid.reach(1, grid.size[1] - 1).end;
        Frame { rows: all, cols: cols.start..cols.end.max(grid.out[1] as isize), c }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len() * self.row_len()
    }

    pub(crate) fn row_len(&self) -> usize {
        self.cols.len() * self.c
    }

    /// The offset of a position of the map.
    pub(crate) fn at(&self, row: isize, col: isize) -> usize {
        (row - self.rows.start) as usize * self.row_len()
            + (col - self.cols.start) as usize * self.c
    }

    /// Fills the frame from a map of `size` with `n` channels: `read` gets the index of a row and its
    /// destination.
    pub(crate) fn fill<T: Real>(
        &self,
        into: &mut [T],
        [h, w]: [usize; 2],
        n: usize,
        mut read: impl FnMut(usize, &mut [T]),
    ) {
        let (left, right) = (self.at(self.rows.start, 0), self.at(self.rows.start, w as isize));
        for (row, line) in self.rows.clone().zip(into.chunks_exact_mut(self.row_len())) {
            if row < 0 || row >= h as isize {
                line.fill(T::ZERO);
                continue;
            }
            line[..left].fill(T::ZERO);
            line[right..].fill(T::ZERO);
            let line = &mut line[left..right];
            read(row as usize, line);
            if self.c > n {
                line.chunks_exact_mut(self.c).for_each(|it| it[n..].fill(T::ZERO));
            }
        }
    }
}

/// The gradients of some input rows of an image, for the backward pass of the input's prologue.
pub(crate) struct PrologueBackward<'a, T> {
    pub(crate) image: usize,
    pub(crate) own: Range<usize>,
    pub(crate) channels: Range<usize>,
    /// Rows of all channels, beginning with the first row of `own`.
    pub(crate) dx: &'a mut [T],
    /// Present if there is a prologue.
    pub(crate) sums: Option<&'a mut BackwardSums>,
}

impl<T: Real> PrologueBackward<'_, T> {
    /// Runs the backward pass of the prologue, and fills `frame` with the input, if given: a row whose
    /// gradient is here is read once for both.
    pub(crate) fn run(mut self, xs: &View<'_, T>, grid: &Grid, frame: Option<(&Frame, &mut [T])>) {
        let (size, n) = (grid.size, self.channels.len());
        let rows = frame.as_ref().map_or(0..0, |(it, _)| it.rows.clone());
        for row in self.own.clone().filter(|row| !rows.contains(&(*row as isize))) {
            self.step(xs, size, row, None);
        }
        if let Some((frame, into)) = frame {
            frame.fill(into, size, n, |row, to| {
                if self.own.contains(&row) && self.sums.is_some() {
                    self.step(xs, size, row, Some((to, Layout::rows(frame.c))));
                } else {
                    let first = (self.image * size[0] + row) * size[1];
                    xs.read_channels(first, self.channels.clone(), to, frame.c);
                }
            });
        }
    }

    fn step(
        &mut self,
        xs: &View<'_, T>,
        [h, w]: [usize; 2],
        row: usize,
        values: Option<(&mut [T], Layout)>,
    ) {
        let Some(sums) = &mut self.sums else { return };
        let dx = &mut self.dx[(row - self.own.start) * w * xs.c + self.channels.start..];
        let rows = ((self.image * h + row) * w, w);
        xs.backward_step(rows, self.channels.clone(), dx, values, sums);
    }
}
