//! Depthwise convolution: one small kernel for each channel, forward and backward.
//!
//! y\[n, i, j, c\] = Σ_{u, v} x\[n, i·s + u - top, j·s + v - left, c\]·w\[u, v, c\].
//!
//! Twin of `ops::depthwise`. Kernels of 3x3 and 5x5 with stride 1 or 2, and of 7x7 with stride 1, on channels that are a
//! multiple of 8, go through tiles in shared memory (`kernels/depthwise.cu`), everything else through plain loops
//! (`kernels/depthwise_any.cu`).

use cudarc::driver::DeviceRepr;

use crate::{
    Buffer, Device, Error, Ptx, Result, Storage,
    parts::{Parts, PartsKind},
    prologue::{GradPrologue, Prologue, count},
    rows::{Kind, Shape, has},
    sums::add_up,
};

static PTX: Ptx = crate::ptx::ptx!("depthwise");
static ANY: Ptx = crate::ptx::ptx!("depthwise_any");

/// A depthwise convolution of `[images, h, w, c]` to `[images, h', w', c]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depthwise {
    /// How x, y, the weight and the gradients of x and y are stored.
    pub storage: Storage,
    /// The number of images.
    pub images: usize,
    /// `[h, w]` of x.
    pub size: [usize; 2],
    /// `[h', w']` of y.
    pub out: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// The stride in both directions.
    pub stride: usize,
    /// Padding above and to the left, less than the kernel.
    pub before: [usize; 2],
    /// The number of channels.
    pub c: usize,
}

/// `Geometry` of `kernels/depthwise.cuh`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Geometry {
    n: u32,
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride: u32,
    top: u32,
    left: u32,
    tile_h: u32,
    tile_w: u32,
    tiles_y: u32,
    tiles_x: u32,
    n_groups: u32,
    n_parts: u32,
}

#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: `repr(C)` of numbers, in the order of the device's struct.
unsafe impl DeviceRepr for Geometry {}

/// Channels of a block: a lane of a warp has one.
const CHANNELS: usize = 32;
/// The most warps of a block.
const WARPS: usize = 8;
/// Outputs of a row of a strip, forward. A strip has two rows.
const STRIP: usize = 7;
/// Blocks that keep a large card busy. The number is the same on every card, and so are the bits.
const BLOCKS: usize = 1024;

/// How a map is cut: positions of a tile, tiles, and what a block needs.
#[derive(Debug, Clone, Copy)]
struct Tiling {
    tile: [usize; 2],
    tiles: [usize; 2],
    warps: usize,
    shared: usize,
}

impl Depthwise {
    /// The shape of x.
    #[must_use]
    pub fn x(&self) -> Shape {
        let Self { storage, images, size: [h, w], c, .. } = *self;
        Shape { storage, images, area: h * w, c }
    }

    /// The shape of y.
    #[must_use]
    pub fn y(&self) -> Shape {
        Shape { area: self.out[0] * self.out[1], ..self.x() }
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Whether it goes through tiles: the size of the kernel.
    fn tiled(&self) -> Option<usize> {
        let [kh, kw] = self.kernel;
        let fits = kh == kw && matches!((kh, self.stride), (3 | 5, 1 | 2) | (7, 1));
        (fits && self.c.is_multiple_of(8)).then_some(kh)
    }

    /// Checks the geometry, which is the same for all tilings.
    fn geometry(&self, at: &str) -> Result<Geometry> {
        let Self { size, out, kernel, stride, before, .. } = *self;
        for axis in 0..2 {
            // The last window begins on the shape, or it would see nothing but padding.
            let last = out[axis].saturating_sub(1).saturating_mul(stride);
            if stride == 0 || before[axis] >= kernel[axis] || last >= size[axis] + before[axis] {
                let what = format!(
                    "{} windows of {} with stride {stride} and padding {} do not fit a map of {}",
                    out[axis], kernel[axis], before[axis], size[axis]
                );
                return Err(Error::arguments(at, what));
            }
        }
        count(at, "positions", self.x().n_rows())?;
        count(at, "positions", self.y().n_rows())?;
        count(
            at,
            "positions of a padded map",
            (size[0] + 2 * kernel[0]) * (size[1] + 2 * kernel[1]),
        )?;
        Ok(Geometry {
            n: count(at, "images", self.images)?,
            h: count(at, "rows", size[0])?,
            w: count(at, "columns", size[1])?,
            oh: count(at, "rows", out[0])?,
            ow: count(at, "columns", out[1])?,
            kernel_h: count(at, "rows of the kernel", kernel[0])?,
            kernel_w: count(at, "columns of the kernel", kernel[1])?,
            stride: count(at, "positions of a stride", stride)?,
            top: count(at, "rows", before[0] + 1)? - 1,
            left: count(at, "columns", before[1] + 1)? - 1,
            tile_h: 1,
            tile_w: 1,
            tiles_y: 1,
            tiles_x: 1,
            n_groups: count(at, "channels", self.c.div_ceil(CHANNELS))?,
            n_parts: 1,
        })
    }

    fn checked(&self, at: &str, x: &Buffer, weight: &Buffer) -> Result<Geometry> {
        let geometry = self.geometry(at)?;
        has(at, "x", x, self.x().bytes())?;
        has(at, "weight", weight, self.taps() * self.c * self.storage.bytes())?;
        Ok(geometry)
    }

    /// The tiles of the forward pass.
    fn forward_tiles(&self) -> Tiling {
        let ([kernel, _], stride) = (self.kernel, self.stride);
        let read = move |outs: usize| (outs - 1) * stride + kernel;
        // Four blocks on each multiprocessor of a large card.
        best_tiles(self.out, [2, STRIP], 2 * STRIP, 55 * 1024, |[h, w]| {
            let positions = read(h) * read(w);
            (
                positions + h * w,
                self.taps() * CHANNELS * 4 + self.converted(positions) + self.copied(positions),
            )
        })
    }

    /// The tiles of the backward pass, in units of the stride.
    fn backward_tiles(&self, has_norm: bool) -> Tiling {
        let (kernel, s) = (self.kernel[0], self.stride);
        // Positions counted from the padding's begin, rounded down to a multiple of the stride.
        let units = |axis: usize| {
            let before = self.before[axis];
            (self.size[axis] + before - before / s * s).div_ceil(s)
        };
        let (unit, reach) = if s == 1 { ([2, 7], kernel - 1) } else { ([1, 4], (kernel - 1) / 2) };
        // Three blocks on each multiprocessor of a large card, or two, as registers allow.
        let most = if kernel == 3 { 74 * 1024 } else { 96 * 1024 };
        best_tiles([units(0), units(1)], unit, 2 * s * unit[1], most, |[h, w]| {
            let (own, gradients) = (h * w * s * s, (h + reach) * (w + reach));
            let copies =
                self.copied(gradients) * (1 + usize::from(has_norm)) + 2 * self.copied(own);
            let converted = self.converted(own) + self.converted(gradients);
            (own + gradients, self.taps() * CHANNELS * 4 + converted + copies)
        })
    }

    /// Bytes of a tile as f32, and of its mask.
    fn converted(&self, positions: usize) -> usize {
        positions.next_multiple_of(4) * (CHANNELS + 1) * 4
    }

    /// Bytes of a tile as it is stored.
    fn copied(&self, positions: usize) -> usize {
        positions.next_multiple_of(4) * CHANNELS * self.storage.bytes()
    }
}

/// The tiles of a map that read and compute least: their sizes are multiples of a unit.
///
/// - `per_strip`: positions of a strip, of which a warp has one at a time.
/// - `most`: bytes of shared memory that a tile may take, if it is more than one unit.
/// - `cost`: what a tile costs, and its bytes of shared memory.
fn best_tiles(
    map: [usize; 2],
    unit: [usize; 2],
    per_strip: usize,
    most: usize,
    cost: impl Fn([usize; 2]) -> (usize, usize),
) -> Tiling {
    let of = |tile: [usize; 2]| {
        let tiles = [map[0].div_ceil(tile[0]), map[1].div_ceil(tile[1])];
        let (cost, shared) = cost(tile);
        let strips = (tile[0] / unit[0]) * (tile[1] / unit[1]);
        // As many warps as share the strips evenly.
        let warps = strips.div_ceil(strips.div_ceil(WARPS));
        // A fixed cost of each tile, in positions: barriers, the taps, the merge of moments.
        let total = (cost + 4 * per_strip) * tiles[0] * tiles[1];
        (total, Tiling { tile, tiles, warps, shared })
    };
    let mut best = of(unit);
    for rows in 1..=map[0].div_ceil(unit[0]).min(16) {
        for cols in 1..=map[1].div_ceil(unit[1]).min(16) {
            let next = of([rows * unit[0], cols * unit[1]]);
            if next.1.shared <= most && next.0 < best.0 {
                best = next;
            }
        }
    }
    best.1
}

/// y = the convolution of prologue(x), plus a bias, and the moments of y by channel if they are asked for.
///
/// - `x`: `[images, h, w, c]`.
/// - `weight`: `[kh, kw, c]`, stored as x is.
/// - `bias`: f32 `[c]`.
/// - `y`: `[images, h', w', c]`.
///
/// # Errors
/// If a size does not fit, or if the card has no room.
#[expect(unsafe_code, reason = "a launch")]
pub fn forward(
    device: &Device,
    of: &Depthwise,
    (x, prologue): (&Buffer, &Prologue<'_>),
    weight: &Buffer,
    bias: Option<&Buffer>,
    y: &mut Buffer,
    needs_moments: bool,
) -> Result<Option<Parts>> {
    let at = "depthwise::forward";
    let mut geometry = of.checked(at, x, weight)?;
    has(at, "y", y, of.y().bytes())?;
    if let Some(bias) = bias {
        has(at, "bias", bias, of.c * 4)?;
    }
    let groups = of.c.div_ceil(CHANNELS);
    let (name, n_parts, warps, shared) = match of.tiled() {
        Some(k) => {
            let tiling = of.forward_tiles();
            geometry.set(at, &tiling)?;
            let n_parts = of.tiled_parts(&tiling);
            geometry.n_parts = count(at, "parts", n_parts)?;
            (format!("depthwise_{k}_{}", of.stride), n_parts, tiling.warps, tiling.shared)
        }
        None => {
            let n_parts = of.plain_parts(of.y(), 1);
            geometry.n_parts = count(at, "parts", n_parts)?;
            ("depthwise_any".to_owned(), n_parts, WARPS, 0)
        }
    };
    let mut parts = needs_moments
        .then(|| Parts::alloc(device, PartsKind::Moments, n_parts, of.c))
        .transpose()?;
    let launch = device
        .launch(of.ptx(), &name)
        .grid(n_parts * groups, 1, 1)
        .block(32 * count(at, "warps", warps)?)
        .shared(shared)
        .arg(x)
        .value(&prologue.raw(at, of.x().extent())?)
        .arg(weight)
        .arg(bias)
        .arg(y)
        .arg(parts.as_mut().map(|it| &mut it.buffer))
        .value(&Kind::new(at, of.storage, of.c)?)
        .value(&geometry)
        .cost(of.x().bytes() + of.y().bytes(), 2 * of.taps() * of.y().n_rows() * of.c);
    // SAFETY: all buffers hold what the geometry says, which was checked, and `parts` was allocated for its tiles.
    unsafe { launch.run() }?;
    Ok(parts)
}

/// What the backward pass of a depthwise convolution writes; what is absent is not needed.
#[derive(Debug, Default)]
pub struct Gradients<'a> {
    /// `[images, h, w, c]`. It is that of scale·x + shift, so act' is applied; if the prologue has a gate, it is that of
    /// prologue(x), and [`gate_sums`](crate::norm::gate_sums) does the rest.
    pub x: Option<&'a mut Buffer>,
    /// f32 `[kh, kw, c]`.
    pub weight: Option<&'a mut Buffer>,
}

/// The gradients of x and of the weight from that of y, and, if they are asked for, Σ d and Σ d·(x - center) of the
/// gradient of x by channel, for the norm before it.
///
/// # Errors
/// If a size does not fit, or if the card has no room; if sums are asked for without a gradient of x, or with a gate.
#[expect(unsafe_code, reason = "a launch")]
pub fn backward(
    device: &Device,
    of: &Depthwise,
    (x, prologue): (&Buffer, &Prologue<'_>),
    (g, grad): (&Buffer, &GradPrologue<'_>),
    weight: &Buffer,
    into: Gradients<'_>,
    needs_sums: bool,
) -> Result<Option<Parts>> {
    let at = "depthwise::backward";
    let mut geometry = of.checked(at, x, weight)?;
    has(at, "g", g, of.y().bytes())?;
    let Gradients { x: mut dx, weight: d_weight } = into;
    if let Some(dx) = &dx {
        has(at, "dx", dx, of.x().bytes())?;
    }
    if let Some(it) = &d_weight {
        has(at, "the gradient of the weight", it, of.taps() * of.c * 4)?;
    }
    if needs_sums && (dx.is_none() || prologue.gate.is_some()) {
        let what =
            "sums are of the gradient of x before a norm: ask for that gradient, without a gate";
        return Err(Error::arguments(at, what.to_owned()));
    }
    if dx.is_none() && d_weight.is_none() {
        return Ok(None);
    }
    let raw_prologue = prologue.raw(at, of.x().extent())?;
    let raw_grad = grad.raw(at, of.y().extent())?;
    let kind = Kind::new(at, of.storage, of.c)?;
    let groups = of.c.div_ceil(CHANNELS);
    let width = of.taps() * of.c;
    let sums =
        |n: usize| needs_sums.then(|| Parts::alloc(device, PartsKind::Norm, n, of.c)).transpose();
    let Some(k) = of.tiled() else {
        let mut parts = None;
        if let Some(dx) = dx {
            let n_parts = of.plain_parts(of.x(), 1);
            geometry.n_parts = count(at, "parts", n_parts)?;
            parts = sums(n_parts)?;
            let launch = device
                .launch(&ANY, "depthwise_any_input")
                .grid(n_parts * groups, 1, 1)
                .block(256)
                .arg(x)
                .value(&raw_prologue)
                .arg(g)
                .value(&raw_grad)
                .arg(weight)
                .arg(dx)
                .arg(parts.as_mut().map(|it| &mut it.buffer))
                .value(&kind)
                .value(&geometry)
                .cost(2 * of.x().bytes() + of.y().bytes(), 2 * of.taps() * of.y().n_rows() * of.c);
            // SAFETY: all buffers hold what the geometry says, which was checked, and `parts` was allocated for it.
            unsafe { launch.run() }?;
        }
        if let Some(d_weight) = d_weight {
            let n_parts = of.plain_parts(of.y(), of.taps());
            geometry.n_parts = count(at, "parts", n_parts)?;
            let mut d_parts = device.alloc(n_parts * width * 4)?;
            let launch = device
                .launch(&ANY, "depthwise_any_weight")
                .grid(n_parts * groups * of.taps(), 1, 1)
                .block(256)
                .arg(x)
                .value(&raw_prologue)
                .arg(g)
                .value(&raw_grad)
                .arg(&mut d_parts)
                .value(&kind)
                .value(&geometry)
                .cost(of.x().bytes() + of.y().bytes(), 2 * of.taps() * of.y().n_rows() * of.c);
            // SAFETY: all buffers hold what the geometry says, which was checked, and `d_parts` was allocated for it.
            unsafe { launch.run() }?;
            add_up(device, at, &d_parts, n_parts, width, d_weight)?;
        }
        return Ok(parts);
    };
    let tiling = of.backward_tiles(grad.z.is_some());
    geometry.set(at, &tiling)?;
    let n_parts = of.tiled_parts(&tiling);
    geometry.n_parts = count(at, "parts", n_parts)?;
    let mut parts = sums(n_parts)?;
    let mut d_parts = match d_weight {
        Some(_) => Some(device.alloc(n_parts * width * 4)?),
        None => None,
    };
    let passes = usize::from(dx.is_some()) + usize::from(d_parts.is_some());
    let name = format!("depthwise_backward_{k}_{}", of.stride);
    let launch = device
        .launch(&PTX, &name)
        .grid(n_parts * groups, 1, 1)
        .block(32 * count(at, "warps", tiling.warps)?)
        .shared(tiling.shared)
        .arg(x)
        .value(&raw_prologue)
        .arg(g)
        .value(&raw_grad)
        .arg(weight)
        .arg(dx.as_deref_mut())
        .arg(d_parts.as_mut())
        .arg(parts.as_mut().map(|it| &mut it.buffer))
        .value(&kind)
        .value(&geometry)
        .cost(
            (1 + usize::from(dx.is_some())) * of.x().bytes()
                + (1 + usize::from(grad.z.is_some())) * of.y().bytes(),
            passes * 2 * of.taps() * of.y().n_rows() * of.c,
        );
    // SAFETY: all buffers hold what the geometry says, which was checked, and the parts were allocated for it.
    unsafe { launch.run() }?;
    if let (Some(d_parts), Some(d_weight)) = (d_parts, d_weight) {
        add_up(device, at, &d_parts, n_parts, width, d_weight)?;
    }
    Ok(parts)
}

impl Depthwise {
    fn ptx(&self) -> &'static Ptx {
        if self.tiled().is_some() { &PTX } else { &ANY }
    }

    /// The blocks that share the tiles of each group of channels.
    fn tiled_parts(&self, tiling: &Tiling) -> usize {
        let n_tiles = self.images * tiling.tiles[0] * tiling.tiles[1];
        (BLOCKS / self.c.div_ceil(CHANNELS)).clamp(1, n_tiles)
    }

    /// The parts of the plain loops over the positions of a shape.
    fn plain_parts(&self, shape: Shape, times: usize) -> usize {
        let most = (BLOCKS / self.c.div_ceil(CHANNELS) / times).max(1);
        let n = shape.n_rows().div_ceil(WARPS).clamp(1, most);
        // No part is empty.
        shape.n_rows().div_ceil(shape.n_rows().div_ceil(n))
    }
}

impl Geometry {
    fn set(&mut self, at: &str, tiling: &Tiling) -> Result<()> {
        self.tile_h = count(at, "positions", tiling.tile[0])?;
        self.tile_w = count(at, "positions", tiling.tile[1])?;
        self.tiles_y = count(at, "tiles", tiling.tiles[0])?;
        self.tiles_x = count(at, "tiles", tiling.tiles[1])?;
        Ok(())
    }
}
