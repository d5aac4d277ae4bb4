//! `maskfit train`

use std::{path::Path, time::Instant};

use anyhow::{Context as _, bail};
use base::{Length, task::Unit, text};
use candle::Device;
use models::{BackboneConfig, Published};
use serde_json::json;
use toml::Table;
use trainer::{
    AllData, Ended, Estimate, Experiment, FitError, Plan, Run, RunError, check_device,
    check_memory, fit, keep_earlier, kfold::is_kfold,
};

use super::{
    kfold::places::{Settings, located},
    report::at_end,
};
use crate::{
    End,
    args::ExperimentArgs,
    continued::{self, Origin, Scored},
    json::emit,
    output::has_events,
    phrases::{self, argument, count, metric, seconds},
    preparation::{check_settings, manifest, use_threads},
    pretrained, runs,
    shares::shares,
    style::{BEST, paint},
    tables::{macro_f1, report},
    terminal::Terminal,
    wrap::{fold, wrapped},
};

pub(crate) fn train(
    args: &ExperimentArgs,
    resume: Option<&Path>,
    all_data: Option<&Path>,
    allow_changes: bool,
    profile: bool,
) -> anyhow::Result<End> {
    let begun = Instant::now();
    let terminal = Terminal::new();
    terminal.profiles(profile);
    let find = |named: &Path| runs::find_with(named, args.config.as_deref(), &args.set);
    let kfold = all_data.map(find).transpose()?;
    let (mut experiment, name, held) = match resume {
        None if args.config.is_none()
            && let Some(dir) = &kfold =>
        {
            (settings_like(dir, &args.set)?, runs::name_of(dir), None)
        }
        None => {
            let (experiment, name) = continued::experiment(args, &terminal)?;
            (experiment, name, None)
        }
        Some(named) => {
            let dir = find(named)?;
            if is_kfold(&dir) {
                bail!(
                    "{}: this is a cross-validation: resume it with `maskfit kfold --resume {}`",
                    dir.display(),
                    argument(&dir)
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
    if held.is_none() {
        runs::check_is_new(&experiment)?;
    }
    use_threads(experiment.threads)?;
    check_device(experiment.device)?;
    // Those of a cross-validation are settled.
    if held.is_none() && (kfold.is_none() || args.config.is_some()) {
        pretrained::settle(&mut experiment, args, &terminal)?;
    }
    let manifest = manifest(&experiment, &terminal)?;
    let after = kfold.map(|dir| trainer::all_data(&experiment, &manifest, &dir, &terminal));
    let after = after.transpose()?;
    if let Some(it) = &after {
        experiment = it.experiment.clone();
        check_settings(&experiment)?;
        say_length(it);
    }
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
            let origin = Origin::of(&plan, &Scored::by(&plan), &terminal)?;
            let name = if after.is_some() { format!("{name}-all") } else { name };
            let run = runs::begin(&experiment, &name)?;
            keep_earlier(&mut plan, &run)?;
            origin.map_or(Ok(()), |it| it.write(&run))?;
            after.map_or(Ok(()), |it| it.estimate.write(&run))?;
            run
        }
    };
    announce(&plan, run.dir(), &terminal);
    terminal.heed_interrupts();
    let ended = fit(&plan, &run, &terminal);
    terminal.clear();
    let command = format!("maskfit train --resume {}", argument(run.dir()));
    let ended = ended.map_err(|err| with_resume_hint(err, run.has_checkpoint(), &command))?;
    match ended {
        Ended::Stopped { step } => {
            let total = plan.epochs.total();
            emit("stopped", json!({ "step": step, "total": total, "resume": command }));
            complain!("stopped after step {step} of {total}; resume with `{command}`");
            Ok(End::Stopped)
        }
        Ended::Finished(outcome) => {
            let (title, report_of, name) = match &outcome.test {
                Some(it) => ("\ntest set", it, "test"),
                None => ("\nvalidation set", &outcome.valid, "valid"),
            };
            say!("{}", report(title, report_of, &run.dir().join(name)));
            let epoch = phrases::epoch(plan.clock(outcome.best_step).epoch);
            match outcome.trained_on_valid {
                true => say!(
                    "{}, trained on the validation set too:",
                    paint(BEST, format!("last model: epoch {epoch}"))
                ),
                false => say!(
                    "{}, selected by {} on the validation set:",
                    paint(BEST, format!("best model: epoch {epoch}")),
                    metric(plan.experiment.eval.best_by.kind())
                ),
            }
            say!("  {}", macro_f1(&outcome.valid));
            match (outcome.trained_on_valid, &outcome.test) {
                (true, _) => say!("  (meaningless: it was trained on these images)"),
                (false, None) => say!("  (optimistically biased: selected on this set)"),
                (false, Some(_)) => {}
            }
            if let Some(it) = &outcome.estimate {
                let Estimate { cross_validation, macro_f1, macro_f1_interval: [low, high] } = it;
                say!("estimate: the out-of-fold predictions of {cross_validation}:");
                say!("  macro F1 {macro_f1:.4} (95 % CI: {low:.4} to {high:.4})");
            }
            if let Some(it) = &outcome.test {
                say!("test set:\n  {}", macro_f1(it));
            }
            at_end(run.dir(), &experiment, &manifest, &terminal);
            say!("bundle: {}", run.best().display());
            finished(run.dir(), Some(&run.best()), begun)?;
            conclude(run.dir(), begun);
            Ok(End::Done)
        }
    }
}

/// Returns the settings of a run like a cross-validation.
pub(super) fn settings_like(kfold: &Path, set: &[String]) -> anyhow::Result<Experiment> {
    let Settings { mut own, .. } = located(kfold, set)?;
    if runs::name_of(kfold) == own.run.name {
        // That is taken.
        own.run.name.clear();
    }
    Ok(own)
}

/// Prints the length that the folds of a cross-validation found.
pub(super) fn say_length(it: &AllData) {
    let Some(last) = it.experiment.phase.last().filter(|_| !it.lengths.is_empty()) else {
        say!("length: that of the folds, since their last phase has no steps");
        return;
    };
    let lengths: Vec<String> = it.lengths.iter().map(|&it| phrases::epoch(it)).collect();
    let length = match last.total {
        Length::Epochs(n) => count(&n.to_string(), "epoch"),
        other => other.to_string(),
    };
    let text = format!(
        "{length}, the median of the folds' epochs until their best evaluation ({})",
        lengths.join(", ")
    );
    say!("{}", wrapped("length: ", &text));
}

/// Prints how long it took to make the models of a folder, and what to do next.
pub(super) fn conclude(dir: &Path, begun: Instant) {
    status!("finished in {}", seconds(begun.elapsed().as_secs_f64()));
    status!("next: maskfit predict {} --images DIR -o FILE", argument(dir));
}

/// Prints the event that a run is finished, with its `report.toml`.
///
/// - `bundle`: where its bundle is; a cross-validation has one for each fold.
pub(super) fn finished(dir: &Path, bundle: Option<&Path>, begun: Instant) -> anyhow::Result<()> {
    if !has_events() {
        return Ok(());
    }
    let path = dir.join("report.toml");
    let report = text::read(&path).with_context(|| path.display().to_string())?;
    let report: Table = report.parse().with_context(|| path.display().to_string())?;
    emit(
        "finished",
        json!({
            "run": dir.display().to_string(),
            "bundle": bundle.map(|it| it.display().to_string()),
            "seconds": begun.elapsed().as_secs_f64(),
            "report": report,
        }),
    );
    Ok(())
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

/// Prints the folder, the data, the network and the plan of a run before it starts.
pub(super) fn announce(plan: &Plan, dir: &Path, terminal: &Terminal) {
    let groups = |side: &[usize]| {
        let mut groups: Vec<usize> = side.iter().map(|&it| plan.persons[it]).collect();
        groups.sort_unstable();
        groups.dedup();
        groups.len()
    };
    let side = |label: &str, name: &str, side: &[usize], note: &str| {
        let images = plan.task.unit.images_of(side.len(), groups(side));
        terminal.status(&format!("{label:<7}{name:<14}  {images}{note}"));
    };
    emit(
        "run",
        json!({
            "run": dir.display().to_string(),
            "epochs": plan.clock(plan.epochs.total()).epoch,
            "steps": plan.epochs.total(),
            "training_images": plan.phases[0].train.len(),
            "validation_images": plan.sides.valid.len(),
            "test_images": plan.test.len(),
            "backbone": plan.spec.backbone.kind(),
            "head": plan.spec.head.kind(),
        }),
    );
    terminal.status(&format!("run:   {}", dir.display()));
    // That of the split, or all the data.
    let train = plan.phases[0].train.iter();
    let (pseudo, labelled): (Vec<_>, Vec<_>) = train.partition(|it| plan.pseudo.contains(**it));
    side("data:", "training set", &labelled, "");
    if !pseudo.is_empty() {
        let images = Unit::Image.count(pseudo.len());
        terminal.status(&format!("       {:<14}  {images}", "pseudo-labels"));
    }
    let also = match plan.phases.iter().position(|it| it.sees_valid) {
        None => String::new(),
        Some(0) => ", also trained on".to_owned(),
        Some(idx) => format!(", also trained on from phase `{}` on", plan.phases[idx].name),
    };
    side("", "validation set", &plan.sides.valid, &also);
    if !plan.test.is_empty() {
        side("", "test set", &plan.test, "");
    }
    let network = network(&plan.spec.backbone);
    let head = plan.spec.head.kind();
    terminal.status(&fold("model: ", &format!("{network}, with head `{head}`")));
    let [first, last] = [0, plan.epochs.n_begun() - 1].map(|it| plan.epochs.n_steps(it));
    let per_epoch = match first == last {
        true => format!("{first} per epoch"),
        false => format!("{first} in the first epoch, {last} in the last"),
    };
    let (total, n_phases) = (plan.epochs.total(), plan.phases.len());
    let epochs = count(&phrases::epoch(plan.clock(total).epoch), "epoch");
    let steps = count(&total.to_string(), "step");
    if plan.experiment.phase.is_empty() {
        let images = Unit::Image.count(plan.experiment.train.batch_size);
        let [h, w] = plan.train_pipeline.size().unwrap_or_default();
        let text = format!("{epochs}, {steps} of {images} of {h}x{w}, {per_epoch}");
        terminal.status(&fold("plan:  ", &text));
    } else {
        let phases = count(&n_phases.to_string(), "phase");
        let text = format!("{epochs}, {steps}, {per_epoch}, in {phases}");
        terminal.status(&fold("plan:  ", &text));
        (0..n_phases).for_each(|it| terminal.status(&fold("       ", &plan.describe(it))));
    }
    if let Some(shares) = shares(plan) {
        terminal.status(&shares);
    }
    terminal.new_table();
}

/// Names a published network; another one by its kind and the settings that are not the defaults.
fn network(backbone: &BackboneConfig) -> String {
    if let Some(it) = Published::find(backbone) {
        return it.name.to_owned();
    }
    let settings = |it: &BackboneConfig| Table::try_from(it).unwrap_or_default();
    let kind = backbone.kind();
    let default = BackboneConfig::zoo().into_iter().find(|it| it.0 == kind);
    let default = default.map_or_else(Table::new, |it| settings(&it.1));
    let others = settings(backbone).into_iter().filter(|(name, it)| default.get(name) != Some(it));
    let others = others.map(|(name, it)| format!("{name} = {it}"));
    [kind.to_owned()].into_iter().chain(others).collect::<Vec<_>>().join(", ")
}
