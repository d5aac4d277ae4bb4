//! Layer norm: each row of channels is normalised by its own mean and variance.
//!
//! y = γ (x - μ)·r + β with r = 1 / √(σ² + ε), the mean μ and the biased variance σ² of the row that x is in. With
//! x̂ = (x - μ)·r: dx = (gγ - mean(gγ) - x̂·mean(gγ·x̂))·r, dγ = Σ g·x̂ and dβ = Σ g.
//!
//! Ba et al., "Layer Normalization", 2016, <https://arxiv.org/abs/1607.06450>. On the CPU this is `layer_norm` of
//! `ops`, which also reads through prologues; networks with layer norms have none before or after them, so here what
//! has one is to be written out first. γ, β and their gradients are f32.

use cudarc::driver::DeviceRepr;

use crate::{
    Address, Buffer, Device, Launch, Ptx, Result, Shape,
    prologue::count,
    rows::{Kind, THREADS, has},
};

static PTX: Ptx = crate::ptx::ptx!("layer_norm");

/// Threads of a warp.
const WARP: usize = 32;
/// The channels of a warp: 32 threads with eight each.
const CHANNELS: usize = 8 * WARP;
/// Parts that are summed in the second stage, at most.
const MOST_PARTS: usize = 1024;

/// `Rows` of `kernels/layer_norm.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Rows {
    n: u32,
    lane_bits: u32,
    per_block: u32,
}

/// `Backward` of `kernels/layer_norm.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Backward {
    x: Address,
    g: Address,
    gamma: Address,
    stats: Address,
    dx: Address,
    parts: Address,
}

#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: `repr(C)` of addresses, in the order of the device's struct.
unsafe impl DeviceRepr for Backward {}
#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: `repr(C)` of numbers, in the order of the device's struct.
unsafe impl DeviceRepr for Rows {}

/// Threads of a row.
fn n_lanes(it: Shape) -> u32 {
    match it.c {
        0..=64 => 8,
        65..=128 => 16,
        _ => 32,
    }
}

/// y = γ (x - μ)·r + β.
///
/// - `x`, `y`: of the shape `it`.
/// - `gamma`, `beta`: f32 `[c]`.
/// - `stats`: f32 `[rows, 2]`: μ and r, for the backward pass.
///
/// # Errors
/// If the sizes do not fit.
#[expect(unsafe_code, reason = "a launch")]
pub fn layer_norm(
    device: &Device,
    it: Shape,
    x: &Buffer,
    (gamma, beta): (&Buffer, &Buffer),
    eps: f32,
    y: &mut Buffer,
    stats: &mut Buffer,
) -> Result<()> {
    let at = "layer_norm::layer_norm";
    let (kind, n) = (Kind::new(at, it.storage, it.c)?, count(at, "rows", it.n_rows())?);
    has(at, "x", x, it.bytes())?;
    has(at, "gamma", gamma, it.c * 4)?;
    has(at, "beta", beta, it.c * 4)?;
    has(at, "y", y, it.bytes())?;
    has(at, "stats", stats, it.n_rows() * 8)?;
    let (name, n_lanes) = match it.c.div_ceil(CHANNELS) {
        1 if it.c.is_multiple_of(8) => ("layer_norm_1", n_lanes(it)),
        2 if it.c.is_multiple_of(8) => ("layer_norm_2", 32),
        3 if it.c.is_multiple_of(8) => ("layer_norm_3", 32),
        4 if it.c.is_multiple_of(8) => ("layer_norm_4", 32),
        _ => ("layer_norm", 32),
    };
    let rows = Rows { n, lane_bits: n_lanes.ilog2(), per_block: THREADS / n_lanes };
    let launch = device.launch(&PTX, name).grid(n.div_ceil(rows.per_block) as usize, 1, 1);
    let launch = launch.block(THREADS).arg(x).arg(gamma).arg(beta).arg(eps).arg(y).arg(stats);
    let launch = launch.value(&kind).value(&rows);
    // SAFETY: the sizes of all buffers were checked above.
    unsafe { launch.cost(2 * it.bytes() + 8 * it.n_rows(), 5 * it.len()).run() }
}

/// dx, and the gradients of γ and β.
///
/// - `x`, `gamma`, `stats`: those of the forward pass.
/// - `g`, `dx`: of the shape `it`.
/// - `d_gamma_beta`: f32 `[2, c]`: the gradient of γ, then that of β.
///
/// # Errors
/// If the sizes do not fit, or the card has no room for the parts of the sums.
#[expect(unsafe_code, reason = "launches")]
pub fn layer_norm_backward(
    device: &Device,
    it: Shape,
    (x, g): (&Buffer, &Buffer),
    (gamma, stats): (&Buffer, &Buffer),
    dx: &mut Buffer,
    d_gamma_beta: &mut Buffer,
) -> Result<()> {
    let at = "layer_norm::layer_norm_backward";
    let (kind, n) = (Kind::new(at, it.storage, it.c)?, count(at, "rows", it.n_rows())?);
    has(at, "x", x, it.bytes())?;
    has(at, "g", g, it.bytes())?;
    has(at, "gamma", gamma, it.c * 4)?;
    has(at, "stats", stats, it.n_rows() * 8)?;
    has(at, "dx", dx, it.bytes())?;
    has(at, "d_gamma_beta", d_gamma_beta, it.c * 8)?;

    // A thread has four rows at least, and there are not more parts than the second stage adds quickly.
    let n_lanes = n_lanes(it);
    let per_block = it.n_rows().div_ceil(MOST_PARTS).max(4 * (THREADS / n_lanes) as usize);
    let n_parts = it.n_rows().div_ceil(per_block);
    let parts = device.alloc(n_parts * 2 * it.c * 4)?;
    let per_block = count(at, "rows of a block", per_block)?;
    let rows = Rows { n, lane_bits: n_lanes.ilog2(), per_block };
    let job = Backward {
        x: x.address(),
        g: g.address(),
        gamma: gamma.address(),
        stats: stats.address(),
        dx: dx.address(),
        parts: parts.address(),
    };
    let (bytes, operations) = (3 * it.bytes() + 8 * it.n_rows(), 10 * it.len());
    let launch = |name: &'static str, blocks: usize, bytes: usize| -> Launch<'_> {
        let launch = device.launch(&PTX, name).grid(blocks, 1, 1).block(THREADS);
        launch.value(&job).value(&kind).value(&rows).cost(bytes, operations)
    };
    // SAFETY: the sizes of all buffers were checked above, and `parts` has room for all of them.
    unsafe {
        match it.c.div_ceil(CHANNELS) {
            1 if it.c.is_multiple_of(8) => launch("layer_norm_backward_1", n_parts, bytes).run()?,
            2 if it.c.is_multiple_of(8) => launch("layer_norm_backward_2", n_parts, bytes).run()?,
            3 if it.c.is_multiple_of(8) => launch("layer_norm_backward_3", n_parts, bytes).run()?,
            4 if it.c.is_multiple_of(8) => launch("layer_norm_backward_4", n_parts, bytes).run()?,
            n_across => {
                launch("layer_norm_backward", it.n_rows().div_ceil(8), bytes).run()?;
                launch("layer_norm_backward_columns", n_parts * n_across, 2 * it.bytes()).run()?;
            }
        }
        let launch = device.launch(&PTX, "add_parts").grid((2 * it.c).div_ceil(WARP), 1, 1);
        let launch = launch.block(THREADS).arg(&parts).arg(d_gamma_beta);
        let launch = launch.arg(count(at, "parts", n_parts)?).arg(count(at, "channels", 2 * it.c)?);
        launch.cost(parts.bytes(), n_parts * 2 * it.c).run()
    }
}
