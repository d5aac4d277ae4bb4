//! How kernels split rows of channels into parts: the mirror of `kernels/columns.cuh`.

use cudarc::driver::DeviceRepr;

use crate::{
    Result,
    prologue::count,
    rows::{Shape, THREADS},
};

/// `Split` of `kernels/columns.cuh`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Split {
    n_rows: u32,
    rows_per_part: u32,
    n_parts: u32,
    n_segments: u32,
    n_across: u32,
    n_groups: u32,
}

#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: `repr(C)` of numbers, in the order of the device's struct.
unsafe impl DeviceRepr for Split {}

/// Blocks that keep a large card busy. The number is the same on every card, and so are the bits.
const BLOCKS: usize = 1024;

/// Rows that a thread has at least, if there are as many.
const ROWS: u32 = 4;

/// The most parts of a sum that one launch adds up.
pub(crate) const MOST_PARTS: usize = 512;

impl Split {
    /// A split of the rows of all images, in at most [`MOST_PARTS`].
    pub(crate) fn of_rows(at: &str, of: Shape) -> Result<Self> {
        Self::new(at, 1, of.n_rows(), of.c, MOST_PARTS)
    }

    /// A split of the rows of each image.
    pub(crate) fn of_images(at: &str, of: Shape) -> Result<Self> {
        count(at, "rows", of.n_rows())?;
        Self::new(at, of.images, of.area, of.c, MOST_PARTS)
    }

    fn new(at: &str, segments: usize, rows: usize, c: usize, most: usize) -> Result<Self> {
        let n_segments = count(at, "images", segments)?;
        let n_rows = count(at, "rows", rows)?;
        let eights = count(at, "channels", c)?.div_ceil(8);
        let n_across = eights.next_power_of_two().min(32);
        let n_groups = eights.div_ceil(n_across);
        let n_down = THREADS / n_across;
        let wanted = (BLOCKS / n_groups as usize / segments).clamp(1, most);
        let n_parts = n_rows.div_ceil(ROWS * n_down).min(u32::try_from(wanted).unwrap_or(u32::MAX));
        let rows_per_part = n_rows.div_ceil(n_parts);
        let n_parts = n_rows.div_ceil(rows_per_part);
        Ok(Self { n_rows, rows_per_part, n_parts, n_segments, n_across, n_groups })
    }

    /// Parts of all segments.
    pub(crate) fn n_parts(self) -> usize {
        self.n_parts as usize * self.n_segments as usize
    }

    pub(crate) fn n_blocks(self) -> usize {
        self.n_parts() * self.n_groups as usize
    }
}
