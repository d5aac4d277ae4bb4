//! L2 normalisation of rows to a given length: y = length·x / max(‖x‖, ε) with ε = 10⁻¹².
//!
//! dx = length·(g - x·(x·g) / ‖x‖²) / ‖x‖; the gradient of a row shorter than ε is 0, not g / ε as in PyTorch's
//! `normalize`. On the CPU this is `l2_normalise` of `ops`. Sums are in f64.

use crate::{
    Buffer, Device, Ptx, Result, Shape,
    prologue::count,
    rows::{Kind, THREADS, has},
};

static PTX: Ptx = crate::ptx::ptx!("l2_normalise");

/// Rows of a block: one for each warp.
const ROWS: usize = 8;

/// y = length·x / max(‖x‖, ε).
///
/// - `x`, `y`: of the shape `it`.
///
/// # Errors
/// If the sizes do not fit.
#[expect(unsafe_code, reason = "a launch")]
pub fn l2_normalise(
    device: &Device,
    it: Shape,
    x: &Buffer,
    length: f32,
    y: &mut Buffer,
) -> Result<()> {
    let at = "l2_normalise::l2_normalise";
    let (kind, n_rows) = (Kind::new(at, it.storage, it.c)?, count(at, "rows", it.n_rows())?);
    has(at, "x", x, it.bytes())?;
    has(at, "y", y, it.bytes())?;
    let launch =
        device.launch(&PTX, "l2_normalise").grid(it.n_rows().div_ceil(ROWS), 1, 1).block(THREADS);
    let launch = launch.arg(x).arg(y).arg(length).value(&kind).arg(n_rows);
    // SAFETY: the sizes of all buffers were checked above.
    unsafe { launch.cost(2 * it.bytes(), 3 * it.len()).run() }
}

/// dx = length·(g - x·(x·g) / ‖x‖²) / ‖x‖.
///
/// - `x`, `g`, `dx`: of the shape `it`.
///
/// # Errors
/// If the sizes do not fit.
#[expect(unsafe_code, reason = "a launch")]
pub fn l2_normalise_backward(
    device: &Device,
    it: Shape,
    x: &Buffer,
    g: &Buffer,
    length: f32,
    dx: &mut Buffer,
) -> Result<()> {
    let at = "l2_normalise::l2_normalise_backward";
    let (kind, n_rows) = (Kind::new(at, it.storage, it.c)?, count(at, "rows", it.n_rows())?);
    has(at, "x", x, it.bytes())?;
    has(at, "g", g, it.bytes())?;
    has(at, "dx", dx, it.bytes())?;
    let launch = device.launch(&PTX, "l2_normalise_backward");
    let launch = launch.grid(it.n_rows().div_ceil(ROWS), 1, 1).block(THREADS);
    let launch = launch.arg(x).arg(g).arg(dx).arg(length).value(&kind).arg(n_rows);
    // SAFETY: the sizes of all buffers were checked above.
    unsafe { launch.cost(3 * it.bytes(), 7 * it.len()).run() }
}
