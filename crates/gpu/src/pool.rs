//! Pooling over windows of a feature map: the largest number, and the mean, with their gradients.
//!
//! y\[i, j\] = max or mean of x over the rows of window i and the columns of window j, as far as they are on the map.
//! Of equal numbers the first in row-major order gets the gradient; NaN is larger than every number, as in PyTorch.
//! On the CPU these are `max_pool`, `avg_pool` and `adaptive_avg_pool` of `ops`.

use cudarc::driver::DeviceRepr;

use crate::{
    Buffer, Device, Error, Ptx, Result, Storage,
    prologue::{Divisor, Extent, GradPrologue, Prologue, count},
    rows::{Kind, Layout, THREADS, has},
};

static PTX: Ptx = crate::ptx::ptx!("pool");

/// A pooling of `[images, h, w, c]` to `[images, h', w', c]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pooling {
    /// How x, y and their gradients are stored.
    pub storage: Storage,
    /// The number of images.
    pub images: usize,
    /// `[h, w]` of x, at most 65,535 each.
    pub size: [usize; 2],
    /// `[h', w']` of y, at most 65,535 each.
    pub out: [usize; 2],
    /// The number of channels.
    pub c: usize,
    /// The windows.
    pub windows: Windows,
}

/// How a map is divided into windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    /// Windows that slide over a padded map. Each has at least one position on the map.
    Sliding {
        /// Height and width.
        kernel: [usize; 2],
        /// The stride in both directions.
        stride: usize,
        /// Padding above and to the left.
        before: [usize; 2],
    },
    /// As many windows as are asked for: rows ⌊i·h/h'⌋..⌈(i + 1)·h/h'⌉ and columns alike.
    Adaptive,
}

/// `Axis` of `kernels/pool.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Axis {
    size: u32,
    out: u32,
    kernel: u32,
    stride: u32,
    before: u32,
    is_adaptive: u32,
}

/// `Map` of `kernels/pool.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Map {
    down: Axis,
    across: Axis,
    by_width: Divisor,
    by_height: Divisor,
    layout: Layout,
}

#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: `repr(C)` of numbers, in the order of the device's struct.
unsafe impl DeviceRepr for Map {}

impl Pooling {
    fn axis(&self, at: &str, axis: usize) -> Result<Axis> {
        let (size, out) = (self.size[axis], self.out[axis]);
        if size == 0 || out == 0 || size > 65_535 || out > 65_535 {
            let what =
                format!("a map of {:?} to {:?}; sizes are from 1 to 65,535", self.size, self.out);
            return Err(Error::arguments(at, what));
        }
        let (kernel, stride, before, is_adaptive) = match self.windows {
            Windows::Adaptive => (1, 1, 0, 1),
            Windows::Sliding { kernel, stride, before } => (kernel[axis], stride, before[axis], 0),
        };
        let last = (out - 1).saturating_mul(stride);
        if is_adaptive == 0
            && (stride == 0 || kernel <= before || kernel > 65_535 || last >= size + before)
        {
            let what = format!(
                "windows of {kernel} with stride {stride} and padding {before}, {out} of them on a map of {size}: some \
                 are not on the map"
            );
            return Err(Error::arguments(at, what));
        }
        let of = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Axis {
            size: of(size),
            out: of(out),
            kernel: of(kernel),
            stride: of(stride),
            before: of(before),
            is_adaptive,
        })
    }

    /// The kernel's structs and the grid for a result of the size of y, or of x.
    fn map(&self, at: &str, is_backward: bool) -> Result<(Kind, Map, [usize; 2])> {
        let [down, across] = [self.axis(at, 0)?, self.axis(at, 1)?];
        let [height, width] = if is_backward { self.size } else { self.out };
        // Rows of both maps are numbered with 31 bits.
        count(at, "rows", self.images * self.size[0] * self.size[1])?;
        count(at, "rows", self.images * self.out[0] * self.out[1])?;
        let (layout, grid) = Layout::new(at, self.images * height * width, self.c)?;
        let by = |n: usize| Divisor::of(u32::try_from(n).unwrap_or(u32::MAX));
        let map = Map { down, across, by_width: by(width), by_height: by(height), layout };
        Ok((Kind::new(at, self.storage, self.c)?, map, grid))
    }

    fn extent(&self, [h, w]: [usize; 2]) -> Extent {
        Extent { storage: self.storage, images: self.images, area: h * w, c: self.c }
    }

    /// The number of taps' bytes: one for each number of y.
    #[must_use]
    pub fn n_taps(&self) -> usize {
        self.images * self.out[0] * self.out[1] * self.c
    }

    /// Bytes of x and y together, and about as many operations as a pass has.
    fn cost(&self, taps: usize) -> (usize, usize) {
        let (x, y) = (self.extent(self.size).bytes(), self.extent(self.out).bytes());
        (x + y + taps, (x.max(y)) / self.storage.bytes())
    }

    fn check_taps(&self, at: &str) -> Result<()> {
        match self.windows {
            Windows::Sliding { kernel: [h, w], .. } if h.saturating_mul(w) <= 256 => Ok(()),
            _ => Err(Error::arguments(
                at,
                "the largest number needs sliding windows of at most 256 positions",
            )),
        }
    }
}

/// y = the largest number of each window, and `taps`, where in the window it is.
///
/// - `x`: `[images, h, w, c]`, read through `prologue`.
/// - `y`: `[images, h', w', c]`; `taps`: a byte for each of its numbers.
///
/// # Errors
/// If the sizes do not fit, or a window has more than 256 positions.
#[expect(unsafe_code, reason = "a launch")]
pub fn max_pool(
    device: &Device,
    it: &Pooling,
    x: &Buffer,
    prologue: &Prologue<'_>,
    y: &mut Buffer,
    taps: &mut Buffer,
) -> Result<()> {
    let at = "pool::max_pool";
    let (kind, map, [gx, gy]) = it.map(at, false)?;
    it.check_taps(at)?;
    has(at, "x", x, it.extent(it.size).bytes())?;
    has(at, "y", y, it.extent(it.out).bytes())?;
    has(at, "taps", taps, it.n_taps())?;
    let prologue = prologue.raw(at, it.extent(it.size))?;
    let (bytes, operations) = it.cost(it.n_taps());
    let launch = device.launch(&PTX, "max_pool").grid(gx, gy, 1).block(THREADS);
    let launch = launch.arg(x).value(&prologue).arg(y).arg(taps).value(&kind).value(&map);
    // SAFETY: the sizes of all buffers were checked above.
    unsafe { launch.cost(bytes, operations).run() }
}

/// dx = the sum of the gradients of the windows whose largest number it is.
///
/// - `g`, `taps`: `[images, h', w', c]`; `g` is read through `prologue`.
/// - `dx`: `[images, h, w, c]`.
///
/// # Errors
/// If the sizes do not fit.
#[expect(unsafe_code, reason = "a launch")]
pub fn max_pool_backward(
    device: &Device,
    it: &Pooling,
    g: &Buffer,
    prologue: &GradPrologue<'_>,
    taps: &Buffer,
    dx: &mut Buffer,
) -> Result<()> {
    let at = "pool::max_pool_backward";
    let (kind, map, [gx, gy]) = it.map(at, true)?;
    it.check_taps(at)?;
    has(at, "g", g, it.extent(it.out).bytes())?;
    has(at, "taps", taps, it.n_taps())?;
    has(at, "dx", dx, it.extent(it.size).bytes())?;
    let prologue = prologue.raw(at, it.extent(it.out))?;
    let (bytes, operations) = it.cost(it.n_taps());
    let launch = device.launch(&PTX, "max_pool_backward").grid(gx, gy, 1).block(THREADS);
    let launch = launch.arg(g).value(&prologue).arg(taps).arg(dx).value(&kind).value(&map);
    // SAFETY: the sizes of all buffers were checked above.
    unsafe { launch.cost(bytes, operations).run() }
}

/// y = the mean of each window over its positions on the map.
///
/// - `x`: `[images, h, w, c]`, read through `prologue`.
/// - `y`: `[images, h', w', c]`.
///
/// # Errors
/// If the sizes do not fit.
#[expect(unsafe_code, reason = "a launch")]
pub fn avg_pool(
    device: &Device,
    it: &Pooling,
    x: &Buffer,
    prologue: &Prologue<'_>,
    y: &mut Buffer,
) -> Result<()> {
    let at = "pool::avg_pool";
    let (kind, map, [gx, gy]) = it.map(at, false)?;
    has(at, "x", x, it.extent(it.size).bytes())?;
    has(at, "y", y, it.extent(it.out).bytes())?;
    let prologue = prologue.raw(at, it.extent(it.size))?;
    let (bytes, operations) = it.cost(0);
    let launch = device.launch(&PTX, "avg_pool").grid(gx, gy, 1).block(THREADS);
    let launch = launch.arg(x).value(&prologue).arg(y).value(&kind).value(&map);
    // SAFETY: the sizes of all buffers were checked above.
    unsafe { launch.cost(bytes, operations).run() }
}

/// dx = the sum of the gradients of the windows that contain a position, each divided by the window's size.
///
/// - `g`: `[images, h', w', c]`, read through `prologue`.
/// - `dx`: `[images, h, w, c]`.
///
/// # Errors
/// If the sizes do not fit.
#[expect(unsafe_code, reason = "a launch")]
pub fn avg_pool_backward(
    device: &Device,
    it: &Pooling,
    g: &Buffer,
    prologue: &GradPrologue<'_>,
    dx: &mut Buffer,
) -> Result<()> {
    let at = "pool::avg_pool_backward";
    let (kind, map, [gx, gy]) = it.map(at, true)?;
    has(at, "g", g, it.extent(it.out).bytes())?;
    has(at, "dx", dx, it.extent(it.size).bytes())?;
    let prologue = prologue.raw(at, it.extent(it.out))?;
    let (bytes, operations) = it.cost(0);
    let launch = device.launch(&PTX, "avg_pool_backward").grid(gx, gy, 1).block(THREADS);
    let launch = launch.arg(g).value(&prologue).arg(dx).value(&kind).value(&map);
    // SAFETY: the sizes of all buffers were checked above.
    unsafe { launch.cost(bytes, operations).run() }
}
