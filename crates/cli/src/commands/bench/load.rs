//! `maskfit bench load`: throughput and time profile of the training pipeline on one core.
//!
//! The rows of the stages time each transform by itself; the row `as trained` times the pipeline as training
//! runs it, with successive transforms combined.

use std::time::Instant;

use augment::{Cache, Canvas, decode};
use candle::Device;
use serde_json::{Map, Value, json};
use trainer::Plan;

use super::timing::round;
use crate::{
    args::ExperimentArgs,
    preparation::{manifest, settled, use_threads},
    terminal::Terminal,
};

/// Returns the line of JSON.
pub(super) fn load(args: &ExperimentArgs, n_images: usize) -> anyhow::Result<Value> {
    let terminal = Terminal::new();
    let experiment = settled(args, &terminal)?;
    use_threads(experiment.threads)?;
    let manifest = manifest(&experiment, &terminal)?;
    let plan = Plan::new(&experiment, &manifest, experiment.data.fold, &Device::Cpu, &terminal)?;
    terminal.clear();
    let pipeline = &plan.train_pipeline;
    let cache = plan.cache.as_ref().map(|it| it as &dyn Cache);
    let mut stages = vec![("read", 0.0), ("decode", 0.0)];
    stages.extend(pipeline.ops.iter().map(|it| (it.op.kind(), 0.0)));
    let (mut as_trained, mut unpacked) = (0.0, 0.0);
    for idx in 0..n_images {
        let example = plan.sides.train[idx % plan.sides.train.len()];
        let (name, content) = &plan.images[example];
        let fails = |problem: String| anyhow::anyhow!("{name}: {problem}");
        let mut began = Instant::now();
        let mut lap = |stage: usize| {
            stages[stage].1 += began.elapsed().as_secs_f64();
            began = Instant::now();
        };
        let bytes = content.bytes().map_err(|it| fails(it.to_string()))?;
        lap(0);
        let decoded = decode(&bytes, pipeline.max_pixels).map_err(|it| fails(it.to_string()))?;
        lap(1);
        let rng = &mut plan.seed().stream(&format!("augment/{idx}"));
        let mut canvas = Canvas::from(decoded);
        for (at, step) in pipeline.ops.iter().enumerate() {
            step.apply(&mut canvas, rng).map_err(|it| fails(it.to_string()))?;
            canvas.pixels().map_err(|it| fails(it.to_string()))?;
            lap(2 + at);
        }
        let rng = &mut plan.seed().stream(&format!("augment/{idx}"));
        let trained = match &plan.pack {
            Some(pack) => {
                let prepared = pack.image(example).map_err(|it| fails(it.to_string()))?;
                unpacked += began.elapsed().as_secs_f64();
                pipeline.finish(prepared, rng)
            }
            None => {
                let bytes = content.bytes().map_err(|it| fails(it.to_string()))?;
                pipeline.apply(&bytes, rng, cache)
            }
        };
        trained.map_err(|it| fails(it.to_string()))?;
        as_trained += began.elapsed().as_secs_f64();
    }
    let n = n_images as f64;
    say!("{:<16} {:>12} {:>7} {:>14}", "one core", "ms/image", "share", "images/s");
    let apart = stages.iter().map(|it| it.1).sum();
    let mut rows = stages.clone();
    rows.push(("sum of stages", apart));
    rows.extend(plan.pack.is_some().then_some(("read from pack", unpacked)));
    rows.push(("as trained", as_trained));
    for (name, seconds) in &rows {
        let share = 100.0 * seconds / apart;
        say!("{name:<16} {:>12.3} {share:>6.1}% {:>14.0}", seconds / n * 1e3, n / seconds);
    }
    let by_stage: Map<_, _> =
        rows.iter().map(|(name, s)| ((*name).to_owned(), round(s / n * 1e6).into())).collect();
    Ok(json!({
        "peer": format!("maskfit {}", env!("CARGO_PKG_VERSION")),
        "version": env!("CARGO_PKG_VERSION"),
        "images": n_images, "load_img_s": round(n / as_trained), "us_an_image": by_stage,
    }))
}
