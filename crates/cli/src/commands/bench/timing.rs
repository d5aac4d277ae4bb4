//! Times of repeated runs.

use std::time::Instant;

/// Untimed warm-up runs: memory is not yet allocated and caches are cold.
const WARM_UP: usize = 3;

/// Returns the median seconds of `n` runs, after [`WARM_UP`] untimed ones.
pub(super) fn median_of(
    n: usize,
    mut run: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..n + WARM_UP {
        let began = Instant::now();
        run()?;
        times.push(began.elapsed().as_secs_f64());
    }
    // Of an even number the upper middle one, as in older builds, which `bench compare` runs.
    let times = &mut times[WARM_UP..];
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Rounds to hundredths, the precision of these measurements.
pub(super) fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}
