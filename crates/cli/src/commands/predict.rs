//! `maskfit submit` and `maskfit predict`

use std::{collections::HashSet, mem, path::Path, sync::Arc};

use anyhow::bail;
use base::table::Table;
use candle::Device;
use data::{Content, Context, Findings, check_images, check_sizes, sizes_of};
use infer::{
    Bundle, Member, Predictor, Serving, list_images, probabilities_header, probabilities_row,
    read_info, submission_csv,
};
use metrics::argmax;
use trainer::Callback as _;

use crate::{
    End, args::ModelArgs, output::Output, preparation::use_threads, runs, terminal::Terminal,
};

/// Writes a submission with a row per image of `info.csv`, or nothing.
pub(crate) fn submit(models: &ModelArgs, root: &Path, output: &Path) -> anyhow::Result<End> {
    let output = Output::at(output)?;
    let info = read_info(root)?;
    info.notes.iter().for_each(|it| status!("note: {it}"));
    let terminal = Terminal::new();
    let bundle = open(models)?;
    let unfit = unfit(&bundle, root, &info.images, &terminal);
    if !unfit.0.is_empty() {
        bail!(
            "{}: {unfit}\na submission needs a row for each image: nothing is written",
            root.display()
        );
    }
    let (images, mut classes) = (Arc::from(info.images), Vec::new());
    let predicted = predict_each(models, bundle, &images, &terminal, &mut |_, probabilities| {
        classes.push(argmax(probabilities));
        Ok(())
    });
    if let Some(end) = stopped(&predicted, &terminal) {
        return Ok(end);
    }
    predicted?;
    output.write(submission_csv(images.iter().map(|it| it.0.as_str()), &classes).as_bytes())?;
    say!("{}: {output}", rows(images.len()));
    Ok(End::Done)
}

/// Predicts all images that can be predicted; fails at the end, naming the others, if there are any.
pub(crate) fn predict(models: &ModelArgs, root: &Path, output: &Path) -> anyhow::Result<End> {
    let output = Output::at(output)?;
    // First, because this sets the number of threads, and listing starts them.
    let bundle = open(models)?;
    let mut folder = list_images(root)?;
    folder.notes.iter().for_each(|it| status!("note: {it}"));
    if let Some(text) = folder.skipped_text() {
        complain!("{text}");
    }
    let terminal = Terminal::new();
    let mut unfit = unfit(&bundle, root, &folder.images, &terminal);
    let names: HashSet<&str> = unfit.0.iter().map(|it| it.place.as_str()).collect();
    folder.images.retain(|it| !names.contains(it.0.as_str()));
    unfit.0.append(&mut folder.unreadable.0);
    unfit.0.sort();
    if folder.images.is_empty() {
        bail!("{}: {unfit}\nno image can be predicted: nothing is written", root.display());
    }
    let images = Arc::from(mem::take(&mut folder.images));
    let header = probabilities_header(&bundle.task);
    let written = output.write_with(|out| {
        let mut table = Table::begin(out, header)?;
        predict_each(models, bundle, &images, &terminal, &mut |name, probabilities| {
            Ok(table.row(probabilities_row(name, probabilities))?)
        })?;
        table.finish()?;
        Ok(())
    });
    if let Some(end) = stopped(&written, &terminal) {
        return Ok(end);
    }
    written?;
    say!("{}: {output}", rows(images.len()));
    if !unfit.0.is_empty() {
        bail!(
            "{}: {unfit}\nthese images have no row; {} written",
            root.display(),
            rows(images.len())
        );
    }
    Ok(End::Done)
}

fn open(models: &ModelArgs) -> anyhow::Result<Bundle> {
    use_threads(0)?;
    runs::open_bundles(&models.runs, &Device::Cpu)
}

fn rows(n: usize) -> String {
    if n == 1 { "1 row".to_owned() } else { format!("{n} rows") }
}

/// Returns the images that a bundle cannot predict, with the reasons.
fn unfit(
    bundle: &Bundle,
    root: &Path,
    images: &[(String, Content)],
    terminal: &Terminal,
) -> Findings {
    let max_pixels = bundle.members.iter().map(|it| it.pipeline.max_pixels).min();
    let cache = runs::cache_dir();
    let problems = check_images(
        root,
        images,
        &Context {
            cache: cache.as_deref(),
            max_pixels: max_pixels.unwrap_or(u64::MAX),
            progress: &|done, total| terminal.progress("checking images", done, total),
        },
    );
    terminal.clear();
    let mut findings = Findings::default();
    for (name, problem) in problems {
        findings.add(name, problem, "replace the file");
    }
    // The size of a damaged image is meaningless.
    let damaged: HashSet<String> = findings.0.iter().map(|it| it.place.clone()).collect();
    let whole: Vec<_> = images.iter().filter(|it| !damaged.contains(&it.0)).collect();
    let contents: Vec<&Content> = whole.iter().map(|it| &it.1).collect();
    let sizes = sizes_of(&contents, &|done, total| terminal.progress("reading sizes", done, total));
    terminal.clear();
    for (idx, Member { pipeline, .. }) in bundle.members.iter().enumerate() {
        if !bundle.members[..idx].iter().any(|it| it.pipeline == *pipeline) {
            let named = whole.iter().map(|it| it.0.as_str()).zip(sizes.iter().copied());
            check_sizes(named, "", pipeline, &mut findings);
        }
    }
    findings.0.sort();
    findings.0.dedup_by(|a, b| a.place == b.place);
    findings
}

/// Predicts images in order, and passes each name and prediction to `each`.
fn predict_each(
    models: &ModelArgs,
    bundle: Bundle,
    images: &Arc<[(String, Content)]>,
    terminal: &Terminal,
    each: &mut dyn FnMut(&str, &[f64]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let predictor = Predictor::new(bundle, &Device::Cpu);
    let serving = Serving {
        batch_size: models.batch_size,
        num_workers: models.num_workers,
        prefetch: 4,
        cache: None,
    };
    terminal.heed_interrupts();
    let mut n_done = 0;
    let predicted = predictor.predict_each(images, serving, &mut |it| {
        if terminal.should_stop() {
            bail!("stopped");
        }
        each(&images[n_done].0, &it.probabilities)?;
        n_done += 1;
        terminal.progress("predicting", n_done, images.len());
        Ok(())
    });
    terminal.clear();
    predicted
}

/// Returns how to end if Ctrl-C has stopped the command.
fn stopped(result: &anyhow::Result<()>, terminal: &Terminal) -> Option<End> {
    (result.is_err() && terminal.should_stop()).then(|| {
        complain!("stopped: no file was written");
        End::Stopped
    })
}
