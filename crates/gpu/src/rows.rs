//! Rows of channels as kernels take them: the mirrors of `kernels/stored.cuh` and `kernels/rows.cuh`.

use cudarc::driver::DeviceRepr;

use crate::{
    Buffer, Error, Result, Storage,
    prologue::{Extent, count},
};

/// A tensor of rows of channels, `[images, area, c]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How its numbers are stored.
    pub storage: Storage,
    /// The number of images.
    pub images: usize,
    /// Rows of an image.
    pub area: usize,
    /// The number of channels.
    pub c: usize,
}

/// `Kind` of `kernels/stored.cuh`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Kind {
    storage: u32,
    c: u32,
}

/// `Layout` of `kernels/rows.cuh`: a thread has eight channels of a row.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Layout {
    n_rows: u32,
    across_bits: u32,
}

#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: `repr(C)` of numbers, in the order of the device's struct.
unsafe impl DeviceRepr for Kind {}
#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: as above.
unsafe impl DeviceRepr for Layout {}

/// Threads of a block.
pub(crate) const THREADS: u32 = 256;

/// A storage as kernels number it.
pub(crate) fn number_of(storage: Storage) -> u32 {
    match storage {
        Storage::F32 => 0,
        Storage::Bf16 => 1,
        Storage::F16 => 2,
    }
}

impl Shape {
    /// The number of rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.images * self.area
    }

    /// The number of numbers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.n_rows() * self.c
    }

    /// Whether it has no numbers; no kernel takes it then.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.len() * self.storage.bytes()
    }

    pub(crate) fn extent(self) -> Extent {
        let Self { storage, images, area, c } = self;
        Extent { storage, images, area, c }
    }
}

impl Kind {
    pub(crate) fn new(at: &str, storage: Storage, c: usize) -> Result<Self> {
        Ok(Self { storage: number_of(storage), c: count(at, "channels", c)? })
    }
}

impl Layout {
    /// The layout of threads over rows of `c` channels, and the grid's x and y.
    pub(crate) fn new(at: &str, n_rows: usize, c: usize) -> Result<(Self, [usize; 2])> {
        let eights = count(at, "channels", c)?.div_ceil(8);
        let n_across = eights.next_power_of_two().min(32);
        let n_rows = count(at, "rows", n_rows)?;
        let grid = [n_rows.div_ceil(THREADS / n_across), eights.div_ceil(n_across)];
        Ok((Self { n_rows, across_bits: n_across.ilog2() }, grid.map(|it| it as usize)))
    }
}

/// Checks that a buffer has at least as many bytes as a tensor needs.
pub(crate) fn has(at: &str, name: &str, buffer: &Buffer, bytes: usize) -> Result<()> {
    match buffer.bytes() >= bytes {
        true => Ok(()),
        false => Err(Error::arguments(
            at,
            format!("`{name}` has {} bytes, and needs {bytes}", buffer.bytes()),
        )),
    }
}
