//! The commands, a file each.

mod bench;
mod compare;
mod config;
mod data;
mod dry;
mod eda;
mod kfold;
mod labels;
pub(crate) mod list;
mod lr_find;
mod predict;
mod runs_rm;
mod runs_table;
mod schedule;
mod train;
mod weights;

use ::data::{Content, Context, Findings, Manifest, Use, check_sizes, sizes_of};
use anyhow::{Context as _, bail};
use augment::{Pipeline, Statistics, Step};
use trainer::{Callback as _, Experiment};

use crate::{
    End,
    args::{Args, Command, ConfigCommand, DryArgs, RunsCommand},
    runs,
    terminal::Terminal,
};

pub(crate) fn run(args: Args) -> anyhow::Result<End> {
    match args.command {
        Command::Train { experiment, dry: DryArgs { fast: true, .. }, profile, .. } => {
            dry::fast(&experiment, profile)
        }
        Command::Train { experiment, dry: DryArgs { overfit: Some(n), .. }, profile, .. } => {
            dry::overfit(&experiment, n, profile)
        }
        Command::Train { experiment, resume, allow_changes, profile, .. } => {
            train::train(&experiment, resume.as_deref(), allow_changes, profile)
        }
        Command::Kfold { experiment, folds, resume } => {
            kfold::kfold(&experiment, folds, resume.as_deref())
        }
        Command::Submit { models, images, output } => predict::submit(&models, &images, &output),
        Command::Predict { models, images, output } => predict::predict(&models, &images, &output),
        Command::Compare(args) => compare::compare(&args),
        Command::Labels { run, output, by, images } => labels::labels(&run, &output, by, images),
        Command::Schedule { experiment, output } => schedule::schedule(&experiment, &output),
        Command::LrFind { experiment, run, from, to, steps, output } => {
            let range = trainer::Range { from, to, n_steps: steps };
            lr_find::lr_find(&experiment, run.as_deref(), range, &output)
        }
        Command::Data { command } => data::data(command),
        Command::Eda { data, set, sheets, output } => {
            eda::eda(data.as_deref(), &set, sheets, &output)
        }
        Command::Config { command: ConfigCommand::Show { config, set } } => {
            config::show(config, set)
        }
        Command::Config { command: ConfigCommand::Diff { a, b } } => config::diff(a, b),
        Command::Runs { command: None, dir } => runs_table::runs(dir.as_deref()),
        Command::Runs { command: Some(RunsCommand::Rm { runs, yes }), .. } => {
            runs_rm::remove(&runs, yes)
        }
        Command::List { registry } => list::list(registry.as_deref()),
        Command::Weights { command } => weights::weights(&command),
        Command::Bench { command } => bench::bench(&command),
    }
}

/// Reads and checks an experiment's data, with a progress bar.
fn manifest(experiment: &Experiment, terminal: &Terminal) -> anyhow::Result<Manifest> {
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
    // Unreadable images do not keep the size check from reporting the others.
    let (manifest, wrong) = match read {
        Ok(it) => (it, None),
        Err(err) => match experiment.listing(&context) {
            Ok(it) => (it, Some(err)),
            Err(_) => return Err(err.into()),
        },
    };
    let unfit = unfit(experiment, &manifest, terminal);
    match (wrong, unfit.0.is_empty()) {
        (None, true) => {}
        (None, false) => bail!("{unfit}"),
        (Some(err), true) => return Err(err.into()),
        (Some(err), false) => bail!("{err}\nand image sizes: {unfit}"),
    }
    manifest.notes.iter().for_each(|it| terminal.status(&format!("note: {it}")));
    Ok(manifest)
}

/// Returns the images that are too small for the configured crops, or too large: images that may be trained
/// on are checked against the training pipeline, those that may be validated or tested on against the
/// evaluation pipeline.
fn unfit(experiment: &Experiment, manifest: &Manifest, terminal: &Terminal) -> Findings {
    let contents: Vec<&Content> = manifest.examples.iter().map(|it| &it.content).collect();
    let sizes = sizes_of(&contents, &|done, total| terminal.progress("reading sizes", done, total));
    terminal.clear();
    let mut findings = Findings::default();
    type Takes = fn(Use) -> bool;
    let pipelines: [(&str, &[Step], Takes); 2] = [
        ("augment.train", &experiment.augment.train, Use::may_train),
        ("augment.eval", &experiment.augment.eval, |it| it != Use::Train),
    ];
    for (place, ops, takes) in pipelines {
        let pipeline = Pipeline {
            ops: ops.to_vec(),
            // Unused: the images are not passed to a network.
            statistics: Statistics { mean: [0.0; 3], std: [1.0; 3] },
            max_pixels: experiment.data.max_pixels,
        };
        let named = manifest.examples.iter().zip(&sizes).filter(|it| takes(it.0.usage));
        check_sizes(
            named.map(|(it, size)| (it.name.as_str(), *size)),
            place,
            &pipeline,
            &mut findings,
        );
    }
    findings.0.sort();
    findings
}

/// Fails with everything that is wrong with the settings, before any long work.
fn check_settings(experiment: &Experiment) -> anyhow::Result<()> {
    match experiment.problems().as_slice() {
        [] => Ok(()),
        [one] => bail!("{one}"),
        many => bail!("{} settings are wrong:\n  {}", many.len(), many.join("\n  ")),
    }
}

/// Starts the global thread pool with `n` threads, 0 for all.
fn use_threads(n: usize) -> anyhow::Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n).use_current_thread();
    pool.build_global().context("cannot start the threads")
}
