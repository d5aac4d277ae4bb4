//! `maskfit train --fast` and `--overfit`: runs that are only tried. They leave nothing.

use std::cell::Cell;

use anyhow::{Context as _, bail};
use candle::Device;
use tempfile::TempDir;
use trainer::{
    Callback, Ended, EpochReport, Experiment, Plan, Profile, Run, StepReport, check_memory, fit,
};

use super::{check_settings, manifest, train::announce, use_threads};
use crate::{End, args::ExperimentArgs, pretrained, runs, terminal::Terminal};

/// A few steps of everything.
pub(crate) fn fast(args: &ExperimentArgs, profile: bool) -> anyhow::Result<End> {
    let terminal = Terminal::new();
    terminal.profiles(profile);
    let experiment = experiment(args, &terminal)?;
    let manifest = manifest(&experiment, &terminal)?;
    let fold = experiment.data.fold;
    let mut plan = Plan::new(&experiment, &manifest, fold, &Device::Cpu, &terminal)?;
    let shortened = plan.shorten()?;
    let (_dir, run) = dry_run(&plan, &terminal)?;
    announce(&plan, &run, &terminal);
    terminal.say(&shortened);
    terminal.heed_interrupts();
    let ended = fit(&plan, &run, &terminal);
    terminal.clear();
    match ended? {
        Ended::Stopped { .. } => Ok(End::Stopped),
        Ended::Finished(_) => {
            let n_steps = plan.epochs.total();
            say!(
                "{n_steps} steps of everything work: nothing is kept, and the scores mean nothing"
            );
            Ok(End::Done)
        }
    }
}

/// A few images, learnt by heart.
pub(crate) fn overfit(args: &ExperimentArgs, n: usize, profile: bool) -> anyhow::Result<End> {
    let terminal = Terminal::new();
    terminal.profiles(profile);
    let experiment = experiment(args, &terminal)?;
    let manifest = manifest(&experiment, &terminal)?;
    let plan = Plan::overfit(&experiment, &manifest, n, &Device::Cpu, &terminal)?;
    let (_dir, run) = dry_run(&plan, &terminal)?;
    announce(&plan, &run, &terminal);
    terminal.heed_interrupts();
    let watch = UntilPerfect { terminal: &terminal, right: Cell::new(0.0), step: Cell::new(0) };
    let ended = fit(&plan, &run, &watch);
    terminal.clear();
    ended?;
    let (n, step) = (plan.sides.valid.len(), watch.step.get());
    let n_right = (watch.right.get() * n as f64).round() as usize;
    if terminal.should_stop() {
        return Ok(End::Stopped);
    }
    if n_right < n {
        bail!(
            "after {step} steps {n_right} of {n} images are right: see whether `optim.lr` is far off \
             (`lr-find`), whether the head and the loss fit the task, and whether two of the images \
             are the same with different labels"
        );
    }
    say!("all {n} images are right after {step} steps: it can learn; nothing is kept");
    Ok(End::Done)
}

/// The settings, checked.
fn experiment(args: &ExperimentArgs, terminal: &Terminal) -> anyhow::Result<Experiment> {
    let (mut experiment, _) = runs::experiment(args)?;
    check_settings(&experiment)?;
    // It is no run that anybody looks for later.
    experiment.track.clear();
    use_threads(experiment.threads)?;
    pretrained::settle(&mut experiment, args, terminal)?;
    Ok(experiment)
}

/// A run in a folder that goes when it is dropped.
fn dry_run(plan: &Plan, terminal: &Terminal) -> anyhow::Result<(TempDir, Run)> {
    check_memory(plan, terminal)?;
    let dir = tempfile::tempdir().context("a folder for what is not kept cannot be made")?;
    let run = Run::create(&dir.path().join("run"), &plan.experiment.to_toml())?;
    Ok((dir, run))
}

/// Stops as soon as everything is right.
struct UntilPerfect<'a> {
    terminal: &'a Terminal,
    /// The share of images that were right last.
    right: Cell<f64>,
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
        self.right.set(report.scores[0].1.accuracy);
        self.step.set(report.step);
        self.terminal.epoch(report);
    }

    fn profile(&self, profile: &Profile) {
        self.terminal.profile(profile);
    }

    fn should_stop(&self) -> bool {
        self.right.get() == 1.0 || self.terminal.should_stop()
    }
}
