//! What a run begins with: a fresh model, or what its checkpoint has, once it is known to be of the same run.

use infer::Bundle;

use crate::{
    callback::Callback,
    checkpoint::{self, State},
    error::FitError,
    experiment::{Experiment, differences},
    freeze::Freezing,
    learner::Learner,
    log::split_csv,
    plan::Plan,
    record::{self, Changes, Record},
    run::{Run, RunError},
};

/// What goes on, and where: the run's checkpoint, or a fresh model.
pub(crate) fn begin(
    plan: &Plan,
    run: &Run,
    record: &Record,
    watch: &dyn Callback,
) -> Result<(Learner, State), FitError> {
    if let Some(checkpoint) = checkpoint::newest(run, &|it| watch.note(it))? {
        let (step, total) = (checkpoint.state.step, plan.epochs.total());
        let changes = differences(&checkpoint.settings, &plan.experiment.essence());
        let before = match checkpoint.data == record.fingerprint() {
            true => None,
            false => Some(Record::find(run, &checkpoint.data)?),
        };
        let of_data = match &before {
            None => Changes::default(),
            Some(before) => Changes::between(before, record).map_err(|reason| {
                RunError::Damaged { path: run.dir().join(record::FILE), reason }
            })?,
        };
        check_changes(plan, run, &changes, &of_data)?;
        if step > total {
            return Err(FitError::Over { done: step, total });
        }
        let learner =
            Learner::resume(plan, &checkpoint).map_err(|err| match changes.is_empty() {
                true => err,
                false => {
                    let (run, changes) = (run.dir().to_owned(), changes.clone());
                    FitError::Misfit { run, reason: err.to_string(), changes }
                }
            })?;
        changes.iter().chain(&of_data.lines).for_each(|it| watch.note(&format!("changed: {it}")));
        if !changes.is_empty() {
            let config = run.read("config.toml")?;
            // Settings that no step was taken with are not kept.
            if Experiment::of_run(&config).is_ok_and(|it| it.essence() == checkpoint.settings) {
                run.write(&format!("config-until-{step}.toml"), &config)?;
            }
        }
        // Also where a change is taken back that has come to no checkpoint.
        if !since_written(plan, run)?.is_empty() {
            run.write("config.toml", &plan.experiment.to_toml())?;
        }
        if let Some(before) = &before {
            record.replace(run, before, step)?;
            run.write("split.csv", &split_csv(plan))?;
        }
        watch.note(&format!("going on after step {step} of {total}"));
        let mut state = checkpoint.state;
        let is_as_it_was = changes.is_empty() && before.is_none();
        let by = if changes.iter().any(|it| it.starts_with("eval.best_by")) {
            Some("`eval.best_by` is another")
        } else {
            of_data.changes_validation.then_some("the validation set is another")
        };
        if let Some(why) = by {
            watch.note(&format!(
                "{why}, so that scores do not compare with those before: the best, `train.patience` and \
                 `plateau` start anew"
            ));
            state = State { best: None, n_since_best: 0, scores: Vec::new(), ..state };
        }
        checkpoint::commit_best(&run.best(), &state)?;
        Bundle::discard_staged(&run.best());
        state.check_best(run, is_as_it_was, watch);
        return Ok((learner, state));
    }
    let changes = since_written(plan, run)?;
    check_changes(plan, run, &changes, &Changes::default())?;
    if !changes.is_empty() {
        changes.iter().for_each(|it| watch.note(&format!("changed: {it}")));
        run.write("config.toml", &plan.experiment.to_toml())?;
    }
    Bundle::discard_staged(&run.best());
    if run.dir().join("steps.csv").is_file() {
        watch.note("there is no checkpoint yet: it begins anew");
    }
    let (model, fitted) = plan.model()?;
    if let Some(fitted) = fitted {
        watch.note(&format!("pretrained weights: {fitted}"));
    }
    let freezes = plan.experiment.freezes(&plan.epochs);
    Freezing::notes(&freezes).for_each(|it| watch.note(&it));
    Ok((Learner::new(plan, model)?, State::default()))
}

/// What differs from the settings in the run's folder.
fn since_written(plan: &Plan, run: &Run) -> Result<Vec<String>, RunError> {
    let written: Option<Experiment> = toml::from_str(&run.read("config.toml")?).ok();
    let before = written.map(|it| it.essence());
    Ok(before.map_or_else(Vec::new, |it| differences(&it, &plan.experiment.essence())))
}

/// Stops where a run would not be what it began as.
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
    /// Makes sure that the run's bundle is that of the best evaluation, and forgets that one where it is not:
    /// the bundle may be of a course that was discarded.
    ///
    /// - `is_as_it_was`: whether this course takes the steps again that it was discarded after.
    fn check_best(&mut self, run: &Run, is_as_it_was: bool, watch: &dyn Callback) {
        let Some(best) = self.best else { return };
        let found = Bundle::tag(&run.best()).and_then(|it| it.parse::<usize>().ok());
        // What it was taken from comes again, bit for bit.
        let comes_again = is_as_it_was && found.is_some_and(|it| it > self.step);
        if found == Some(best.step) || comes_again {
            return;
        }
        let is = found.map_or("there is none".to_owned(), |it| format!("it is that of step {it}"));
        watch.note(&format!(
            "{}: the best so far was that of step {}, and {is}: the best and `train.patience` start anew",
            run.best().display(),
            best.step
        ));
        (self.best, self.n_since_best) = (None, 0);
    }
}
