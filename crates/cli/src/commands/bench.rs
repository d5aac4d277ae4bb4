//! `maskfit bench`: how fast this machine is, in figures that can be set beside those of others.

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

/// Runs before the clock counts: memory is fresh and caches are cold.
const WARM_UP: usize = 3;

/// The median seconds of `n` runs, after some to warm up.
fn median_of(n: usize, mut run: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..n + WARM_UP {
        let began = Instant::now();
        run()?;
        times.push(began.elapsed().as_secs_f64());
    }
    Ok(median(&mut times[WARM_UP..]))
}

/// The middle one, of an even number the upper.
fn median(xs: &mut [f64]) -> f64 {
    xs.sort_by(f64::total_cmp);
    xs[xs.len() / 2]
}

/// Hundredths are all that a measurement is worth.
fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}
