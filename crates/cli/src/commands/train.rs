//! `maskfit train`

use std::path::Path;

use anyhow::bail;
use candle::Device;
use trainer::{Ended, FitError, Plan, Run, RunError, check_memory, fit};

use crate::{
    End,
    args::ExperimentArgs,
    preparation::{check_settings, manifest, use_threads},
    pretrained, runs,
    shares::shares,
    style::{BEST, paint},
    tables::{macro_f1, report},
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
                bail!(
                    "{}: this is a cross-validation: resume it with `kfold --resume`",
                    dir.display()
                );
            }
            let run = Run::open(&dir)?;
            if run.is_finished() {
                bail!(
                    "{}: this run is finished: to train longer, start a new one with a longer `train.total`",
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
            // Weights that do not fit fail here, before the run has a folder.
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
        let is_saved = run.has_checkpoint();
        with_resume_hint(err, is_saved, &format!("train --resume {dir}"))
    })?;
    match ended {
        Ended::Stopped { step } => {
            let total = plan.epochs.total();
            complain!("stopped after step {step} of {total}; resume with `train --resume {dir}`");
            Ok(End::Stopped)
        }
        Ended::Finished(outcome) => {
            let (title, report_of, name) = match &outcome.test {
                Some(it) => ("\ntest set", it, "test"),
                None => ("\nvalidation set", &outcome.valid, "valid"),
            };
            say!("{}", report(title, report_of, &run.dir().join(name)));
            let epoch = plan.clock(outcome.best_step).epoch;
            match outcome.trained_on_valid {
                true => say!(
                    "{}, trained on the validation set too:",
                    paint(BEST, format!("last model: epoch {epoch:.2}"))
                ),
                false => say!(
                    "{}, selected by {} on the validation set:",
                    paint(BEST, format!("best model: epoch {epoch:.2}")),
                    plan.experiment.eval.best_by.kind()
                ),
            }
            say!("  {}", macro_f1(&outcome.valid));
            match (outcome.trained_on_valid, &outcome.test) {
                (true, _) => say!("  (meaningless: it was trained on these images)"),
                (false, None) => say!("  (optimistically biased: selected on this set)"),
                (false, Some(_)) => {}
            }
            if let Some(it) = &outcome.test {
                say!("test set:\n  {}", macro_f1(it));
            }
            say!("bundle: {}", run.best().display());
            Ok(End::Done)
        }
    }
}

/// Adds to the error of a run how to resume it.
///
/// - `is_saved`: whether there is a state to resume from.
pub(super) fn with_resume_hint(err: FitError, is_saved: bool, command: &str) -> anyhow::Error {
    let is_damaged = matches!(err, FitError::Run(RunError::Damaged { .. }));
    match is_saved {
        _ if err.is_refusal() || is_damaged => err.into(),
        true => anyhow::anyhow!("{err}\nwhat was saved before is intact: resume with `{command}`"),
        false => anyhow::anyhow!("{err}\nnothing was saved yet: `{command}` starts over"),
    }
}

/// Prints the folder, the data and the plan of a run before it starts.
pub(super) fn announce(plan: &Plan, run: &Run, terminal: &Terminal) {
    let groups = |side: &[usize]| {
        let mut groups: Vec<usize> = side.iter().map(|&it| plan.persons[it]).collect();
        groups.sort_unstable();
        groups.dedup();
        groups.len()
    };
    let [h, w] = plan.train_pipeline.size().unwrap_or_default();
    let side = |name: &str, side: &[usize]| {
        format!("{name} {}", plan.task.unit.images_of(side.len(), groups(side)))
    };
    let mut sides =
        vec![side("training set", &plan.sides.train), side("validation set", &plan.sides.valid)];
    if !plan.test.is_empty() {
        sides.push(side("test set", &plan.test));
    }
    let [first, last] = [0, plan.epochs.n_begun() - 1].map(|it| plan.epochs.n_steps(it));
    let per_epoch = match first == last {
        true => format!("{first} per epoch"),
        false => format!("{first} in the first epoch, {last} in the last"),
    };
    terminal.status(&format!("run:   {}", run.dir().display()));
    terminal.status(&format!("data:  {}", sides.join(", ")));
    let (total, n_phases) = (plan.epochs.total(), plan.phases.len());
    if plan.experiment.phase.is_empty() {
        let batch_size = plan.experiment.train.batch_size;
        terminal.status(&format!(
            "plan:  {total} steps of {batch_size} images of {h}x{w}, {per_epoch}"
        ));
    } else {
        terminal.status(&format!("plan:  {total} steps, {per_epoch}, in {n_phases} phases"));
        (0..n_phases).for_each(|it| terminal.status(&format!("       {}", plan.describe(it))));
    }
    if let Some(shares) = shares(plan) {
        terminal.status(&shares);
    }
    terminal.new_table();
}
