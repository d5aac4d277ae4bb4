//! `maskfit train --fast` and `--overfit`: dry runs, which save nothing.

use std::{cell::Cell, path::Path};

use anyhow::{Context as _, bail};
use candle::Device;
use serde_json::json;
use tempfile::TempDir;
use trainer::{
    Callback, Ended, EpochReport, Experiment, Plan, Profile, Run, StepReport, check_device,
    check_memory, fit,
};

use super::train::{announce, say_length, settings_like};
use crate::{
    End,
    args::ExperimentArgs,
    continued,
    json::emit,
    preparation::{check_settings, manifest, use_threads},
    pretrained, runs,
    terminal::Terminal,
};

/// Runs a few steps of everything.
///
/// - `all_data`: the cross-validation that a run on all the data follows.
pub(crate) fn fast(
    args: &ExperimentArgs,
    all_data: Option<&Path>,
    profile: bool,
) -> anyhow::Result<End> {
    let terminal = Terminal::new();
    terminal.profiles(profile);
    let find = |named: &Path| runs::find_with(named, args.config.as_deref(), &args.set);
    let kfold = all_data.map(find).transpose()?;
    let mut experiment = match &kfold {
        Some(dir) if args.config.is_none() => untracked(settings_like(dir, &args.set)?)?,
        _ => experiment(args, &terminal)?,
    };
    let manifest = manifest(&experiment, &terminal)?;
    if let Some(dir) = &kfold {
        let after = trainer::all_data(&experiment, &manifest, dir, &terminal)?;
        say_length(&after);
        experiment = after.experiment;
        check_settings(&experiment)?;
    }
    let fold = experiment.data.fold;
    let mut plan = Plan::new(&experiment, &manifest, fold, &Device::Cpu, &terminal)?;
    let shortened = plan.shorten()?;
    let (_dir, run) = dry_run(&plan, &terminal)?;
    announce(&plan, run.dir(), &terminal);
    terminal.status(&shortened);
    terminal.heed_interrupts();
    let ended = fit(&plan, &run, &terminal);
    terminal.clear();
    match ended? {
        Ended::Stopped { .. } => Ok(End::Stopped),
        Ended::Finished(_) => {
            let n_steps = plan.epochs.total();
            emit("checked", json!({ "steps": n_steps }));
            say!(
                "{n_steps} steps of everything work: nothing is saved, and the scores are meaningless"
            );
            Ok(End::Done)
        }
    }
}

/// Overfits a few images.
pub(crate) fn overfit(args: &ExperimentArgs, n: usize, profile: bool) -> anyhow::Result<End> {
    let terminal = Terminal::new();
    terminal.profiles(profile);
    let experiment = experiment(args, &terminal)?;
    let manifest = manifest(&experiment, &terminal)?;
    let plan = Plan::overfit(&experiment, &manifest, n, &Device::Cpu, &terminal)?;
    let (_dir, run) = dry_run(&plan, &terminal)?;
    announce(&plan, run.dir(), &terminal);
    terminal.heed_interrupts();
    let callback =
        UntilPerfect { terminal: &terminal, accuracy: Cell::new(0.0), step: Cell::new(0) };
    let ended = fit(&plan, &run, &callback);
    terminal.clear();
    ended?;
    let (n, step) = (plan.sides.valid.len(), callback.step.get());
    let n_correct = (callback.accuracy.get() * n as f64).round() as usize;
    if terminal.should_stop() {
        return Ok(End::Stopped);
    }
    if n_correct < n {
        bail!(
            "after {step} steps {n_correct} of {n} images are predicted correctly: check whether `optim.lr` \
             is far off (`lr-find`), whether the head and the loss fit the task, and whether two of the \
             images are identical with different labels"
        );
    }
    emit("checked", json!({ "steps": step, "images": n }));
    say!("all {n} images are predicted correctly after {step} steps; nothing is saved");
    Ok(End::Done)
}

/// Loads and checks the settings.
fn experiment(args: &ExperimentArgs, terminal: &Terminal) -> anyhow::Result<Experiment> {
    let mut experiment = untracked(continued::experiment(args, terminal)?.0)?;
    pretrained::settle(&mut experiment, args, terminal)?;
    Ok(experiment)
}

/// Checks the settings and the device, and starts the threads. A dry run is not worth tracking.
fn untracked(mut experiment: Experiment) -> anyhow::Result<Experiment> {
    check_settings(&experiment)?;
    experiment.track.clear();
    use_threads(experiment.threads)?;
    check_device(experiment.device)?;
    Ok(experiment)
}

/// Creates a run in a temporary folder, which is removed when dropped.
fn dry_run(plan: &Plan, terminal: &Terminal) -> anyhow::Result<(TempDir, Run)> {
    check_memory(plan, terminal)?;
    let dir = tempfile::tempdir().context("cannot create a temporary folder")?;
    let run = Run::create(&dir.path().join("run"), &plan.experiment.to_toml())?;
    Ok((dir, run))
}

/// Stops as soon as every prediction is correct.
struct UntilPerfect<'a> {
    terminal: &'a Terminal,
    /// The accuracy of the last evaluation.
    accuracy: Cell<f64>,
    step: Cell<usize>,
}

impl Callback for UntilPerfect<'_> {
    fn progress(&self, what: &str, done: usize, total: usize) {
        self.terminal.progress(what, done, total);
    }

    fn note(&self, text: &str) {
        self.terminal.note(text);
    }

    fn step(&self, report: &StepReport) {
        self.terminal.step(report);
    }

    fn epoch(&self, report: &EpochReport) {
        self.accuracy.set(report.scores[0].1.accuracy);
        self.step.set(report.step);
        self.terminal.epoch(report);
    }

    fn profile(&self, profile: &Profile) {
        self.terminal.profile(profile);
    }

    fn should_stop(&self) -> bool {
        self.accuracy.get() == 1.0 || self.terminal.should_stop()
    }
}
