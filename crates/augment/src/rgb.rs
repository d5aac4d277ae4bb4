//! Images in memory, and the grey level of a colour.

use image::RgbImage;

/// An image in memory: RGB8.
pub type Image = RgbImage;

/// The luma of ITU-R 601, in PIL's fixed point.
#[inline(always)]
pub(crate) fn luma([r, g, b]: [i32; 3]) -> i32 {
    (r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16
}

/// [`luma`] of bytes.
pub(crate) fn grey(rgb: [u8; 3]) -> u8 {
    luma(rgb.map(i32::from)) as u8
}
