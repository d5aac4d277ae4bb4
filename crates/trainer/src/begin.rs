//! Starts a run from a fresh model, or resumes it from its checkpoint after checking its settings and data.

use infer::Bundle;

use crate::{
    callback::Callback,
    checkpoint::{self, State},
    checkpoint_writer,
    error::FitError,
    experiment::{Experiment, differences},
    freeze::Freezing,
    learner::Learner,
    log::split_csv,
    phase::Moment,
    plan::Plan,
    record::{self, Changes, Record},
    run::{Run, RunError},
};

/// Returns the learner and the state to continue from: those of the run's checkpoint, or of a fresh model.
pub(crate) fn begin(
    plan: &Plan,
    run: &Run,
    record: &Record,
    callback: &dyn Callback,
) -> Result<(Learner, State), FitError> {
    let device = plan.opened()?;
    device.note.iter().for_each(|it| callback.note(it));
    plan.experiment.note_on_loss_scale().iter().for_each(|it| callback.note(it));
    if let Some(checkpoint) = checkpoint::newest(run, &|it| callback.note(it))? {
        let (step, total) = (checkpoint.state.step, plan.epochs.total());
        let settings = Experiment::settings_of(&checkpoint.settings);
        let changes = differences(&settings, &plan.experiment.result_settings());
        let earlier = match checkpoint.data == record.fingerprint() {
            true => None,
            false => Some(Record::find(run, &checkpoint.data)?),
        };
        let of_data = match &earlier {
            None => Changes::default(),
            Some(earlier) => {
                Changes::between(earlier, record, plan.task.unit).map_err(|reason| {
                    RunError::Damaged { path: run.dir().join(record::FILE), reason }
                })?
            }
        };
        check_changes(plan, run, &changes, &of_data)?;
        if step > total {
            return Err(FitError::Over { done: step, total });
        }
        let phase = plan.phases.get(checkpoint.state.phase);
        if !phase.is_some_and(|it| (it.span.start..=it.span.end()).contains(&step)) {
            return Err(FitError::OtherPhases { step, phase: checkpoint.state.phase + 1 });
        }
        let learner =
            Learner::resume(plan, &checkpoint).map_err(|err| match changes.is_empty() {
                true => err,
                false => {
                    let (run, changes) = (run.dir().to_owned(), changes.clone());
                    FitError::Misfit { run, reason: err.to_string(), changes }
                }
            })?;
        changes
            .iter()
            .chain(&of_data.lines)
            .for_each(|it| callback.note(&format!("changed: {it}")));
        if !changes.is_empty() {
            let config = run.read("config.toml")?;
            // Settings without a step since then are not saved.
            if Experiment::of_run(&config).is_ok_and(|it| it.result_settings() == settings) {
                run.write(&format!("config-until-{step}.toml"), &config)?;
            }
        }
        // Also if a change is reverted that is not in any checkpoint.
        if !since_written(plan, run)?.is_empty() {
            run.write("config.toml", &plan.experiment.to_toml())?;
        }
        if let Some(earlier) = &earlier {
            record.replace(run, earlier, step)?;
            run.write("split.csv", &split_csv(plan))?;
        }
        callback.note(&format!("resuming after step {step} of {total}"));
        let now = device.ran_on();
        if let Some(before) = checkpoint.state.ran_on.last().filter(|it| **it != now) {
            callback.note(&format!(
                "so far the run was trained on {before}, and continues on {now}: the results are not those of a run \
                 on one device, but for their rounding"
            ));
        }
        let mut state = checkpoint.state;
        let is_unchanged = changes.is_empty() && earlier.is_none();
        let why = if changes.iter().any(|it| it.starts_with("eval.best_by")) {
            Some("`eval.best_by` has changed")
        } else {
            of_data.changes_validation.then_some("the validation set has changed")
        };
        if let Some(why) = why {
            callback.note(&format!(
                "{why}, so scores are not comparable with earlier ones: the best score, `train.patience` \
                 and `plateau` are reset"
            ));
            state = State { best: None, n_since_best: 0, scores: Vec::new(), ..state };
        }
        // What follows the writing of a checkpoint, in case the run was killed before it.
        checkpoint_writer::commit_best(&run.best(), &state)?;
        checkpoint_writer::prune(&run.checkpoints(), step, plan.experiment.checkpoint.keep)?;
        Bundle::discard_staged(&run.best());
        state.check_best(run, is_unchanged, callback);
        return Ok((learner, state));
    }
    let changes = since_written(plan, run)?;
    check_changes(plan, run, &changes, &Changes::default())?;
    if !changes.is_empty() {
        changes.iter().for_each(|it| callback.note(&format!("changed: {it}")));
        run.write("config.toml", &plan.experiment.to_toml())?;
    }
    Bundle::discard_staged(&run.best());
    if run.dir().join("steps.csv").is_file() {
        callback.note("there is no checkpoint yet: starting from the beginning");
    }
    let (model, loaded) = plan.model()?;
    if let Some(loaded) = loaded {
        callback.note(&format!("pretrained weights: {loaded}"));
    }
    notes_on(plan, 0).iter().for_each(|it| callback.note(it));
    Ok((Learner::new(plan, model)?, State::default()))
}

/// Returns notes on a phase that begins: what it restores, what is frozen, and what it is trained on.
pub(crate) fn notes_on(plan: &Plan, phase_idx: usize) -> Vec<String> {
    let phase = &plan.phases[phase_idx];
    let mut notes = Vec::new();
    if phase_idx > 0 {
        notes.push(plan.describe(phase_idx));
    }
    for it in &phase.restores {
        let when = match it.at {
            Moment::Best => "the best evaluation",
            Moment::End => "the end",
        };
        let earlier = &plan.phases[it.phase].name;
        notes.push(
            phase.named(&format!(
                "`{}` is restored to its weights at {when} of `{earlier}`",
                it.name
            )),
        );
    }
    if phase.span.epochs.total() > 0 {
        let freezes = phase.span.experiment.freezes(&phase.span.epochs);
        notes.extend(Freezing::notes(&freezes).map(|it| phase.named(&it)));
    }
    if phase.sees_valid {
        notes.push(phase.named(
            "the validation images are trained on, so that scores are meaningless from here on: the last \
             evaluation counts as the best",
        ));
    }
    notes
}

/// Returns the changes since the settings in the run's folder were written.
fn since_written(plan: &Plan, run: &Run) -> Result<Vec<String>, RunError> {
    let written: Option<Experiment> = toml::from_str(&run.read("config.toml")?).ok();
    let earlier = written.map(|it| it.result_settings());
    Ok(earlier.map_or_else(Vec::new, |it| differences(&it, &plan.experiment.result_settings())))
}

/// Checks that a run may be resumed with its changes.
///
/// # Errors
/// Groups have changed sides, or something has changed without `allow_changes`.
fn check_changes(
    plan: &Plan,
    run: &Run,
    of_settings: &[String],
    of_data: &Changes,
) -> Result<(), FitError> {
    let run = run.dir().to_owned();
    let changes = [of_settings, &of_data.lines].concat();
    match (of_data.has_moved, plan.allow_changes) {
        (true, _) => Err(FitError::OtherSides { run, changes }),
        (false, false) if !of_settings.is_empty() => Err(FitError::OtherSettings { run, changes }),
        (false, false) if !changes.is_empty() => Err(FitError::OtherData { run, changes }),
        (false, _) => Ok(()),
    }
}

impl State {
    /// Checks that the run's bundle is that of the best evaluation, and resets the best if it is not: the
    /// bundle may come from later steps that were discarded.
    ///
    /// - `is_unchanged`: whether settings and data are unchanged, so that discarded steps are repeated
    ///   exactly.
    fn check_best(&mut self, run: &Run, is_unchanged: bool, callback: &dyn Callback) {
        let Some(best) = self.best else { return };
        let found = Bundle::tag(&run.best()).and_then(|it| it.parse::<usize>().ok());
        // Its step is repeated, bit for bit.
        let is_repeated = is_unchanged && found.is_some_and(|it| it > self.step);
        if found == Some(best.step) || is_repeated {
            return;
        }
        let is =
            found.map_or("there is none".to_owned(), |it| format!("this is that of step {it}"));
        callback.note(&format!(
            "{}: the best bundle so far was that of step {}, but {is}: the best score and `train.patience` \
             are reset",
            run.best().display(),
            best.step
        ));
        (self.best, self.n_since_best) = (None, 0);
    }
}
