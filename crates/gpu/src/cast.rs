//! Numbers in another storage, and one number everywhere.

use crate::{
    Buffer, Device, Error, Ptx, Result, Slice, Storage,
    rows::{THREADS, has, number_of},
};

static PTX: Ptx = crate::ptx::ptx!("cast");

/// Numbers of a block: each thread has eight.
const NUMBERS: usize = 8 * THREADS as usize;

/// to = from, rounded to the nearest.
///
/// - `from`, `to`: `n` numbers, each stored as it says.
///
/// # Errors
/// If the sizes do not fit.
pub fn cast(
    device: &Device,
    n: usize,
    from: (&Buffer, Storage),
    to: (&mut Buffer, Storage),
) -> Result<()> {
    launch(device, n, from, (&*to.0, to.1), None)
}

/// to = from·times with one factor, an f32 on the device: so the gradient of the loss gets the loss scale.
///
/// # Errors
/// If the sizes do not fit.
pub fn cast_times(
    device: &Device,
    n: usize,
    from: (&Buffer, Storage),
    to: (&mut Buffer, Storage),
    times: Slice<'_>,
) -> Result<()> {
    if times.bytes() < 4 {
        return Err(Error::arguments("cast::cast_times", "the factor is one f32"));
    }
    launch(device, n, from, (&*to.0, to.1), Some(times))
}

/// to = from, for a buffer whose owner lets a kernel write it: that of a parameter.
///
/// # Errors
/// If the sizes do not fit.
pub fn cast_into(
    device: &Device,
    n: usize,
    from: (&Buffer, Storage),
    to: (&Buffer, Storage),
) -> Result<()> {
    launch(device, n, from, to, None)
}

/// The same for a buffer whose owner lets a kernel write it.
#[expect(unsafe_code, reason = "a launch")]
pub(crate) fn launch(
    device: &Device,
    n: usize,
    (from, from_storage): (&Buffer, Storage),
    (to, to_storage): (&Buffer, Storage),
    times: Option<Slice<'_>>,
) -> Result<()> {
    let at = "cast::cast";
    let (read, written) = (n * from_storage.bytes(), n * to_storage.bytes());
    has(at, "from", from, read)?;
    has(at, "to", to, written)?;
    let launch = device.launch(&PTX, "cast").grid(n.div_ceil(NUMBERS), 1, 1).block(THREADS);
    let launch = launch.arg(from).arg(number_of(from_storage)).arg(to).arg(number_of(to_storage));
    // SAFETY: the sizes of both buffers were checked above.
    unsafe { launch.arg(times).arg(n as u64).cost(read + written, n).run() }
}

/// Sets the first `n` numbers to `x`.
///
/// # Errors
/// If the sizes do not fit.
#[expect(unsafe_code, reason = "a launch")]
pub fn fill(device: &Device, n: usize, to: &mut Buffer, storage: Storage, x: f32) -> Result<()> {
    has("cast::fill", "to", to, n * storage.bytes())?;
    let launch = device.launch(&PTX, "fill").grid(n.div_ceil(NUMBERS), 1, 1).block(THREADS);
    let launch = launch.arg(to).arg(number_of(storage)).arg(x).arg(n as u64);
    // SAFETY: the size of the buffer was checked above.
    unsafe { launch.cost(n * storage.bytes(), 0).run() }
}
