//! What precedes the work of a command: its settings are checked, its threads are started, its data is read.

use anyhow::{Context as _, anyhow, bail};
use augment::{Pipeline, Statistics, Step};
use data::{Content, Context, Findings, Manifest, SourceError, Use, check_sizes, sizes_of};
use trainer::{AugmentSection, Callback as _, Experiment};

use crate::{args::ExperimentArgs, continued, pretrained, runs, terminal::Terminal};

/// Loads and checks the settings, completed by those that the weights determine if they are on this machine.
pub(crate) fn settled(args: &ExperimentArgs, terminal: &Terminal) -> anyhow::Result<Experiment> {
    let (mut experiment, _) = continued::experiment(args, terminal)?;
    check_settings(&experiment)?;
    pretrained::settle_if_here(&mut experiment, args, terminal)?;
    Ok(experiment)
}

/// Fails with everything that is wrong with the settings, before any long work.
pub(crate) fn check_settings(experiment: &Experiment) -> anyhow::Result<()> {
    match experiment.problems().as_slice() {
        [] => Ok(()),
        [one] => bail!("{one}"),
        many => bail!("{} settings are wrong:\n  {}", many.len(), many.join("\n  ")),
    }
}

/// Starts the global thread pool with `n` threads, 0 for all.
pub(crate) fn use_threads(n: usize) -> anyhow::Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n).use_current_thread();
    pool.build_global().context("cannot start the threads")
}

/// Reads an experiment's data and checks it for training and evaluation by its settings, with a progress bar.
pub(crate) fn manifest(experiment: &Experiment, terminal: &Terminal) -> anyhow::Result<Manifest> {
    let (read, listed) = read(experiment, terminal);
    // Unreadable images do not keep the size check from reporting the others.
    let (manifest, wrong) = match (read, listed) {
        (Ok(it), _) => (it, None),
        (Err(err), Some(it)) => (it, Some(err)),
        (Err(err), None) => return Err(in_short_of(err)),
    };
    let unfit = unfit(experiment, &manifest, terminal);
    match (wrong, unfit.0.is_empty()) {
        (None, true) => {}
        (None, false) => bail!("{}", in_short(&unfit)),
        (Some(err), true) => return Err(in_short_of(err)),
        (Some(err), false) => {
            bail!("{}\nand image sizes: {}", in_short_of(err), in_short(&unfit))
        }
    }
    Ok(noted(manifest, terminal))
}

/// Reads an experiment's data for models that have a preprocessing of their own, whatever the settings say of it.
pub(crate) fn images_of(experiment: &Experiment, terminal: &Terminal) -> anyhow::Result<Manifest> {
    Ok(noted(read(experiment, terminal).0.map_err(in_short_of)?, terminal))
}
/// Reads an experiment's data. If something is wrong with it, the images as they are listed come second.
fn read(
    experiment: &Experiment,
    terminal: &Terminal,
) -> (Result<Manifest, SourceError>, Option<Manifest>) {
    if !terminal.is_terminal() {
        terminal.status("reading the data");
    }
    let cache = runs::cache_dir();
    let context = Context {
        cache: cache.as_deref(),
        max_pixels: experiment.data.max_pixels,
        progress: &|done, total| terminal.progress("reading images", done, total),
    };
    let read = experiment.manifest(&context);
    terminal.clear();
    let listed = read.as_ref().err().and_then(|_| experiment.listing(&context).ok());
    (read, listed)
}

/// Prints the notes of a manifest.
fn noted(manifest: Manifest, terminal: &Terminal) -> Manifest {
    manifest.notes.iter().for_each(|it| terminal.status(&format!("note: {it}")));
    manifest
}

/// Formats problems, one a line for the same problem of many images; the details have them all.
pub(crate) fn in_short(findings: &Findings) -> String {
    if findings.grouped().len() == findings.0.len() {
        return findings.to_string();
    }
    detail!("{}", findings.in_full());
    format!("{findings}\n  (`--verbose` lists all {})", findings.0.len())
}

/// Returns the error of a source; the details have the problems that are one line in it.
pub(crate) fn in_short_of(err: SourceError) -> anyhow::Error {
    match err {
        SourceError::Findings { root, findings } => {
            anyhow!("{}: {}", root.display(), in_short(&findings))
        }
        other => other.into(),
    }
}

/// Returns the images that are too small for the configured crops, or too large: images that may be trained
/// on are checked against the training pipeline, those that may be validated or tested on against the
/// evaluation pipeline.
fn unfit(experiment: &Experiment, manifest: &Manifest, terminal: &Terminal) -> Findings {
    let contents: Vec<&Content> = manifest.examples.iter().map(|it| &it.content).collect();
    let sizes = sizes_of(&contents, &|done, total| terminal.progress("reading sizes", done, total));
    terminal.clear();
    let mut findings = Findings::default();
    let bare = |ops: &[Step]| Pipeline {
        ops: ops.to_vec(),
        // Unused: the images are not passed to a network.
        statistics: Statistics { mean: [0.0; 3], std: [1.0; 3] },
        max_pixels: experiment.data.max_pixels,
    };
    let AugmentSection { train, eval, .. } = &experiment.augment;
    let is_predicted: fn(Use) -> bool = |it| it != Use::Train;
    type Uses = fn(Use) -> bool;
    let mut pipelines: Vec<(&str, Pipeline, Uses)> = vec![
        ("augment.train", bare(train), Use::may_train),
        ("augment.eval", bare(eval), is_predicted),
    ];
    // Settings that do not fit are reported by the plan.
    let views = experiment.tta.get().views(&bare(eval), train).unwrap_or_default();
    let views = views.into_iter().map(|it| it.pipeline).filter(|it| it.ops != *eval);
    pipelines.extend(views.map(|it| ("tta", it, is_predicted)));
    for (place, pipeline, takes) in &pipelines {
        let named = manifest.examples.iter().zip(&sizes).filter(|it| takes(it.0.usage));
        check_sizes(
            named.map(|(it, size)| (it.name.as_str(), *size)),
            place,
            pipeline,
            &mut findings,
        );
    }
    // Several views may refuse an image for the same reason.
    findings.0.sort();
    findings.0.dedup();
    findings
}
