//! Where a kernel's window lies on a map: sizes, strides and padding.

use candle::{Result, bail};
use serde::{Deserialize, Serialize};

/// How a map is padded with zeros before a kernel slides over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// The same on both sides, (kernel - 1) / 2: PyTorch's usual way.
    Symmetric,
    /// As much as makes the output ⌈size / stride⌉, an odd zero going to the right and the
    /// bottom: TensorFlow's `SAME`.
    Same,
}

/// A sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The kernel's height and width.
    pub kernel: [usize; 2],
    /// The same in both directions.
    pub stride: usize,
    /// How the map is padded.
    pub padding: Padding,
}

/// A window on a map of known size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) n: usize,
    /// Height and width of the map.
    pub(crate) size: [usize; 2],
    /// Height and width of what comes out.
    pub(crate) out: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    /// Zeros above and to the left.
    pub(crate) before: [usize; 2],
}

impl Window {
    /// A square window.
    pub fn square(kernel: usize, stride: usize, padding: Padding) -> Window {
        Window { kernel: [kernel, kernel], stride, padding }
    }

    pub(crate) fn on(self, n: usize, size: [usize; 2]) -> Result<Grid> {
        let Window { kernel, stride, padding } = self;
        let axis = |idx: usize| -> Result<(usize, usize)> {
            let (size, kernel) = (size[idx], kernel[idx]);
            let (before, total) = match padding {
                Padding::Symmetric => ((kernel - 1) / 2, (kernel - 1) / 2 * 2),
                Padding::Same => {
                    let needed = (size.div_ceil(stride).max(1) - 1) * stride + kernel;
                    let total = needed.saturating_sub(size);
                    (total / 2, total)
                }
            };
            if size == 0 || size + total < kernel {
                bail!("a kernel of {kernel} does not fit a map of {size}: use larger pictures");
            }
            Ok((before, (size + total - kernel) / stride + 1))
        };
        let ([top, left], [h, w]) = {
            let (vertical, horizontal) = (axis(0)?, axis(1)?);
            ([vertical.0, horizontal.0], [vertical.1, horizontal.1])
        };
        Ok(Grid { n, size, out: [h, w], kernel, stride, before: [top, left] })
    }
}

impl Grid {
    /// Positions that come out.
    pub(crate) fn n_out(&self) -> usize {
        self.n * self.out[0] * self.out[1]
    }

    /// Where on the map the tap `tap` of output `out` lies along one axis, if not in the padding.
    #[inline(always)]
    pub(crate) fn source(&self, axis: usize, out: usize, tap: usize) -> Option<usize> {
        let at = (out * self.stride + tap).checked_sub(self.before[axis])?;
        (at < self.size[axis]).then_some(at)
    }

    /// Which output sees map position `at` through its tap `tap`, if any does.
    #[inline(always)]
    pub(crate) fn output(&self, axis: usize, at: usize, tap: usize) -> Option<usize> {
        let shifted = (at + self.before[axis]).checked_sub(tap)?;
        let out = shifted / self.stride;
        (shifted.is_multiple_of(self.stride) && out < self.out[axis]).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::{Padding, Window};

    #[test]
    fn the_two_paddings_differ_at_stride_two() {
        let grid = |padding, size| Window::square(3, 2, padding).on(1, [size, size]).unwrap();
        // On 8: symmetric pads 1 + 1 and sees -1..2, 1..4, …; SAME pads 0 + 1 and sees 0..3, ….
        let (symmetric, same) = (grid(Padding::Symmetric, 8), grid(Padding::Same, 8));
        assert_eq!((symmetric.out, symmetric.before), ([4, 4], [1, 1]));
        assert_eq!((same.out, same.before), ([4, 4], [0, 0]));
        // On 7 both see -1..2, 1..4, 3..6, 5..8.
        assert_eq!(grid(Padding::Symmetric, 7), grid(Padding::Same, 7));
    }

    #[test]
    fn sources_and_outputs_are_inverse() {
        for (kernel, stride, size) in
            [(3, 1, 5), (3, 2, 5), (3, 2, 6), (5, 2, 7), (2, 2, 7), (1, 2, 4)]
        {
            for padding in [Padding::Symmetric, Padding::Same] {
                let grid = Window::square(kernel, stride, padding).on(1, [size, size]).unwrap();
                for (at, tap) in (0..size).flat_map(|at| (0..kernel).map(move |tap| (at, tap))) {
                    let by_source =
                        (0..grid.out[0]).find(|&out| grid.source(0, out, tap) == Some(at));
                    assert_eq!(grid.output(0, at, tap), by_source);
                }
            }
        }
    }

    #[test]
    fn a_map_smaller_than_the_kernel_is_an_error() {
        let err = Window::square(7, 1, Padding::Symmetric).on(1, [0, 3]).unwrap_err();
        assert!(err.to_string().contains("larger pictures"), "{err}");
    }
}
