//! One file a command.

mod bench;
mod compare;
mod data;
mod dry;
mod eda;
mod kfold;
mod labels;
mod list;
mod lr_find;
mod predict;
mod schedule;
mod train;
mod weights;

use ::data::{Context, Manifest};
use anyhow::{Context as _, bail};
use trainer::{Experiment, Watch as _};

use crate::{
    End,
    args::{Args, Command, DryArgs},
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
        Command::Labels { run, output, by, pictures } => {
            labels::labels(&run, &output, by, pictures)
        }
        Command::Schedule { experiment, output } => schedule::schedule(&experiment, &output),
        Command::LrFind { experiment, run, from, to, steps, output } => {
            let range = trainer::Range { from, to, n_steps: steps };
            lr_find::lr_find(&experiment, run.as_deref(), range, &output)
        }
        Command::Data { command } => data::data(command),
        Command::Eda { data, set, output } => eda::eda(data.as_deref(), &set, &output),
        Command::List { registry } => list::list(registry.as_deref()),
        Command::Weights { command } => weights::weights(&command),
        Command::Bench { command } => bench::bench(&command),
    }
}

/// Reads an experiment's data, checked, with progress.
fn manifest(experiment: &Experiment, terminal: &Terminal) -> anyhow::Result<Manifest> {
    if !terminal.is_terminal() {
        terminal.say("reading the data");
    }
    let cache = runs::cache_dir();
    let manifest = experiment.manifest(&Context {
        cache: cache.as_deref(),
        max_pixels: experiment.data.max_pixels,
        progress: &|done, total| terminal.progress("reading pictures", done, total),
    });
    terminal.clear();
    let manifest = manifest?;
    manifest.notes.iter().for_each(|it| terminal.say(&format!("note: {it}")));
    Ok(manifest)
}

/// Says what is wrong with the settings, before anything takes time.
fn check_settings(experiment: &Experiment) -> anyhow::Result<()> {
    match experiment.problems().as_slice() {
        [] => Ok(()),
        [one] => bail!("{one}"),
        many => bail!("{} settings are wrong:\n  {}", many.len(), many.join("\n  ")),
    }
}

/// Lets as many threads compute as the settings say.
fn use_threads(n: usize) -> anyhow::Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n).use_current_thread();
    pool.build_global().context("the threads cannot be started")
}
