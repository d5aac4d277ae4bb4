//! Dropout: y = x·kept where the mask's bit is 1, otherwise 0, and the gradient alike.
//!
//! The mask comes from the host, whose named streams make it the same on every device and for every batch size; `kept`
//! is 1 / (1 - p), or 0 where p is 1. Srivastava et al., "Dropout", 2014,
//! <https://jmlr.org/papers/v15/srivastava14a.html>. On the CPU this is `dropout` of `ops`.

use crate::{
    Buffer, Device, Ptx, Result, Storage,
    rows::{THREADS, has, number_of},
};

static PTX: Ptx = crate::ptx::ptx!("dropout");

/// Numbers of a block: each thread has eight.
const NUMBERS: usize = 8 * THREADS as usize;

/// A mask as the kernel reads it: bit i % 8 of byte i / 8 is 1 where number i is kept.
#[must_use]
pub fn mask(kept: impl IntoIterator<Item = bool>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (idx, is_kept) in kept.into_iter().enumerate() {
        if idx % 8 == 0 {
            bytes.push(0);
        }
        if let Some(byte) = bytes.last_mut() {
            *byte |= u8::from(is_kept) << (idx % 8);
        }
    }
    bytes
}

/// y = x·kept where the mask's bit is 1, otherwise 0; in the backward pass the same of the gradient.
///
/// - `x`, `y`: `n` numbers.
/// - `mask`: a bit for each: see [`mask`].
///
/// # Errors
/// If the sizes do not fit.
#[expect(unsafe_code, reason = "a launch")]
pub fn dropout(
    device: &Device,
    (n, storage): (usize, Storage),
    x: &Buffer,
    (mask, kept): (&Buffer, f32),
    y: &mut Buffer,
) -> Result<()> {
    let at = "dropout::dropout";
    let bytes = n * storage.bytes();
    has(at, "x", x, bytes)?;
    has(at, "mask", mask, n.div_ceil(8))?;
    has(at, "y", y, bytes)?;
    let launch = device.launch(&PTX, "dropout").grid(n.div_ceil(NUMBERS), 1, 1).block(THREADS);
    let launch = launch.arg(x).arg(mask).arg(kept).arg(y).arg(number_of(storage)).arg(n as u64);
    // SAFETY: the sizes of all buffers were checked above.
    unsafe { launch.cost(2 * bytes + n / 8, n).run() }
}
