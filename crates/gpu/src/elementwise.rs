//! Elementwise operations over rows of channels: prologues applied, sums of two tensors, gradients, and the sums by
//! channel or by image that they leave.
//!
//! Twins of `ops::{add, activate, global_avg_pool}`, of `ops::prologue::materialise`, and of the sums of `Grad`.
//! Prologues are described in [`prologue`](crate::prologue).

use crate::{
    Buffer, Device, Error, Ptx, Result, Storage,
    parts::{Parts, PartsKind},
    prologue::{Extent, GradPrologue, Prologue},
    rows::{Kind, Shape, THREADS, has, number_of},
    split::Split,
    sums::{add_up, first_sums},
};

static PTX: Ptx = crate::ptx::ptx!("elementwise");

/// out = prologue(x): a norm, an activation and a gate, stored.
///
/// # Errors
/// If a size does not fit.
pub fn apply(
    device: &Device,
    shape: Shape,
    x: (&Buffer, &Prologue<'_>),
    out: &mut Buffer,
) -> Result<()> {
    combine(device, "elementwise::apply", shape, x, None, out, false).map(drop)
}

/// out = a(x) + b(y), and its moments by channel if they are asked for.
///
/// # Errors
/// If a size does not fit, or if the card has no room.
pub fn add(
    device: &Device,
    shape: Shape,
    x: (&Buffer, &Prologue<'_>),
    y: (&Buffer, &Prologue<'_>),
    out: &mut Buffer,
    needs_moments: bool,
) -> Result<Option<Parts>> {
    combine(device, "elementwise::add", shape, x, Some(y), out, needs_moments)
}

#[expect(unsafe_code, reason = "a launch")]
fn combine(
    device: &Device,
    at: &str,
    shape: Shape,
    (x, a): (&Buffer, &Prologue<'_>),
    y: Option<(&Buffer, &Prologue<'_>)>,
    out: &mut Buffer,
    needs_moments: bool,
) -> Result<Option<Parts>> {
    has(at, "x", x, shape.bytes())?;
    has(at, "out", out, shape.bytes())?;
    let b = match y {
        Some((y, b)) => {
            has(at, "y", y, shape.bytes())?;
            b.raw(at, shape.extent())?
        }
        None => Prologue::default().raw(at, shape.extent())?,
    };
    let split = Split::of_rows(at, shape)?;
    let mut parts = needs_moments
        .then(|| Parts::alloc(device, PartsKind::Moments, split.n_parts(), shape.c))
        .transpose()?;
    let launch = device
        .launch(&PTX, "combine")
        .grid(split.n_blocks(), 1, 1)
        .block(THREADS)
        .arg(x)
        .value(&a.raw(at, shape.extent())?)
        .arg(y.map(|it| it.0))
        .value(&b)
        .arg(out)
        .arg(parts.as_mut().map(|it| &mut it.buffer))
        .value(&Kind::new(at, shape.storage, shape.c)?)
        .value(&split)
        .cost((2 + usize::from(y.is_some())) * shape.bytes(), 4 * shape.n_rows() * shape.c);
    // SAFETY: all buffers hold the tensor, which was checked, and `parts` was allocated for the split.
    unsafe { launch.run() }?;
    Ok(parts)
}

/// out = (prologue(g) + h)·act'(scale·z + shift), each part but the first optional: a gradient with its deferred steps
/// applied, or the sum of two, and the backward pass of a prologue up to its norm.
///
/// - `plus`: h, another gradient of the same tensor, without deferred steps.
/// - `before`: z, the tensor that the result is the gradient of, and its prologue, whose gate is not used.
/// - `needs_sums`: whether to return Σ out and Σ out·(z - center) by channel, which needs `before`.
///
/// # Errors
/// If a size does not fit, or if the card has no room.
#[expect(unsafe_code, reason = "a launch")]
pub fn gradient(
    device: &Device,
    shape: Shape,
    (g, grad): (&Buffer, &GradPrologue<'_>),
    plus: Option<&Buffer>,
    before: Option<(&Buffer, &Prologue<'_>)>,
    out: &mut Buffer,
    needs_sums: bool,
) -> Result<Option<Parts>> {
    let at = "elementwise::gradient";
    has(at, "g", g, shape.bytes())?;
    has(at, "out", out, shape.bytes())?;
    if let Some(h) = plus {
        has(at, "plus", h, shape.bytes())?;
    }
    if let Some((z, _)) = before {
        has(at, "z", z, shape.bytes())?;
    }
    if needs_sums && before.is_none() {
        return Err(Error::arguments(
            at,
            "sums are relative to a `before`, and there is none".to_owned(),
        ));
    }
    let prologue = before.map_or(Prologue::default(), |it| *it.1).raw(at, shape.extent())?;
    let split = Split::of_rows(at, shape)?;
    let mut parts = needs_sums
        .then(|| Parts::alloc(device, PartsKind::Norm, split.n_parts(), shape.c))
        .transpose()?;
    let is_there = [plus.is_some(), before.is_some(), grad.z.is_some()];
    let n_tensors = 2 + is_there.into_iter().filter(|it| *it).count();
    let launch = device
        .launch(&PTX, "gradient")
        .grid(split.n_blocks(), 1, 1)
        .block(THREADS)
        .arg(g)
        .value(&grad.raw(at, shape.extent())?)
        .arg(plus)
        .arg(before.map(|it| it.0))
        .value(&prologue)
        .arg(out)
        .arg(parts.as_mut().map(|it| &mut it.buffer))
        .value(&Kind::new(at, shape.storage, shape.c)?)
        .value(&split)
        .cost(n_tensors * shape.bytes(), 8 * shape.n_rows() * shape.c);
    // SAFETY: all buffers hold the tensor, which was checked, and `parts` was allocated for the split.
    unsafe { launch.run() }?;
    Ok(parts)
}

/// Σ of each channel of a gradient: that of a bias.
///
/// - `out`: f32 `[c]`.
///
/// # Errors
/// If a size does not fit, or if the card has no room.
#[expect(unsafe_code, reason = "a launch")]
pub fn column_sums(
    device: &Device,
    shape: Shape,
    (g, prologue): (&Buffer, &GradPrologue<'_>),
    out: &mut Buffer,
) -> Result<()> {
    let at = "elementwise::column_sums";
    has(at, "g", g, shape.bytes())?;
    has(at, "out", out, shape.c * 4)?;
    let split = Split::of_rows(at, shape)?;
    let mut parts = device.alloc(split.n_parts() * shape.c * 4)?;
    let launch = device
        .launch(&PTX, "column_sums")
        .grid(split.n_blocks(), 1, 1)
        .block(THREADS)
        .arg(g)
        .value(&prologue.raw(at, shape.extent())?)
        .arg(&mut parts)
        .value(&Kind::new(at, shape.storage, shape.c)?)
        .value(&split)
        .cost((1 + usize::from(prologue.z.is_some())) * shape.bytes(), shape.n_rows() * shape.c);
    // SAFETY: `g` and what its prologue reads hold the tensor, and `parts` was allocated for the split.
    unsafe { launch.run() }?;
    add_up(device, at, &parts, split.n_parts(), shape.c, out)
}

/// The mean of each channel of each image of prologue(x): global average pooling, and the squeeze of a gate.
///
/// Its gradient is `plus` of [`GradPrologue`]: the result's, times 1 / area (see [`scale`]).
///
/// - `out`: `[images, c]`.
///
/// # Errors
/// If a size does not fit, or if the card has no room.
#[expect(unsafe_code, reason = "a launch")]
pub fn average(
    device: &Device,
    shape: Shape,
    (x, prologue): (&Buffer, &Prologue<'_>),
    out: &mut Buffer,
) -> Result<()> {
    let at = "elementwise::average";
    has(at, "x", x, shape.bytes())?;
    has(at, "out", out, shape.images * shape.c * shape.storage.bytes())?;
    let split = Split::of_images(at, shape)?;
    let factor = 1.0 / shape.area as f32;
    let is_one = split.n_parts() == shape.images;
    let mut parts = match is_one {
        true => None,
        false => Some(device.alloc(split.n_parts() * shape.c * 4)?),
    };
    let launch = device
        .launch(&PTX, "image_sums")
        .grid(split.n_blocks(), 1, 1)
        .block(THREADS)
        .arg(x)
        .value(&prologue.raw(at, shape.extent())?)
        .arg(parts.as_mut())
        .arg(is_one.then_some(&mut *out))
        .arg(factor)
        .value(&Kind::new(at, shape.storage, shape.c)?)
        .value(&split)
        .cost(shape.bytes(), shape.n_rows() * shape.c);
    // SAFETY: `x` and what its prologue reads hold the tensor, `out` was checked, and `parts` was allocated for the split.
    unsafe { launch.run() }?;
    let Some(parts) = parts else { return Ok(()) };
    let of = Extent { area: split.n_parts() / shape.images, ..shape.extent() };
    first_sums(device, at, of, (&parts, 1), factor, out)
}

/// out = factor·x, `n` numbers.
///
/// # Errors
/// If a size does not fit.
#[expect(unsafe_code, reason = "a launch")]
pub fn scale(
    device: &Device,
    storage: Storage,
    n: usize,
    (x, factor): (&Buffer, f32),
    out: &mut Buffer,
) -> Result<()> {
    let at = "elementwise::scale";
    has(at, "x", x, n * storage.bytes())?;
    has(at, "out", out, n * storage.bytes())?;
    let launch = device
        .launch(&PTX, "scaled")
        .grid(n.div_ceil(256), 1, 1)
        .block(256)
        .arg(x)
        .arg(factor)
        .arg(out)
        .arg(number_of(storage))
        .arg(n as u64)
        .cost(2 * n * storage.bytes(), n);
    // SAFETY: the sizes of both were just checked.
    unsafe { launch.run() }
}
