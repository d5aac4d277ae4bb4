//! `maskfit bench`: the speed of this machine, in numbers that can be compared with those of other programs.

mod compare;
mod load;
mod network;
mod scale;
mod table;

use std::time::Instant;

use crate::{End, args::BenchCommand};

pub(crate) fn bench(command: &BenchCommand) -> anyhow::Result<End> {
    match command {
        BenchCommand::Train(args) => network::train(args),
        BenchCommand::Infer(args) => network::infer(args),
        BenchCommand::Ops(args) => network::ops(args),
        BenchCommand::Load { experiment, images } => load::load(experiment, *images),
        BenchCommand::Compare(args) => compare::compare(args),
        BenchCommand::Scale { step } => scale::scale(step),
    }
}

/// Untimed warm-up runs: memory is not yet allocated and caches are cold.
const WARM_UP: usize = 3;

/// Returns the median seconds of `n` runs, after [`WARM_UP`] untimed ones.
fn median_of(n: usize, mut run: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..n + WARM_UP {
        let began = Instant::now();
        run()?;
        times.push(began.elapsed().as_secs_f64());
    }
    Ok(median(&mut times[WARM_UP..]))
}

/// Returns the median; of an even number of values the upper middle one.
fn median(xs: &mut [f64]) -> f64 {
    xs.sort_by(f64::total_cmp);
    xs[xs.len() / 2]
}

/// Rounds to hundredths, the precision of these measurements.
fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}
