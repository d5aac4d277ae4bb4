//! `maskfit bench scale STEP`: single steps whose cost grows with the data, at any size, for
//! `cargo xtask scale`, which measures the time and memory of each step from outside.

use std::{
    fs,
    io::{BufWriter, Write as _},
    path::Path,
    rc::Rc,
};

use anyhow::Context as _;
use augment::{Pipeline, Resize, StatisticsConfig, TransformConfig};
use base::{Seed, Task, files::write_atomic_with, table::Table, task::Factor};
use candle::Device;
use data::{Context, Manifest, link_hashes};
use infer::{Bundle, LabelledWriter, Member, Prediction, PredictionTable};
use metrics::{Predictions, Report, argmax};
use models::{Model, ModelSpec};
use trainer::{Experiment, Plan, course_of};

use crate::{
    End,
    args::{ExperimentArgs, ScaleStep},
    preparation::{check_settings, use_threads},
    runs,
    terminal::Terminal,
};

/// Images per group.
const EACH: usize = 7;

pub(super) fn scale(step: &ScaleStep) -> anyhow::Result<End> {
    match step {
        ScaleStep::List { experiment } => {
            let manifest = listing(experiment)?.1;
            let Manifest { task, examples, groups, .. } = &manifest;
            say!("{}", task.unit.images_of(examples.len(), groups.len()));
        }
        ScaleStep::Split { experiment } => {
            let (experiment, manifest) = listing(experiment)?;
            let course = course_of(&experiment, &manifest, experiment.data.fold)?;
            say!("{} steps per epoch", course[0].epochs.n_steps(0));
        }
        ScaleStep::Plan { experiment } => {
            let (experiment, manifest) = listing(experiment)?;
            let terminal = Terminal::new();
            let plan = Plan::new(&experiment, &manifest, 0, &Device::Cpu, &terminal)?;
            say!("{} batches in the first epoch", plan.batches(0).len());
        }
        ScaleStep::Table { images, classes, output } => {
            let mut synthetic = synthetic(*classes, Seed(0));
            let rows = PredictionTable::new(&task(*classes), false);
            write_atomic_with(output, |file| {
                let mut table = Table::begin(BufWriter::new(file), rows.header())?;
                for image in 0..*images {
                    let (_, probabilities) = synthetic(image);
                    let predicted = argmax(&probabilities);
                    let it = Prediction { probabilities, predicted, ..Prediction::default() };
                    table.row(rows.row(&name(image), &it))?;
                }
                table.finish()?.flush()
            })
            .with_context(|| output.display().to_string())?;
        }
        ScaleStep::Evaluate { images, classes } => {
            let report = Report::new(&predictions(*images, *classes, Seed(0)), Seed(0));
            say!("macro F1 {:.4}", report.joint().macro_f1.value);
        }
        ScaleStep::Runs { dir, runs, images, classes } => {
            write_runs(dir, *runs, *images, *classes)?;
        }
        ScaleStep::Hashes { images, alike } => {
            let groups: Vec<usize> = (0..*images).collect();
            let found = link_hashes(&hashes(*images, *alike), &groups);
            let (n_links, n_crowded) = (found.near_duplicates.len(), found.n_crowded);
            say!(
                "{n_links} links; {n_crowded} images are similar to too many others to compare all pairs"
            );
        }
    }
    Ok(End::Done)
}

/// Returns an experiment and its data, without opening any image.
fn listing(args: &ExperimentArgs) -> anyhow::Result<(Experiment, Manifest)> {
    let (experiment, _) = runs::experiment(args)?;
    check_settings(&experiment)?;
    use_threads(experiment.threads)?;
    let max_pixels = experiment.data.max_pixels;
    let manifest =
        experiment.listing(&Context { cache: None, max_pixels, progress: &|_, _| {} })?;
    Ok((experiment, manifest))
}

/// Returns the competition's task for 18 classes, else a task of one factor.
fn task(n_classes: usize) -> Task {
    if n_classes == Task::mask_gender_age().n_classes() {
        return Task::mask_gender_age();
    }
    let names: Vec<String> = (0..n_classes).map(|it| format!("class {it:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Task::new(vec![Factor::new("class", &names)])
}

fn name(image: usize) -> String {
    format!("{:07}/{}.jpg", image / EACH, image % EACH)
}

/// Returns the next number of a linear congruential generator, which is random enough here.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state ^ *state >> 29
}

/// Returns a function from an image to its class and synthetic probabilities, with an accuracy of about 4/5.
fn synthetic(n_classes: usize, seed: Seed) -> impl FnMut(usize) -> (usize, Vec<f64>) {
    let mut state = seed.0 + 1;
    move |image| {
        let class = image * 31 % n_classes;
        let is_right = !next(&mut state).is_multiple_of(5);
        let predicted = if is_right { class } else { next(&mut state) as usize % n_classes };
        let mut p: Vec<f64> =
            (0..n_classes).map(|_| (next(&mut state) >> 12) as f64 / n_classes as f64).collect();
        p[predicted] += (1_u64 << 52) as f64;
        let sum: f64 = p.iter().sum();
        p.iter_mut().for_each(|it| *it /= sum);
        (class, p)
    }
}

fn predictions(n_images: usize, n_classes: usize, seed: Seed) -> Predictions {
    let (classes, probabilities) = (0..n_images).map(synthetic(n_classes, seed)).unzip();
    let groups = (0..n_images).map(|it| it / EACH).collect();
    Predictions::new(task(n_classes), probabilities, classes, groups)
}

/// Writes finished runs on the same images, with the files that `compare` reads. The `best` of the first is a
/// bundle of a tiny network that `predict` accepts.
fn write_runs(dir: &Path, n_runs: usize, n_images: usize, n_classes: usize) -> anyhow::Result<()> {
    let task = task(n_classes);
    let spec: ModelSpec = toml::from_str(
        "backbone = { kind = \"efficientnet\", variant = \"lite0\", width = 0.25, depth = 0.3 }\n\
         head = { kind = \"joint\" }",
    )?;
    let model = Model::fresh(&spec, &task, Seed(0), &Device::Cpu)?;
    let statistics = StatisticsConfig::default().get().known();
    let pipeline = Pipeline {
        ops: vec![TransformConfig::Resize(Resize { size: [32, 24], ..Resize::default() }).into()],
        statistics: statistics.context("the statistics of ImageNet are known")?,
        max_pixels: 1 << 20,
    };
    let member = Member::new(Rc::new(model), task.clone(), pipeline);
    let bundle = Bundle::new(task, vec![member]);
    for run in 0..n_runs {
        let run_dir = dir.join(format!("run-{run:03}"));
        let best = run_dir.join("best");
        fs::create_dir_all(&best)?;
        if run == 0 {
            bundle.save(&best, "0")?;
        } else {
            fs::copy(dir.join("run-000/best/bundle.toml"), best.join("bundle.toml"))?;
        }
        let predictions = predictions(n_images, n_classes, Seed(run as u64));
        let out = BufWriter::new(fs::File::create(run_dir.join("valid.csv"))?);
        let mut table = LabelledWriter::new(out, &predictions.task);
        for (image, it) in predictions.iter().enumerate() {
            table.row(&name(image), &format!("{:07}", image / EACH), &it)?;
        }
        table.finish()?;
    }
    Ok(())
}

/// Returns difference hashes: random, or all within a few bits of one.
fn hashes(n: usize, are_similar: bool) -> Vec<[u64; 4]> {
    let mut state = 1;
    let base = [0; 4].map(|_: u64| next(&mut state));
    let mut hash = |_| match are_similar {
        false => [0; 4].map(|_: u64| next(&mut state)),
        true => {
            let mut bits = base;
            for _ in 0..7 {
                let at = next(&mut state) >> 40;
                bits[at as usize % 4] ^= 1 << (at / 4 % 64);
            }
            bits
        }
    };
    (0..n).map(&mut hash).collect()
}
