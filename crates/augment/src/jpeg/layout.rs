//! The layout of each component's pixels, at each size to which an image is decoded.
//!
//! A block of 8x8 coefficients is transformed to 8x8 pixels, or 4x4, 2x2 or one. As in libjpeg, a component
//! with fewer samples than another is reduced less if that compensates, and interpolated otherwise.

use std::ops::Range;

use super::header::Header;

/// The layout of an image at some size.
pub(super) struct Layout {
    /// `[height, width]` of the result.
    pub(super) size: [usize; 2],
    /// The pixels of an MCU, down and across.
    pub(super) unit: [usize; 2],
    pub(super) planes: Vec<Plane>,
}

/// One component's pixels.
pub(super) struct Plane {
    /// The blocks in an MCU, down and across.
    pub(super) blocks: [usize; 2],
    /// The side of a transformed block: 8, 4, 2 or 1.
    pub(super) side: usize,
    /// The upsampling factors, down and across.
    pub(super) expand: [usize; 2],
    /// Whether samples are interpolated instead of repeated.
    pub(super) is_smooth: bool,
    /// `[height, width]` of the plane: beyond it there is only padding.
    pub(super) size: [usize; 2],
}

impl Layout {
    /// The layout of an image reduced by `reduction`: 1, 2, 4 or 8.
    pub(super) fn new(header: &Header<'_>, reduction: usize) -> Layout {
        let least = 8 / reduction;
        let plane = |blocks: [usize; 2]| {
            let mut side = least;
            let fits = |side: usize| {
                (0..2)
                    .all(|it| (header.max_blocks[it] * least).is_multiple_of(blocks[it] * side * 2))
            };
            while side < 8 && fits(side) {
                side *= 2;
            }
            let expand = [0, 1].map(|it| header.max_blocks[it] * least / (blocks[it] * side));
            let size = [0, 1].map(|it| {
                (header.size[it] * blocks[it] * side).div_ceil(header.max_blocks[it] * 8)
            });
            let is_smooth = match expand {
                [2, 1] => true,
                // Too narrow to interpolate.
                [1 | 2, 2] => size[1] > 2,
                _ => false,
            };
            Plane { blocks, side, expand, is_smooth: is_smooth && least > 1, size }
        };
        Layout {
            size: header.size.map(|it| it.div_ceil(reduction)),
            unit: header.max_blocks.map(|it| it * least),
            planes: header.components.iter().map(|it| plane(it.blocks)).collect(),
        }
    }

    /// The MCUs that are needed for some of the rows (`side` 0) or columns (1).
    pub(super) fn units(&self, side: usize, pixels: &Range<usize>) -> Range<usize> {
        // Interpolation needs the neighbours.
        let reaches = |it: &Plane| it.is_smooth && it.expand[side] > 1;
        let margin = if self.planes.iter().any(reaches) { 2 } else { 0 };
        let end = (pixels.end + margin).min(self.size[side]);
        pixels.start.saturating_sub(margin) / self.unit[side]..end.div_ceil(self.unit[side])
    }
}
