//! `maskfit data`

mod check;
mod show;

use std::fs;

use anyhow::{Context as _, anyhow, bail};
use augment::{Pipeline, Statistics, StatisticsConfig, Step};
use base::{
    mix::{MixedSample, Part},
    task::{Scope, Unit},
};
use candle::Device;
use data::{Batch, Pack, Packs, Prepared, SyntheticPeople, prepare};
use image::RgbImage;
use ops::{Rows, normalise};
use trainer::{Callback as _, Experiment, Plan, load_epoch};

use crate::{
    End,
    args::{DataCommand, ExperimentArgs},
    drawing::{Cell, OWN_PNG, Sheet, png, thumbnail},
    output::Output,
    preparation::{manifest, settled, use_threads},
    terminal::Terminal,
    wrap::wrapped,
};

pub(crate) fn data(command: DataCommand) -> anyhow::Result<End> {
    let terminal = Terminal::new();
    match command {
        DataCommand::SyntheticPeople { dir, people, test, size, wrong_labels, seed, areas } => {
            let (n_people, n_test, flipped) = (people, test, 0.0);
            let source = SyntheticPeople { n_people, n_test, size, wrong_labels, flipped, seed };
            let progress = |done, total| terminal.progress("rendering people", done, total);
            for part in ["train", "eval"].map(|it| dir.join(it)) {
                if part.exists() {
                    bail!("{}: already exists: choose a new folder", part.display());
                }
            }
            source.write(&dir, &progress)?;
            if areas {
                let progress = |done, total| terminal.progress("rendering areas", done, total);
                source.write_areas(&dir, &progress)?;
            }
            terminal.clear();
            let [people, test] = [people, test].map(|it| Unit::Person.count(it));
            say!("{people} to train and validate on: {}", dir.join("train").display());
            say!("{test} of the test set: {}", dir.join("eval").display());
        }
        DataCommand::Check { experiment, .. } => return check::check(&experiment, &terminal),
        DataCommand::Stats { experiment: args } => {
            let mut experiment = settled(&args, &terminal)?;
            use_threads(experiment.threads)?;
            experiment.augment.statistics = StatisticsConfig::measured();
            let manifest = manifest(&experiment, &terminal)?;
            let fold = experiment.data.fold;
            let plan = Plan::new(&experiment, &manifest, fold, &Device::Cpu, &terminal)?;
            terminal.clear();
            let it = plan.eval_pipeline.statistics;
            let list = |xs: [f64; 3]| xs.map(|x| format!("{x:.4}")).join(", ");
            say!("of the {} images of the training set:", plan.sides.train.len());
            say!(
                "statistics = {{ kind = \"given\", mean = [{}], std = [{}] }}",
                list(it.mean),
                list(it.std)
            );
        }
        DataCommand::Prepare { experiment: args } => {
            let experiment = settled(&args, &terminal)?;
            use_threads(experiment.threads)?;
            prepare_images(&experiment, &terminal)?;
        }
        DataCommand::Pack { experiment } => return pack(&experiment, &terminal),
        DataCommand::Show(args) => return show::show(&args, &terminal),
        DataCommand::Mixed { experiment: args, output, step } => {
            let output = Output::at(&output)?;
            output.check(&OWN_PNG)?;
            let experiment = settled(&args, &terminal)?;
            use_threads(experiment.threads)?;
            let manifest = manifest(&experiment, &terminal)?;
            let fold = experiment.data.fold;
            let plan = Plan::new(&experiment, &manifest, fold, &Device::Cpu, &terminal)?;
            terminal.clear();
            if step >= plan.epochs.total() {
                bail!("--step: the run has steps 0 to {}, not {step}", plan.epochs.total() - 1);
            }
            let batch =
                load_epoch(&plan, step).next().expect("an epoch has a batch for each step")?;
            let images = as_images(&batch, plan.train_pipeline.statistics)?;
            let cell = |(idx, (sample, image)): (usize, (&MixedSample, RgbImage))| {
                let label = |it: &Part| {
                    let class = plan.training_classes[batch.examples[it.image]];
                    format!("{:.3} {}", it.weight, plan.task.class_name(class, Scope::Joint))
                };
                let labels: Vec<String> = sample.row(batch.size).iter().map(label).collect();
                say!("{}", wrapped(&format!("{idx:>4}  "), &labels.join(" + ")));
                let lines = std::iter::once(idx.to_string()).chain(labels).collect();
                Cell::named(Some(thumbnail(&image)), lines)
            };
            let cells = batch.samples.iter().zip(images).enumerate().map(cell).collect();
            let title = format!("input of the network in step {step}");
            let sheet = Sheet { title, cells, columns: Sheet::COLUMNS, together: 1 }.draw();
            output.write(&OWN_PNG, &png(&sheet))?;
            say!("step {step}, in row-major order: {output}");
        }
    }
    Ok(End::Done)
}

/// Precomputes the faces and masks that the pipelines use, and prints in how many images a face was detected.
fn prepare_images(experiment: &Experiment, terminal: &Terminal) -> anyhow::Result<()> {
    let pipelines = [("train", &experiment.augment.train), ("eval", &experiment.augment.eval)];
    let is_cached = |ops: &[Step]| ops.iter().any(Step::is_cached);
    if !pipelines.iter().any(|it| is_cached(it.1)) {
        bail!("there is nothing to prepare: `augment` has neither `face_crop` nor `background`");
    }
    let manifest = manifest(experiment, terminal)?;
    if manifest.cache.is_none() {
        bail!("there is no cache folder: name one in MASKFIT_CACHE");
    }
    for (name, ops) in pipelines.into_iter().filter(|it| is_cached(it.1)) {
        let pipeline = Pipeline {
            ops: ops.clone(),
            // Unused: the images are not passed to a network.
            statistics: Statistics { mean: [0.0; 3], std: [1.0; 3] },
            max_pixels: experiment.data.max_pixels,
        };
        pipeline.size().map_err(|it| anyhow!("at `augment.{name}`: {it}"))?;
        let progress = |done, total| terminal.progress("detecting faces", done, total);
        let prepared = prepare(&manifest, &pipeline, &progress)?;
        terminal.clear();
        let Prepared { n_found, n_not_found, milliseconds_median } = prepared;
        let n = n_found + n_not_found;
        let percent = 100.0 * n_found as f64 / n.max(1) as f64;
        let text = format!(
            "a face detected in {n_found} of {n} images ({percent:.1} %), the others are cropped at the centre; \
             median {milliseconds_median:.1} ms per image"
        );
        say!("{}", wrapped(&format!("augment.{name}: "), &text));
    }
    Ok(())
}

/// Writes the pack of the images after the deterministic leading transforms of training.
fn pack(args: &ExperimentArgs, terminal: &Terminal) -> anyhow::Result<End> {
    let experiment = settled(args, terminal)?;
    use_threads(experiment.threads)?;
    let mut manifest = manifest(&experiment, terminal)?;
    let Some(cache) = manifest.cache.take() else {
        bail!("there is no cache folder for the pack: name one in MASKFIT_CACHE");
    };
    // Without its cache the plan does not open the pack that is to be replaced.
    let plan = Plan::new(&experiment, &manifest, experiment.data.fold, &Device::Cpu, terminal)?;
    let pipeline = &plan.train_pipeline;
    let path = Packs::new(cache.dir(), &plan.images).path(pipeline);
    let progress = |done, total| terminal.progress("packing images", done, total);
    fs::create_dir_all(cache.dir()).with_context(|| cache.dir().display().to_string())?;
    let n_bytes = Pack::write(&path, pipeline, &plan.images, Some(&cache), &progress)?;
    terminal.clear();
    let kinds: Vec<&str> =
        pipeline.ops[..pipeline.n_fixed()].iter().map(|it| it.op.kind()).collect();
    let after =
        if kinds.is_empty() { "decoded".to_owned() } else { format!("after {}", kinds.join(", ")) };
    say!(
        "{} images {after}, {:.2} GB: {}",
        plan.images.len(),
        n_bytes as f64 / 1e9,
        path.display()
    );
    Ok(End::Done)
}

/// Returns the rows of a batch as images: the network's input, with the normalisation undone.
fn as_images(batch: &Batch, Statistics { mean, std }: Statistics) -> anyhow::Result<Vec<RgbImage>> {
    let Batch { images, size, samples, .. } = batch;
    let xs = normalise(Rows { images, size: *size, samples }, mean, std, &Device::Cpu)?;
    let [h, w] = size.map(|it| it as u32);
    let image = |row: Vec<f32>| {
        let byte = |(at, &y): (usize, &f32)| {
            // Noise may exceed the range: `as` saturates.
            (255.0 * (f64::from(y) * std[at % 3] + mean[at % 3])).round() as u8
        };
        let bytes = row.iter().enumerate().map(byte).collect();
        RgbImage::from_raw(w, h, bytes).expect("three bytes per pixel")
    };
    Ok(xs.flatten_from(1)?.to_vec2::<f32>()?.into_iter().map(image).collect())
}
