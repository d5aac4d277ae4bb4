//! `maskfit data`

use std::io::Cursor;

use anyhow::{Context as _, bail};
use augment::{Statistics, StatisticsConfig};
use base::{Task, files::write_whole, mix::Part, task::Scope};
use candle::Device;
use data::{Batch, People, Use};
use image::{ImageFormat, RgbImage, imageops};
use ops::{Rows, normalise};
use trainer::{Plan, Watch as _, load_epoch};

use super::{check_settings, manifest, use_threads};
use crate::{End, args::DataCommand, runs, terminal::Terminal};

pub(crate) fn data(command: DataCommand) -> anyhow::Result<End> {
    let terminal = Terminal::new();
    match command {
        DataCommand::People { dir, people, scored, size, wrong_labels, seed } => {
            let source = People { n_people: people, n_scored: scored, size, wrong_labels, seed };
            let progress = |done, total| terminal.progress("drawing people", done, total);
            for part in ["train", "eval"].map(|it| dir.join(it)) {
                if part.exists() {
                    bail!("{}: is there already: name a new folder", part.display());
                }
            }
            source.write(&dir, &progress)?;
            terminal.clear();
            say!("{people} people to train on: {}", dir.join("train").display());
            say!("{scored} people to score on: {}", dir.join("eval").display());
        }
        DataCommand::Check { experiment } => {
            let (experiment, _) = runs::experiment(&experiment)?;
            check_settings(&experiment)?;
            use_threads(experiment.threads)?;
            let manifest = manifest(&experiment, &terminal)?;
            say!(
                "nothing is wrong with the data: {} pictures of {} people",
                manifest.examples.len(),
                manifest.people.len()
            );
            print_counts(&manifest.task, &manifest.counts(Use::Pool));
        }
        DataCommand::Stats { experiment } => {
            let (mut experiment, _) = runs::experiment(&experiment)?;
            check_settings(&experiment)?;
            use_threads(experiment.threads)?;
            experiment.augment.statistics = StatisticsConfig::measured();
            let manifest = manifest(&experiment, &terminal)?;
            let fold = experiment.data.fold;
            let plan = Plan::new(&experiment, &manifest, fold, &Device::Cpu, &terminal)?;
            terminal.clear();
            let it = plan.eval_pipeline.statistics;
            let list = |xs: [f64; 3]| xs.map(|x| format!("{x:.4}")).join(", ");
            say!("of {} pictures that are trained on:", plan.sides.train.len());
            say!(
                "statistics = {{ kind = \"given\", mean = [{}], std = [{}] }}",
                list(it.mean),
                list(it.std)
            );
        }
        DataCommand::Mixed { experiment, output, step } => {
            let (experiment, _) = runs::experiment(&experiment)?;
            check_settings(&experiment)?;
            use_threads(experiment.threads)?;
            let manifest = manifest(&experiment, &terminal)?;
            let fold = experiment.data.fold;
            let plan = Plan::new(&experiment, &manifest, fold, &Device::Cpu, &terminal)?;
            terminal.clear();
            if step >= plan.total {
                bail!("--step: the run has steps 0 to {}, not {step}", plan.total - 1);
            }
            let batch =
                load_epoch(&plan, step).next().expect("an epoch has a batch for each step")?;
            let sheet = sheet(&batch, plan.train_pipeline.statistics)?;
            let mut png = Vec::new();
            sheet.write_to(&mut Cursor::new(&mut png), ImageFormat::Png)?;
            write_whole(&output, &png).with_context(|| output.display().to_string())?;
            for (idx, collage) in batch.collages.iter().enumerate() {
                let label = |it: &Part| {
                    let class = plan.training_classes[batch.examples[it.picture]];
                    format!("{:.3} {}", it.weight, plan.task.class_name(class, Scope::Joint))
                };
                let row = collage.row(batch.size);
                say!("{idx:>4}  {}", row.iter().map(label).collect::<Vec<_>>().join(" + "));
            }
            say!("step {step}, row by row from the left: {}", output.display());
        }
    }
    Ok(End::Done)
}

/// The rows of a batch beside and below each other, in as many columns as lines: what the network
/// gets, with the normalisation undone.
fn sheet(batch: &Batch, Statistics { mean, std }: Statistics) -> anyhow::Result<RgbImage> {
    let Batch { pictures, size, collages, .. } = batch;
    let xs = normalise(Rows { pictures, size: *size, collages }, mean, std, &Device::Cpu)?;
    let [h, w] = size.map(|it| it as u32);
    let n_columns = (collages.len() as f64).sqrt().ceil() as u32;
    let n_lines = (collages.len() as u32).div_ceil(n_columns);
    let mut sheet = RgbImage::new(n_columns * w, n_lines * h);
    for (idx, row) in (0..).zip(xs.flatten_from(1)?.to_vec2::<f32>()?) {
        let byte = |(at, &y): (usize, &f32)| {
            // Noise may leave the range: `as` cuts it off.
            (255.0 * (f64::from(y) * std[at % 3] + mean[at % 3])).round() as u8
        };
        let bytes = row.iter().enumerate().map(byte).collect();
        let picture = RgbImage::from_raw(w, h, bytes).expect("as many bytes as pixels ask for");
        let (left, top) = (idx % n_columns * w, idx / n_columns * h);
        imageops::replace(&mut sheet, &picture, left.into(), top.into());
    }
    Ok(sheet)
}

fn print_counts(task: &Task, counts: &[usize]) {
    for (class, n) in counts.iter().enumerate() {
        say!("{class:>3}  {:<24} {n:>7}", task.class_name(class, Scope::Joint));
    }
}
