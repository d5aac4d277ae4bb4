//! Sums of parts, in their order: the second step of every sum over rows.
//!
//! There are no atomic additions of floats, so that every run has the same bits. The kernels are in `kernels/norm.cu`.

use crate::{
    Buffer, Device, Ptx, Result,
    prologue::{Extent, count},
    rows::{Kind, has},
    split::MOST_PARTS,
};

pub(crate) static PTX: Ptx = crate::ptx::ptx!("norm");

/// Channels of a block of the kernels that merge parts, and its threads.
pub(crate) const ACROSS: usize = 32;
pub(crate) const MERGERS: u32 = 1024;

/// The first of the `kinds` sums of each image over its parts, times a factor: `[images, c]`.
///
/// - `of`: the area is the number of an image's parts.
#[expect(unsafe_code, reason = "a launch")]
pub(crate) fn first_sums(
    device: &Device,
    at: &str,
    of: Extent,
    (parts, kinds): (&Buffer, u32),
    factor: f32,
    out: &mut Buffer,
) -> Result<()> {
    let n = of.images * of.c;
    has(at, "out", out, n * of.storage.bytes())?;
    has(at, "parts", parts, n * of.area * kinds as usize * 4)?;
    let launch = device
        .launch(&PTX, "first_sums")
        .grid(n.div_ceil(256), 1, 1)
        .block(256)
        .arg(parts)
        .arg(count(at, "parts", of.area)?)
        .arg(kinds)
        .value(&Kind::new(at, of.storage, of.c)?)
        .arg(factor)
        .arg(out)
        .arg(n as u64);
    // SAFETY: the sizes of both were just checked.
    unsafe { launch.run() }
}

/// Adds parts, f32 `[n][width]`, into `out`, f32 `[width]`, in order.
pub(crate) fn add_up(
    device: &Device,
    at: &str,
    parts: &Buffer,
    n: usize,
    width: usize,
    out: &mut Buffer,
) -> Result<()> {
    has(at, "the gradient", out, width * 4)?;
    let fewer = fewer(device, parts, n, width)?;
    let (parts, n) = fewer.as_ref().map_or((parts, n), |(buffer, n)| (buffer, *n));
    add_parts(device, parts, n, width, n, out)
}

/// Parts, f32 `[n][width]`, added to fewer if they are too many for one launch.
pub(crate) fn fewer(
    device: &Device,
    parts: &Buffer,
    n: usize,
    width: usize,
) -> Result<Option<(Buffer, usize)>> {
    if n <= MOST_PARTS {
        return Ok(None);
    }
    let (n_fewer, per_part) = fewer_of(n);
    let mut fewer = device.alloc(n_fewer * width * 4)?;
    add_parts(device, parts, n, width, per_part, &mut fewer)?;
    Ok(Some((fewer, n_fewer)))
}

/// The number of parts that too many parts are merged to, and how many make one.
pub(crate) fn fewer_of(n: usize) -> (usize, usize) {
    let per_part = n.div_ceil(64);
    (n.div_ceil(per_part), per_part)
}

#[expect(unsafe_code, reason = "a launch")]
fn add_parts(
    device: &Device,
    parts: &Buffer,
    n: usize,
    width: usize,
    per_part: usize,
    out: &mut Buffer,
) -> Result<()> {
    let at = "norm::add_parts";
    has(at, "parts", parts, n * width * 4)?;
    let launch = device
        .launch(&PTX, "add_parts")
        .grid(width.div_ceil(ACROSS), n.div_ceil(per_part), 1)
        .block(MERGERS)
        .arg(parts)
        .arg(out)
        .arg(count(at, "parts", n)?)
        .arg(count(at, "numbers", width)?)
        .arg(count(at, "parts", per_part)?)
        .cost(n * width * 4, n * width);
    // SAFETY: both are f32 lists of as many rows of `width` numbers.
    unsafe { launch.run() }
}
