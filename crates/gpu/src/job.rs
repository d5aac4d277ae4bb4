//! A product of matrices as its kernels take it: its buffers, its parameters, and the launch. See `kernels/job.cuh`.

use cudarc::driver::DeviceRepr;

use crate::{
    Address, Buffer, Device, Error, Ptx, Result,
    parts::{Parts, PartsKind},
    plan::{Pass, RawWindow, Sizes, splits},
    prologue::{Activation, Divisor, GradPrologue, Prologue, RawGradPrologue, RawPrologue, count},
    rows::number_of,
};

/// 1x1 products: channels in multiples of 8, stored in two bytes.
static PRODUCT: Ptx = crate::ptx::ptx!("product");
/// Windows, and all other channels and f32.
static CONV: Ptx = crate::ptx::ptx!("conv");

/// `Job` of `kernels/job.cuh`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Job {
    x: Address,
    g: Address,
    weight: Address,
    out: Address,
    scale: Address,
    shift: Address,
    plus: Address,
    parts: Address,
    prologue: RawPrologue,
    grad: RawGradPrologue,
    window: RawWindow,
    area: Divisor,
    width: Divisor,
    width_in: Divisor,
    column_tiles: Divisor,
    group_tiles: Divisor,
    n_rows: u32,
    n_images: u32,
    n_in: u32,
    n_out: u32,
    group_in: u32,
    group_out: u32,
    wide_in: u32,
    wide_out: u32,
    activation: u32,
    is_by_image: u32,
    n_parts: u32,
    storage: u32,
    split_rows: u32,
    /// The struct's size is a multiple of 8.
    unused: u32,
}

#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: `repr(C)` of addresses and numbers, without a gap, in the order of the device's struct.
unsafe impl DeviceRepr for Job {}

/// What follows a product in the forward pass: y = act(scale·sum + shift + plus).
///
/// The shift is a bias; with a scale it is a norm with fixed statistics.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// f32 `[n_out]`; 1 if absent.
    pub scale: Option<&'a Buffer>,
    /// f32 `[n_out]`; 0 if absent.
    pub shift: Option<&'a Buffer>,
    /// Of the shape of y, stored as it is.
    pub plus: Option<&'a Buffer>,
    /// Applied last.
    pub activation: Activation,
}

/// What is done to the gradient of a tensor that was read through a prologue, while it is stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Before<'a> {
    /// Added to the gradient first: another gradient of the same value.
    pub plus: Option<&'a Buffer>,
    /// Whether to write the sums that the norm, or the gate and the norm, before it need.
    pub needs_sums: bool,
}

/// The buffers of a product.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Operands<'a> {
    pub(crate) x: Option<&'a Buffer>,
    pub(crate) prologue: Prologue<'a>,
    pub(crate) g: Option<&'a Buffer>,
    pub(crate) grad: GradPrologue<'a>,
    pub(crate) weight: Option<&'a Buffer>,
    pub(crate) then: Epilogue<'a>,
    pub(crate) before: Before<'a>,
    pub(crate) needs_moments: bool,
}

/// Checks that the buffers are long enough for a pass.
///
/// # Errors
/// If one is too short, or missing.
pub(crate) fn check(
    at: &str,
    sizes: &Sizes,
    pass: Pass,
    with: &Operands<'_>,
    out: &Buffer,
) -> Result<()> {
    sizes.check(at)?;
    let (size, extent_in, extent_out) =
        (sizes.storage.bytes(), sizes.extent_in(), sizes.extent_out());
    let of_out = sizes.bytes_of_result(pass);
    let plus = if pass == Pass::Forward { with.then.plus } else { with.before.plus };
    for (name, buffer, bytes) in [
        ("x", with.x, extent_in.bytes()),
        ("g", with.g, extent_out.bytes()),
        ("weight", with.weight, sizes.weights() * size),
        ("scale", with.then.scale, sizes.n_out * 4),
        ("shift", with.then.shift, sizes.n_out * 4),
        ("plus", plus, of_out),
        ("the result", Some(out), of_out),
    ] {
        if let Some(it) = buffer
            && it.bytes() < bytes
        {
            let text = format!("`{name}` has {} bytes, and {sizes:?} need {bytes}", it.bytes());
            return Err(Error::arguments(at, text));
        }
    }
    if pass == Pass::Input
        && with.x.is_none()
        && (!with.prologue.is_plain() || with.before.needs_sums)
    {
        return Err(Error::arguments(at, "a prologue or sums need `x`, which is not given"));
    }
    Ok(())
}

/// Launches a pass.
///
/// # Errors
/// If a buffer is too short, or if the driver fails.
pub(crate) fn run(
    at: &str,
    device: &Device,
    sizes: &Sizes,
    pass: Pass,
    with: &Operands<'_>,
    out: &mut Buffer,
) -> Result<Option<Parts>> {
    check(at, sizes, pass, with, out)?;
    let (size, extent_in, extent_out) =
        (sizes.storage.bytes(), sizes.extent_in(), sizes.extent_out());
    let of_out = sizes.bytes_of_result(pass);
    let plus = if pass == Pass::Forward { with.then.plus } else { with.before.plus };
    let plan = sizes.plan(pass, device.info().multiprocessors as usize);
    let tile = plan.tile;
    let window = sizes.window.unwrap_or(RawWindow {
        h: 1,
        w: count(at, "rows of the input", sizes.area_in)?,
        oh: 1,
        ow: count(at, "rows of the output", sizes.area_out)?,
        kh: 1,
        kw: 1,
        stride: 1,
        top: 0,
        left: 0,
    });
    let products = sizes.groups / plan.merged;
    let (wide_in, wide_out) = (sizes.n_in / products, sizes.n_out / products);
    let is_by_image = pass == Pass::Input && with.prologue.gate.is_some();
    // Rows of the largest phase of the input's gradient.
    let phases = if pass == Pass::Input { (window.stride * window.stride) as usize } else { 1 };
    let area = match pass {
        Pass::Input => {
            (window.h.div_ceil(window.stride) * window.w.div_ceil(window.stride)) as usize
        }
        _ => sizes.area_out,
    };
    let (groups, group_rows) =
        if is_by_image { (sizes.images, area) } else { (1, sizes.images * area) };
    let group_tiles = group_rows.div_ceil(tile.rows());
    let (row_tiles, columns) = match pass {
        Pass::Forward => (group_tiles, wide_out),
        Pass::Input => (groups * group_tiles, wide_in),
        Pass::Weight => (wide_out.div_ceil(tile.rows()), sizes.taps() * wide_in),
    };
    let column_tiles = columns.div_ceil(tile.columns());
    let n_rows = sizes.images * sizes.area_out;
    let blocks = row_tiles * column_tiles * products;
    let (splits, split_rows) = match pass {
        Pass::Weight => splits(n_rows, 4 * device.info().multiprocessors as usize, blocks),
        _ => (1, 0),
    };
    let kind = match pass {
        Pass::Forward if with.needs_moments => Some(PartsKind::Moments),
        Pass::Input if with.before.needs_sums && is_by_image => {
            Some(PartsKind::Gate { images: sizes.images })
        }
        Pass::Input if with.before.needs_sums => Some(PartsKind::Norm),
        _ => None,
    };
    let n_parts = groups * phases * group_tiles;
    let c = if pass == Pass::Forward { sizes.n_out } else { sizes.n_in };
    let parts = kind.map(|kind| Parts::alloc(device, kind, n_parts, c)).transpose()?;
    let mut summed = match splits {
        1 => None,
        _ => Some(device.alloc(splits * sizes.weights() * 4)?),
    };
    let job = Job {
        x: Address::of(with.x),
        g: Address::of(with.g),
        weight: Address::of(with.weight),
        out: summed.as_ref().unwrap_or(&*out).address(),
        scale: Address::of(with.then.scale),
        shift: Address::of(with.then.shift),
        plus: Address::of(plus),
        parts: Address::of(parts.as_ref().map(|it| &it.buffer)),
        prologue: with.prologue.raw(at, extent_in)?,
        grad: with.grad.raw(at, extent_out)?,
        window,
        area: Divisor::of(count(at, "rows of the output", sizes.area_out)?),
        width: Divisor::of(window.ow),
        width_in: Divisor::of(count(at, "input channels", wide_in)?),
        column_tiles: Divisor::of(count(at, "columns", column_tiles)?),
        group_tiles: Divisor::of(count(at, "rows", group_tiles)?),
        n_rows: count(at, "rows", n_rows)?,
        n_images: count(at, "images", sizes.images)?,
        n_in: count(at, "input channels", sizes.n_in)?,
        n_out: count(at, "output channels", sizes.n_out)?,
        group_in: count(at, "input channels", sizes.n_in / sizes.groups)?,
        group_out: count(at, "output channels", sizes.n_out / sizes.groups)?,
        wide_in: count(at, "input channels", wide_in)?,
        wide_out: count(at, "output channels", wide_out)?,
        activation: with.then.activation as u32,
        is_by_image: u32::from(is_by_image),
        n_parts: count(at, "parts", n_parts)?,
        storage: number_of(sizes.storage),
        split_rows: u32::try_from(split_rows).unwrap_or(u32::MAX),
        unused: 0,
    };
    let has_z = pass != Pass::Forward && with.grad.z.is_some();
    let name = plan.kernel(pass, sizes.storage);
    let bytes_of = |buffer: Option<&Buffer>, bytes: usize| if buffer.is_some() { bytes } else { 0 };
    let bytes = bytes_of(with.x, extent_in.bytes())
        + bytes_of(with.g, extent_out.bytes())
        + bytes_of(with.grad.z, extent_out.bytes())
        + bytes_of(with.weight, sizes.weights() * size)
        + bytes_of(plus, of_out)
        + of_out;
    let launch = device
        .launch(if plan.is_product { &PRODUCT } else { &CONV }, &name)
        .grid(row_tiles * column_tiles, products, phases * splits)
        .block(u32::try_from(tile.threads()).unwrap_or(u32::MAX))
        .shared(plan.shared(pass, sizes.storage, has_z))
        .cost(bytes, 2 * n_rows * sizes.weights())
        .value(&job);
    #[expect(unsafe_code, reason = "a launch")]
    // SAFETY: the job's sizes are those that the buffers were checked against above; they are borrowed until the
    // launch, and the stream orders it before whatever reuses them. `out` is borrowed mutably.
    unsafe {
        launch.run()?;
    }
    if let Some(from) = &mut summed {
        sum_parts(device, from, splits, sizes.weights(), out)?;
    }
    Ok(parts)
}

/// Adds `n` rows of `length` numbers, in order: `parts`, f32 `[n, length]`, to `out`, f32 `[length]`.
pub(crate) fn sum_parts(
    device: &Device,
    parts: &Buffer,
    n: usize,
    length: usize,
    out: &mut Buffer,
) -> Result<()> {
    let at = "product::sum_parts";
    if parts.bytes() < n * length * 4 || out.bytes() < length * 4 {
        return Err(Error::arguments(
            at,
            format!("the buffers are too short for {n} x {length} numbers"),
        ));
    }
    let launch = device
        .launch(&PRODUCT, "sum_parts")
        .grid(length.div_ceil(128), 1, 1)
        .block(128)
        .cost((n + 1) * length * 4, n * length)
        .arg(parts)
        .arg(out)
        .arg(count(at, "parts", n)?)
        .arg(count(at, "numbers", length)?);
    #[expect(unsafe_code, reason = "a launch")]
    // SAFETY: the sizes were checked above, and `out` is borrowed mutably.
    unsafe {
        launch.run()
    }
}
