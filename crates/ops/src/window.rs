//! The geometry of a kernel's window on a feature map: sizes, strides and padding.

use std::ops::Range;

use candle::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::graph::Sliding;

/// The zero padding of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// The same on both sides, (kernel - 1) / 2: PyTorch's usual way.
    Symmetric,
    /// Such that the output has size ⌈size / stride⌉, with an odd zero added at the right and the
    /// bottom: TensorFlow's `SAME`.
    Same,
    /// None: left-over positions at an edge are not used. TensorFlow's `VALID`.
    Valid,
}

/// A sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The kernel's height and width.
    pub kernel: [usize; 2],
    /// The stride, in both directions.
    pub stride: usize,
    /// The padding of the map.
    pub padding: Padding,
}

/// A window on a map of known size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) n: usize,
    /// Height and width of the map.
    pub(crate) size: [usize; 2],
    /// Height and width of the output.
    pub(crate) out: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    /// Zeros above and to the left.
    pub(crate) before: [usize; 2],
    /// Zeros below and to the right.
    pub(crate) after: [usize; 2],
}

/// The phases of rows and columns: positions `stride` apart in both directions use the same taps.
pub(crate) fn phases(stride: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..stride).flat_map(move |y| (0..stride).map(move |x| (y, x)))
}

impl Window {
    /// A square window.
    pub fn square(kernel: usize, stride: usize, padding: Padding) -> Window {
        Window { kernel: [kernel, kernel], stride, padding }
    }

    pub(crate) fn on(self, n: usize, size: [usize; 2]) -> Result<Grid> {
        let Window { kernel, stride, padding } = self;
        let axis = |idx: usize| -> Result<[usize; 3]> {
            let (size, kernel) = (size[idx], kernel[idx]);
            let (before, total) = match padding {
                Padding::Valid => (0, 0),
                Padding::Symmetric => ((kernel - 1) / 2, (kernel - 1) / 2 * 2),
                Padding::Same => {
                    let needed = (size.div_ceil(stride).max(1) - 1) * stride + kernel;
                    let total = needed.saturating_sub(size);
                    (total / 2, total)
                }
            };
            if size == 0 || size + total < kernel {
                bail!("a kernel of {kernel} does not fit a map of {size}: use larger images");
            }
            Ok([before, total - before, (size + total - kernel) / stride + 1])
        };
        let ([top, bottom, h], [left, right, w]) = (axis(0)?, axis(1)?);
        let (before, after) = ([top, left], [bottom, right]);
        Ok(Grid { n, size, out: [h, w], kernel, stride, before, after })
    }
}

impl Grid {
    /// The window and its padding, for the graph.
    pub(crate) fn sliding(&self) -> Sliding {
        let &Grid { kernel, stride, before, after, .. } = self;
        Sliding { kernel, stride, before, after }
    }

    /// The number of output positions.
    pub(crate) fn n_out(&self) -> usize {
        self.n * self.out[0] * self.out[1]
    }

    /// The map position of tap `tap` of output `out` along one axis, if not in the padding.
    pub(crate) fn source(&self, axis: usize, out: usize, tap: usize) -> Option<usize> {
        let at = (out * self.stride + tap).checked_sub(self.before[axis])?;
        (at < self.size[axis]).then_some(at)
    }

    /// The outputs whose window may contain map position `at`, including outputs beyond the map.
    pub(crate) fn reach(&self, axis: usize, at: usize) -> Range<isize> {
        let shift = |tap: usize| {
            ((at + self.before[axis]) as isize - tap as isize).div_euclid(self.stride as isize)
        };
        shift(self.kernel[axis] - 1)..shift(0) + 1
    }

    /// The taps that apply to map positions phase, phase + stride, … along one axis, and for each tap the
    /// output that it contributes to from the first of them; the others contribute to those that follow.
    pub(crate) fn taps_of_phase(&self, axis: usize, phase: usize) -> Vec<(usize, isize)> {
        let stride = self.stride as isize;
        let taps = (0..self.kernel[axis]).filter_map(|tap| {
            let shifted = (phase + self.before[axis]) as isize - tap as isize;
            let fits = shifted.rem_euclid(stride) == 0;
            fits.then(|| (tap, shifted.div_euclid(stride)))
        });
        taps.collect()
    }

    /// The input rows whose gradient is computed with these output rows.
    pub(crate) fn own(&self, rows: &Range<usize>) -> Range<usize> {
        let h = self.size[0];
        let end = if rows.end == self.out[0] { h } else { (rows.end * self.stride).min(h) };
        (rows.start * self.stride).min(h)..end
    }
}

#[cfg(test)]
mod tests {
    use super::{Padding, Window};

    #[test]
    fn the_two_paddings_differ_at_stride_two() {
        let grid = |padding, size| Window::square(3, 2, padding).on(1, [size, size]).unwrap();
        // On 8: symmetric pads 1 + 1, windows -1..2, 1..4, …; SAME pads 0 + 1, windows 0..3, ….
        let (symmetric, same) = (grid(Padding::Symmetric, 8), grid(Padding::Same, 8));
        assert_eq!((symmetric.out, symmetric.before), ([4, 4], [1, 1]));
        assert_eq!((same.out, same.before), ([4, 4], [0, 0]));
        // On 7 both have windows -1..2, 1..4, 3..6, 5..8.
        assert_eq!(grid(Padding::Symmetric, 7), grid(Padding::Same, 7));
    }

    #[test]
    fn seers_are_the_outputs_whose_window_contains_a_position() {
        for (kernel, stride, size) in
            [(3, 1, 5), (3, 2, 5), (3, 2, 6), (5, 2, 7), (2, 2, 7), (1, 2, 4), (2, 3, 7)]
        {
            for padding in [Padding::Symmetric, Padding::Same] {
                let grid = Window::square(kernel, stride, padding).on(1, [size, size]).unwrap();
                for at in 0..size {
                    let begin = |out: isize| out * stride as isize - grid.before[0] as isize;
                    let windows = -9..=9_isize;
                    let want = windows.filter_map(|out| {
                        let tap = usize::try_from(at as isize - begin(out)).ok()?;
                        (tap < kernel).then_some((tap, out))
                    });
                    let mut want: Vec<_> = want.collect();
                    want.sort_unstable();
                    let of_phase = grid.taps_of_phase(0, at % stride).into_iter();
                    let got: Vec<_> =
                        of_phase.map(|(tap, out)| (tap, out + (at / stride) as isize)).collect();
                    assert_eq!(got, want, "{grid:?}: {at}");
                    let reach = grid.reach(0, at);
                    assert!(want.iter().all(|(_, out)| reach.contains(out)), "{grid:?}: {at}");
                }
            }
        }
    }

    #[test]
    fn every_input_row_is_owned_once() {
        for (kernel, stride, size) in [(3, 1, 5), (3, 2, 6), (2, 3, 7), (1, 2, 4), (1, 3, 9)] {
            let grid = Window::square(kernel, stride, Padding::Same).on(1, [size, size]).unwrap();
            let all: Vec<usize> =
                (0..grid.out[0]).flat_map(|row| grid.own(&(row..row + 1))).collect();
            assert_eq!(all, (0..size).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_map_smaller_than_the_kernel_is_an_error() {
        let err = Window::square(7, 1, Padding::Symmetric).on(1, [0, 3]).unwrap_err();
        assert!(err.to_string().contains("larger images"), "{err}");
    }
}
