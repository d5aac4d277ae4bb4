//! Concatenation of channels and its gradient.
//!
//! y\[.., channels of a part\] = the part, read through its prologue; the gradient of a part is its channels of the
//! gradient of y. A launch for each part: Huang et al., "Densely Connected Convolutional Networks", 2016,
//! <https://arxiv.org/abs/1608.06993>, concatenate two at a time. On the CPU this is `concat` of `ops`.

use crate::{
    Buffer, Device, Error, Ptx, Result, Shape,
    prologue::{GradPrologue, Prologue, count},
    rows::{Kind, Layout, THREADS, has},
};

static PTX: Ptx = crate::ptx::ptx!("concat");

/// Checks that the part lies within the whole.
fn check(at: &str, part: Shape, whole: Shape, offset: usize) -> Result<()> {
    let is_same =
        part.storage == whole.storage && part.images == whole.images && part.area == whole.area;
    match is_same && offset.checked_add(part.c).is_some_and(|end| end <= whole.c) {
        true => Ok(()),
        false => {
            let what = format!("{part:?} is not a part of {whole:?} from channel {offset}");
            Err(Error::arguments(at, what))
        }
    }
}

/// y\[.., offset..offset + c\] = x.
///
/// - `x`: of the shape `part`, read through `prologue`.
/// - `y`: of the shape `whole`; its other channels stay.
///
/// # Errors
/// If the sizes do not fit.
#[expect(unsafe_code, reason = "a launch")]
pub fn concat(
    device: &Device,
    (part, whole): (Shape, Shape),
    offset: usize,
    x: &Buffer,
    prologue: &Prologue<'_>,
    y: &mut Buffer,
) -> Result<()> {
    let at = "concat::concat";
    check(at, part, whole, offset)?;
    has(at, "x", x, part.bytes())?;
    has(at, "y", y, whole.bytes())?;
    let kind = Kind::new(at, part.storage, part.c)?;
    let (layout, [gx, gy]) = Layout::new(at, part.n_rows(), part.c)?;
    let prologue = prologue.raw(at, part.extent())?;
    let launch = device.launch(&PTX, "concat").grid(gx, gy, 1).block(THREADS);
    let launch =
        launch.arg(x).value(&prologue).arg(y).value(&kind).arg(count(at, "channels", whole.c)?);
    let launch = launch.arg(position(offset)).value(&layout).cost(2 * part.bytes(), 0);
    // SAFETY: the sizes of all buffers were checked above.
    unsafe { launch.run() }
}

/// dx = g\[.., offset..offset + c\].
///
/// - `g`: of the shape `whole`, read through `prologue`.
/// - `dx`: of the shape `part`.
///
/// # Errors
/// If the sizes do not fit.
#[expect(unsafe_code, reason = "a launch")]
pub fn concat_backward(
    device: &Device,
    (part, whole): (Shape, Shape),
    offset: usize,
    g: &Buffer,
    prologue: &GradPrologue<'_>,
    dx: &mut Buffer,
) -> Result<()> {
    let at = "concat::concat_backward";
    check(at, part, whole, offset)?;
    has(at, "g", g, whole.bytes())?;
    has(at, "dx", dx, part.bytes())?;
    // Threads have whole eights of the gradient's channels.
    let kind = Kind::new(at, whole.storage, whole.c)?;
    let (layout, [gx, gy]) = Layout::new(at, part.n_rows(), part.c + offset % 8)?;
    let prologue = prologue.raw(at, whole.extent())?;
    let launch = device.launch(&PTX, "concat_backward").grid(gx, gy, 1).block(THREADS);
    let launch =
        launch.arg(g).value(&prologue).arg(dx).value(&kind).arg(count(at, "channels", part.c)?);
    let launch = launch.arg(position(offset)).value(&layout).cost(2 * part.bytes(), 0);
    // SAFETY: the sizes of all buffers were checked above.
    unsafe { launch.run() }
}

/// A channel of a tensor whose channels were counted.
fn position(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}
