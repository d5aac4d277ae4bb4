//! `maskfit submit` and `maskfit predict`

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, bail};
use base::files::write_whole;
use candle::Device;
use data::{Content, Context, Findings, check_pictures};
use infer::{Predictor, Serving, list_pictures, probabilities_csv, read_info, submission_csv};
use metrics::argmax;
use trainer::Watch as _;

use super::use_threads;
use crate::{End, args::ModelArgs, runs, terminal::Terminal};

pub(crate) fn submit(models: &ModelArgs, images: &Path, output: &Path) -> anyhow::Result<End> {
    check_output(output)?;
    let pictures = read_info(images)?;
    let (_, probabilities) = answer(models, images, &pictures)?;
    let classes: Vec<usize> = probabilities.iter().map(|p| argmax(p)).collect();
    let text = submission_csv(pictures.iter().map(|it| it.0.as_str()), &classes);
    finish(output, &text, pictures.len())
}

pub(crate) fn predict(models: &ModelArgs, images: &Path, output: &Path) -> anyhow::Result<End> {
    check_output(output)?;
    let pictures = list_pictures(images)?;
    let (task, probabilities) = answer(models, images, &pictures)?;
    let classes: Vec<usize> = probabilities.iter().map(|p| argmax(p)).collect();
    let names = pictures.iter().map(|it| it.0.as_str());
    finish(output, &probabilities_csv(&task, names, &probabilities, &classes), pictures.len())
}

fn answer(
    models: &ModelArgs,
    root: &Path,
    pictures: &[(String, Content)],
) -> anyhow::Result<(base::Task, Vec<Vec<f64>>)> {
    use_threads(0)?;
    let terminal = Terminal::new();
    let bundle = runs::open_bundles(&models.runs, &Device::Cpu)?;
    let max_pixels = bundle.members.iter().map(|it| it.pipeline.max_pixels).min();
    let cache = runs::cache_dir();
    let problems = check_pictures(
        root,
        pictures,
        &Context {
            cache: cache.as_deref(),
            max_pixels: max_pixels.unwrap_or(u64::MAX),
            progress: &|done, total| terminal.progress("checking pictures", done, total),
        },
    );
    terminal.clear();
    if !problems.is_empty() {
        let mut findings = Findings::default();
        for (name, problem) in problems {
            findings.add(name, problem, "replace the file");
        }
        bail!("{}: {findings}", root.display());
    }
    let predictor = Predictor::new(bundle, &Device::Cpu);
    let serving =
        Serving { batch_size: models.batch, n_loaders: models.loaders, n_ahead: 4, memory: None };
    let mut progress = |done, total| terminal.progress("answering", done, total);
    let answers = predictor.predict(&Arc::from(pictures), serving, &mut progress)?;
    terminal.clear();
    Ok((predictor.task().clone(), answers.probabilities))
}

/// A place that cannot be written to is said before all the work.
fn check_output(output: &Path) -> anyhow::Result<()> {
    let dir = output.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !dir.is_dir() {
        bail!("--output {}: there is no folder {}: make it", output.display(), dir.display());
    }
    if output.is_dir() {
        bail!("--output {}: is a folder: name a file", output.display());
    }
    Ok(())
}

fn finish(output: &Path, text: &str, n: usize) -> anyhow::Result<End> {
    write_whole(output, text.as_bytes()).with_context(|| output.display().to_string())?;
    say!("{n} rows: {}", output.display());
    Ok(End::Done)
}
