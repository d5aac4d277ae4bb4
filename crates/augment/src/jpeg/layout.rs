//! Where the pixels of each component lie, at each of the sizes that an image is decoded to.
//!
//! A block of 8x8 coefficients becomes 8x8 pixels, or 4x4, 2x2 or one. As libjpeg, a component with
//! fewer samples than another is shrunk less where that makes up for them, and interpolated otherwise.

use std::ops::Range;

use super::header::Header;

/// The layout of an image at some size.
pub(super) struct Layout {
    /// `[height, width]` of the result.
    pub(super) size: [usize; 2],
    /// The pixels of a unit, down and across.
    pub(super) unit: [usize; 2],
    pub(super) planes: Vec<Plane>,
}

/// One component's pixels.
pub(super) struct Plane {
    /// Blocks in a unit, down and across.
    pub(super) blocks: [usize; 2],
    /// The side of what a block becomes: 8, 4, 2 or 1.
    pub(super) side: usize,
    /// How many pixels of the result there are for one of the plane, down and across.
    pub(super) expand: [usize; 2],
    /// Whether those between are interpolated, not repeated.
    pub(super) is_smooth: bool,
    /// `[height, width]` of the plane: beyond it there is only filling.
    pub(super) size: [usize; 2],
}

impl Layout {
    /// The layout of an image that is made `reduction` times smaller: 1, 2, 4 or 8 times.
    pub(super) fn new(header: &Header<'_>, reduction: usize) -> Layout {
        let least = 8 / reduction;
        let plane = |blocks: [usize; 2]| {
            let mut side = least;
            let fits = |side: usize| {
                (0..2).all(|it| (header.most[it] * least).is_multiple_of(blocks[it] * side * 2))
            };
            while side < 8 && fits(side) {
                side *= 2;
            }
            let expand = [0, 1].map(|it| header.most[it] * least / (blocks[it] * side));
            let size = [0, 1]
                .map(|it| (header.size[it] * blocks[it] * side).div_ceil(header.most[it] * 8));
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
            unit: header.most.map(|it| it * least),
            planes: header.components.iter().map(|it| plane(it.blocks)).collect(),
        }
    }

    /// Those units that are needed for some of the rows (`side` 0) or columns (1).
    pub(super) fn units(&self, side: usize, pixels: &Range<usize>) -> Range<usize> {
        // What is interpolated is so between its neighbours.
        let reaches = |it: &Plane| it.is_smooth && it.expand[side] > 1;
        let margin = if self.planes.iter().any(reaches) { 2 } else { 0 };
        let end = (pixels.end + margin).min(self.size[side]);
        pixels.start.saturating_sub(margin) / self.unit[side]..end.div_ceil(self.unit[side])
    }
}
