//! `maskfit train`

use std::path::Path;

use anyhow::bail;
use candle::Device;
use trainer::{Ended, FitError, Plan, Run, RunError, check_memory, fit};

use super::{check_settings, manifest, use_threads};
use crate::{
    End,
    args::ExperimentArgs,
    pretrained, runs,
    shares::shares,
    tables::{interval, report},
    terminal::Terminal,
};

pub(crate) fn train(
    args: &ExperimentArgs,
    resume: Option<&Path>,
    allow_changes: bool,
    profile: bool,
) -> anyhow::Result<End> {
    let terminal = Terminal::new();
    terminal.profiles(profile);
    let (mut experiment, name, held) = match resume {
        None => {
            let (experiment, name) = runs::experiment(args)?;
            (experiment, name, None)
        }
        Some(named) => {
            let dir = runs::find(named)?;
            if dir.join("fold-0").is_dir() {
                bail!("{}: this is a cross-validation: go on with `kfold --resume`", dir.display());
            }
            let run = Run::open(&dir)?;
            if run.is_finished() {
                bail!(
                    "{}: this run is finished: to train longer, begin a new one with a longer `train.total`",
                    dir.display()
                );
            }
            (runs::experiment_of(run.dir(), &args.set)?, String::new(), Some(run))
        }
    };
    check_settings(&experiment)?;
    use_threads(experiment.threads)?;
    if held.is_none() {
        pretrained::settle(&mut experiment, args, &terminal)?;
    }
    let manifest = manifest(&experiment, &terminal)?;
    let mut plan =
        Plan::new(&experiment, &manifest, experiment.data.fold, &Device::Cpu, &terminal)?;
    plan.allow_changes = allow_changes;
    let run = match held {
        Some(it) => {
            check_memory(&plan, &terminal)?;
            it
        }
        None => {
            // A run whose weights do not fit leaves no folder.
            plan.model()?;
            check_memory(&plan, &terminal)?;
            runs::begin(&experiment, &name)?
        }
    };
    announce(&plan, &run, &terminal);
    terminal.heed_interrupts();
    let ended = fit(&plan, &run, &terminal);
    terminal.clear();
    let dir = run.dir().display();
    let ended = ended.map_err(|err| {
        let is_kept = run.has_checkpoint();
        whole_so_far(err, is_kept, &format!("train --resume {dir}"))
    })?;
    match ended {
        Ended::Stopped { step } => {
            let total = plan.epochs.total();
            say!("stopped after step {step} of {total}; go on with `train --resume {dir}`");
            Ok(End::Stopped)
        }
        Ended::Finished(outcome) => {
            let (title, last, name) = match &outcome.test {
                Some(it) => ("\npeople never seen", it, "test"),
                None => ("\npeople held out", &outcome.valid, "valid"),
            };
            say!("{}", report(title, last, &run.dir().join(name)));
            let epoch = plan.clock(outcome.best_step).epoch;
            say!(
                "best of epoch {epoch:.2} by {}, on people held out:",
                plan.experiment.eval.best_by.kind()
            );
            say!("  macro F1 {}", interval(outcome.valid.joint().macro_f1));
            match &outcome.test {
                Some(it) => {
                    say!("on people never seen:\n  macro F1 {}", interval(it.joint().macro_f1));
                }
                None => say!("  (chosen on the same people, so a little too good)"),
            }
            say!("bundle: {}", run.best().display());
            Ok(End::Done)
        }
    }
}

/// An error of a run that can be gone on with, and how.
///
/// - `is_kept`: whether there is something to go on from.
pub(super) fn whole_so_far(err: FitError, is_kept: bool, command: &str) -> anyhow::Error {
    let is_damaged = matches!(err, FitError::Run(RunError::Damaged { .. }));
    match is_kept {
        _ if err.is_refusal() || is_damaged => err.into(),
        true => anyhow::anyhow!("{err}\nwhat was kept before is whole: go on with `{command}`"),
        false => anyhow::anyhow!("{err}\nnothing was kept yet: `{command}` begins anew"),
    }
}

/// Says what is about to happen.
pub(super) fn announce(plan: &Plan, run: &Run, terminal: &Terminal) {
    let people = |side: &[usize]| {
        let mut people: Vec<usize> = side.iter().map(|&it| plan.persons[it]).collect();
        people.sort_unstable();
        people.dedup();
        people.len()
    };
    let [h, w] = plan.train_pipeline.size().unwrap_or_default();
    let side = |name: &str, side: &[usize]| {
        format!("{name} {} images of {} people", side.len(), people(side))
    };
    let mut sides =
        vec![side("train on", &plan.sides.train), side("validate on", &plan.sides.valid)];
    if !plan.test.is_empty() {
        sides.push(side("score on", &plan.test));
    }
    let [first, last] = [0, plan.epochs.n_begun() - 1].map(|it| plan.epochs.n_steps(it));
    let an_epoch = match first == last {
        true => format!("{first} an epoch"),
        false => format!("{first} in the first epoch, {last} in the last"),
    };
    terminal.say(&format!("run:   {}", run.dir().display()));
    terminal.say(&format!("data:  {}", sides.join(", ")));
    terminal.say(&format!(
        "plan:  {} steps of {} images of {h}x{w}, {an_epoch}",
        plan.epochs.total(),
        plan.experiment.train.batch_size
    ));
    if let Some(shares) = shares(plan) {
        terminal.say(&shares);
    }
    terminal.new_table();
}
