//! The training loop.
//!
//! It reads from top to bottom in the order of the steps in ARCHITECTURE.md's table.
//! A step is a function of its number: resuming at step n equals having run to step n.

use std::{
    io::Write,
    path::Path,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use data::Loader;
use infer::{Bundle, LabelledWriter, Member};
use metrics::{Prediction, Report};
use models::Model;

use crate::{
    all_data::Estimate,
    amp::LossScale,
    begin::{begin, notes_on},
    callback::Callback,
    checkpoint::{Best, State},
    checkpoint_writer::Writer,
    engine::Engine,
    error::FitError,
    evaluation::{Evaluated, Evaluation},
    experiment::CheckpointSection,
    learner::Learner,
    loading::{epoch, load_epoch},
    log::{Log, Pace, split_csv},
    outcome::{Ended, Outcome},
    phase::Moment,
    plan::{Phase, Plan},
    profile::Activity,
    record::{self, Record},
    report::write_tables,
    run::{Run, RunError},
    scoring::Scoring,
    tracking::{self, Tracking},
};

/// Trains a run from the beginning or from its checkpoint, to the end or until the callback stops it.
///
/// # Errors
/// The run cannot start or continue; what was saved before remains intact.
pub fn fit(plan: &Plan, run: &Run, callback: &dyn Callback) -> Result<Ended, FitError> {
    let record = Record::of(plan);
    let (learner, state) = begin(plan, run, &record, callback)?;
    if state.step == 0 {
        run.write("split.csv", &split_csv(plan))?;
        run.write(record::FILE, record.text())?;
    }
    let data = record.fingerprint().to_owned();
    drop(record);
    let note = |it: &str| callback.note(it);
    let mut tracking = Tracking::open(plan, run, state.step, &note);
    let ended = train(plan, run, callback, learner, state, data, &mut tracking);
    if !callback.is_taken_over() {
        tracking.finish(&ended);
    }
    ended
}

/// Trains from a step on.
fn train(
    plan: &Plan,
    run: &Run,
    callback: &dyn Callback,
    mut learner: Learner,
    mut state: State,
    data: String,
    tracking: &mut Tracking<'_>,
) -> Result<Ended, FitError> {
    let mut log = Log::open(plan, run, state.step)?;
    let mut saver = Saver::start(plan, run, data, &log, tracking)?;
    let mut pace = Pace::start();
    let mut loader: Option<Loader> = None;
    let mut busy = Duration::ZERO;
    let mut n_skipped = state.loss_scale.map_or(0, |it| it.skipped_steps);
    let profile = learner.profile();
    let ran_on = plan.opened()?.ran_on();

    loop {
        while let Some(next) = due_phase(plan, &state) {
            if state.step < next.span.start {
                callback
                    .note(&plan.phases[state.phase].named(&early_stop(&state, next.span.start)));
                // It is at a step that is left out.
                (loader, busy) = (None, Duration::ZERO);
            }
            state.begin(next);
            learner.begin(plan, state.phase)?;
            notes_on(plan, state.phase).iter().for_each(|it| callback.note(it));
        }
        let phase = &plan.phases[state.phase];
        if is_over(phase, &state) {
            break;
        }
        let settings = &phase.span.experiment;
        let (epoch_idx, n_done) = plan.epochs.find(state.step);
        let is_begun = loader.is_some();
        let loader = loader.get_or_insert_with(|| load_epoch(plan, state.step)); // 2, 3: sample, load
        let next_epoch = state.step - n_done + plan.epochs.n_steps(epoch_idx);
        if (!is_begun || n_done == 0) && next_epoch < plan.epochs.total() {
            // Its first batches are loaded while the last ones of this epoch are trained on.
            loader.add(epoch(plan, next_epoch));
        }
        let data_wait = loader.data_wait();
        let batch = profile.time(Activity::DataWait, || loader.next()); //          4: batch
        let batch = batch.expect("an epoch has a batch for each step")?;
        pace.data_wait += loader.data_wait() - data_wait;
        let busy_now = loader.busy();
        profile.add_loading(busy_now - busy);
        busy = busy_now;

        let rates = phase.span.rates(state.step, &state.scores);
        let result = learner.step(plan, &batch, state.step, rates)?; // 5-7: forward, loss, backward

        state.step += 1;
        if state.ran_on.last() != Some(&ran_on) {
            state.ran_on.push(ran_on.clone());
        }
        state.loss_sum += result.loss;
        state.n_losses += 1;
        pace.n_images += batch.samples.len();
        let lr = settings.optim.get().lr() * rates.lr;
        log.step(callback, plan, &state, result.loss, lr, batch.samples.len(), &pace)?;
        let mut numbers = tracking::of_step(plan.clock(state.step).epoch, &result, lr);

        let (n_steps, epochs) = (state.step - phase.span.start, &phase.span.epochs);
        let is_evaluated = n_steps == epochs.total() || settings.eval.every.is_up(n_steps, epochs);
        if is_evaluated {
            let trained = pace.elapsed();
            let bundle = bundle_of(plan, &learner.for_inference(plan, state.step)?);
            let valid = profile
                .time(Activity::Evaluate, || evaluate(plan, learner.engine(), &bundle, callback))?;
            let score = valid.best_by;
            let is_best = phase.sees_valid || state.is_best(score, plan);
            if is_best {
                // It becomes the run's best once the checkpoint that records it is on disk.
                let save = || bundle.stage(&run.best(), &state.step.to_string()); // 8: save
                profile.time(Activity::Save, save)?;
            }
            state.note(score, is_best);
            let model = &bundle.members[0].model;
            for (at, is_due) in [(Moment::Best, is_best), (Moment::End, is_over(phase, &state))] {
                if is_due {
                    learner.keep(plan, state.phase, at, model)?;
                }
            }
            let report = log.epoch(callback, plan, &state, &valid, is_best, trained, &pace)?;
            numbers.extend(tracking::of_evaluation(&report));
            tracking.show(plan, state.step, model, &valid.predicted, callback);
            if let Some(it) = learner.loss_scale()?.filter(|it| it.skipped_steps > n_skipped) {
                callback.note(&skipped(it, state.step));
                n_skipped = it.skipped_steps;
            }
            (state.loss_sum, state.n_losses) = (0.0, 0);
            pace = Pace::start();
        }
        // Another process may continue a cross-validation's fold, and log it under the same name.
        if !(is_evaluated && callback.is_taken_over()) {
            profile.time(Activity::Save, || tracking.scalars(state.step, &numbers));
        }
        let is_stopped = callback.should_stop() && !is_finished(plan, &state);
        let CheckpointSection { every, minutes, .. } = settings.checkpoint;
        let is_scheduled = is_evaluated || every.is_up(n_steps, epochs);
        profile.time(Activity::Save, || {
            match is_scheduled || is_stopped || saver.is_overdue(minutes) {
                true => saver.save(plan, &learner, &state, is_scheduled),
                false => saver.check(),
            }
        })?;
        if is_stopped {
            saver.finish()?;
            callback.profile(&profile);
            return Ok(Ended::Stopped { step: state.step });
        }
    }
    if state.best.is_none() {
        // The best evaluation was reset, or the last phase has no steps: no other evaluation will follow.
        let bundle = bundle_of(plan, &learner.for_inference(plan, state.step)?);
        let score = evaluate(plan, learner.engine(), &bundle, callback)?.best_by;
        bundle.stage(&run.best(), &state.step.to_string())?;
        state.note(score, true);
        saver.save(plan, &learner, &state, true)?;
    }
    saver.finish()?;
    callback.profile(&profile);
    if state.step < plan.epochs.total() {
        callback.note(&early_stop(&state, plan.epochs.total()));
    }
    finish(plan, run, &state, callback)
}

/// Returns whether the phase that has begun has no further step.
fn is_over(phase: &Phase, state: &State) -> bool {
    let patience = phase.span.experiment.train.patience;
    state.step >= phase.span.end() || (patience > 0 && state.n_since_best >= patience)
}

/// Returns the phase to begin, if the one before it is over.
fn due_phase<'a>(plan: &'a Plan, state: &State) -> Option<&'a Phase> {
    let next = plan.phases.get(state.phase + 1)?;
    is_over(&plan.phases[state.phase], state).then_some(next)
}

/// Returns whether the run has no further phase or step.
fn is_finished(plan: &Plan, state: &State) -> bool {
    let is_last = state.phase + 1 == plan.phases.len();
    is_last && is_over(&plan.phases[state.phase], state)
}

fn early_stop(state: &State, end: usize) -> String {
    let n = state.n_since_best;
    format!(
        "no improvement in {n} evaluation{} (`train.patience`): stopping early after step {} of {end}",
        if n == 1 { "" } else { "s" },
        state.step
    )
}

/// Describes how many steps f16 has skipped.
///
/// - `step`: steps done.
fn skipped(LossScale { scale, skipped_steps, .. }: LossScale, step: usize) -> String {
    format!(
        "f16: {skipped_steps} of {step} steps were skipped, since a gradient was not finite (NaN or infinite); the \
         loss scale is {scale}"
    )
}

impl State {
    /// Returns whether a score is the best so far.
    fn is_best(&self, score: f64, plan: &Plan) -> bool {
        let metric = plan.experiment.eval.best_by.get();
        self.best.is_none_or(|it| metric.improves(score, it.score))
    }

    /// Begins the next phase.
    fn begin(&mut self, next: &Phase) {
        (self.phase, self.step) = (self.phase + 1, next.span.start);
        (self.n_since_best, self.scores, self.best) = (0, Vec::new(), None);
    }

    /// Records an evaluation.
    fn note(&mut self, score: f64, is_best: bool) {
        self.scores.push(score);
        self.n_since_best = if is_best { 0 } else { self.n_since_best + 1 };
        if is_best {
            self.best = Some(Best { score, step: self.step });
        }
    }
}

/// Saves checkpoints when they are due.
struct Saver {
    writer: Writer,
    /// The fingerprint of the data.
    data: String,
    written: Instant,
}

impl Saver {
    fn start(
        plan: &Plan,
        run: &Run,
        data: String,
        log: &Log,
        tracking: &Tracking<'_>,
    ) -> Result<Saver, FitError> {
        let mut tables = log.files()?;
        tables.extend(tracking.tables());
        let writer = Writer::start(run, plan.experiment.checkpoint.keep, tables)?;
        Ok(Saver { writer, data, written: Instant::now() })
    }

    /// Saves a checkpoint, once the previous one is on disk.
    ///
    /// - `is_scheduled`: whether the settings schedule it: then it is saved however long that takes, since which
    ///   checkpoints there are must not depend on time.
    fn save(
        &mut self,
        plan: &Plan,
        learner: &Learner,
        state: &State,
        is_scheduled: bool,
    ) -> Result<(), FitError> {
        self.writer.wait()?;
        self.written = Instant::now();
        Ok(self.writer.write(learner.checkpoint(plan, state, &self.data)?, is_scheduled)?)
    }

    /// Returns whether the clock asks for a checkpoint. While the previous one is still being written it does not.
    fn is_overdue(&mut self, minutes: f64) -> bool {
        let is_due = minutes > 0.0 && self.written.elapsed().as_secs_f64() >= 60.0 * minutes;
        is_due && self.writer.is_idle()
    }

    /// Checks that the last checkpoint has not failed.
    fn check(&mut self) -> Result<(), FitError> {
        Ok(self.writer.check()?)
    }

    /// Waits until all checkpoints are on disk.
    fn finish(self) -> Result<(), FitError> {
        Ok(self.writer.finish()?)
    }
}

/// Returns the bundle of a model with the plan's evaluation pipeline and test-time augmentation.
fn bundle_of(plan: &Plan, model: &Rc<Model>) -> Bundle {
    let pipeline = plan.eval_pipeline.clone();
    let member = Member {
        views: plan.experiment.tta.clone(),
        train: plan.train_pipeline.ops.clone(),
        ..Member::new(Rc::clone(model), plan.task.clone(), pipeline)
    };
    Bundle::new(plan.task.clone(), vec![member])
}

/// Predicts some of the plan's images, and passes each prediction with its labels to `each`, together with
/// the image's position in the plan.
fn predict(
    plan: &Plan,
    engine: &Engine,
    bundle: &Bundle,
    side: &[usize],
    what: &str,
    callback: &dyn Callback,
    each: &mut dyn FnMut(usize, &Prediction<'_>) -> Result<(), FitError>,
) -> Result<(), FitError> {
    let images: Arc<[_]> = side.iter().map(|&it| plan.images[it].clone()).collect();
    let predictor = engine.predictor(plan, bundle.clone());
    let mut n_done = 0;
    predictor.predict_each(&images, plan.serving(), &mut |predicted: infer::Prediction| {
        let idx = side[n_done];
        let it = Prediction {
            probabilities: &predicted.probabilities,
            predicted: predicted.predicted,
            class: plan.classes[idx],
            group: plan.persons[idx],
            number: predicted.number,
            true_number: plan.number(idx),
        };
        n_done += 1;
        callback.progress(what, n_done, side.len());
        each(idx, &it)
    })
}

/// Evaluates a bundle on the validation set, for the reports during training: without test-time augmentation,
/// which would take a multiple of the time.
pub(crate) fn evaluate(
    plan: &Plan,
    engine: &Engine,
    bundle: &Bundle,
    callback: &dyn Callback,
) -> Result<Evaluated, FitError> {
    let mut evaluation = Evaluation::new(&plan.task, plan.experiment.eval.best_by.get());
    let bundle = bundle.clone().without_views();
    predict(plan, engine, &bundle, &plan.sides.valid, "validating", callback, &mut |_, it| {
        evaluation.add(it);
        Ok(())
    })?;
    Ok(evaluation.finish())
}

/// Predicts some of the plan's images, writes the table of the predictions, and scores them.
///
/// - `table`: its path, for error messages, and where it is written to.
pub(crate) fn predict_table(
    plan: &Plan,
    bundle: &Bundle,
    side: &[usize],
    what: &str,
    callback: &dyn Callback,
    table: (&Path, impl Write),
) -> Result<Report, FitError> {
    let values = |image: usize| plan.attribute_values[image].as_slice();
    let of_side = side.iter().map(|&it| values(it));
    let mut scoring = Scoring::new(&plan.task, &plan.attributes, of_side);
    let failed = |source| RunError::Io { path: table.0.to_owned(), source };
    let mut rows = LabelledWriter::new(table.1, &plan.task);
    predict(plan, &Engine::in_f32(plan)?, bundle, side, what, callback, &mut |idx, it| {
        scoring.add(values(idx), it);
        let (image, group) = (&plan.images[idx].0, &plan.groups[it.group]);
        Ok(rows.row(image, group, it).map_err(failed)?)
    })?;
    rows.finish().and_then(|mut it| it.flush()).map_err(failed)?;
    Ok(scoring.report(plan.seed()))
}

/// Scores the best bundle, as saved, and writes the run's final files.
fn finish(
    plan: &Plan,
    run: &Run,
    state: &State,
    callback: &dyn Callback,
) -> Result<Ended, FitError> {
    let bundle = Bundle::open(&run.best(), &plan.device)?;
    let report = |side: &[usize], what: &str, name: &str| -> Result<Report, FitError> {
        let (file, mut report) = (format!("{name}.csv"), None);
        run.write_with(&file, |out| {
            let path = run.dir().join(&file);
            report = Some(predict_table(plan, &bundle, side, what, callback, (&path, out))?);
            Ok::<_, FitError>(())
        })?;
        let report = report.expect("the table is written");
        write_tables(run, name, &report)?;
        Ok(report)
    };
    let valid = report(&plan.sides.valid, "validating the best", "valid")?;
    let test = match plan.test.is_empty() {
        true => None,
        false => Some(report(&plan.test, "testing the best", "test")?),
    };
    let best_step = state.best.map_or(0, |it| it.step);
    let trained_on_valid = plan.phases[state.phase].sees_valid;
    let (steps, ran_on) = (state.step, state.ran_on.clone());
    let estimate = Estimate::read(run.dir())?;
    let outcome = Outcome { steps, best_step, ran_on, trained_on_valid, estimate, valid, test };
    run.write("report.toml", &outcome.to_toml())?;
    Ok(Ended::Finished(Box::new(outcome)))
}
