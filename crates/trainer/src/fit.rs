//! The training loop.
//!
//! It reads from top to bottom in the order of ARCHITECTURE.md's table.
//! A step is a function of its number: resuming at step n is running from step n.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use data::{Load, Loader};
use infer::{Bundle, LabelledWriter, Member, Predictor};
use metrics::{Evaluation as Reporting, Prediction, Report, argmax};
use models::Model;

use crate::{
    callback::Callback,
    checkpoint::{self, Best, State, Writer},
    error::{FitError, size},
    evaluation::{Evaluated, Evaluation},
    experiment::{CheckpointSection, Experiment, differences},
    freeze::Freezing,
    learner::Learner,
    log::{Log, Pace, split_csv},
    memory::{self, Need},
    plan::Plan,
    profile::Activity,
    record::{self, Changes, Record},
    report::{section, write_tables},
    run::{Run, RunError},
    tracking::{self, Tracking},
};

/// How a run came to an end.
pub enum Ended {
    /// It is finished.
    Finished(Box<Outcome>),
    /// It was asked to stop, and can be taken up again.
    Stopped {
        /// Steps done.
        step: usize,
    },
}

/// What a finished run came to.
pub struct Outcome {
    /// Steps done.
    pub steps: usize,
    /// Steps done when the best bundle was saved.
    pub best_step: usize,
    /// The best bundle on the people held out, who chose it.
    pub valid: Report,
    /// The best bundle on people that nothing was decided by, where the source has such.
    pub test: Option<Report>,
}

/// Stops where the machine, or its container, has not the memory that a run needs.
///
/// # Errors
/// [`FitError::Memory`], with what would fit.
pub fn check_memory(plan: &Plan, watch: &dyn Callback) -> Result<(), FitError> {
    if !plan.experiment.run.check_memory || !plan.device.is_cpu() {
        return Ok(());
    }
    let Some((need, free)) = Need::measure(plan)?.zip(memory::free()) else { return Ok(()) };
    let bytes = need.bytes();
    if bytes > free {
        return Err(FitError::Memory { need: bytes, free, remedy: need.remedy(plan, free) });
    }
    watch.note(&format!("memory: about {} of the {} that are free", size(bytes), size(free)));
    Ok(())
}

/// Trains, from the beginning or from the run's checkpoint, to the end or until asked to stop.
///
/// # Errors
/// Whatever keeps it from going on; what was saved before is whole.
pub fn fit(plan: &Plan, run: &Run, watch: &dyn Callback) -> Result<Ended, FitError> {
    let record = Record::of(plan);
    let (learner, state) = begin(plan, run, &record, watch)?;
    if state.step == 0 {
        run.write("split.csv", &split_csv(plan))?;
        run.write(record::FILE, record.text())?;
    }
    let data = record.fingerprint().to_owned();
    drop(record);
    let note = |it: &str| watch.note(it);
    let mut tracking = Tracking::open(plan, run, state.step, &note);
    let ended = train(plan, run, watch, learner, state, data, &mut tracking);
    tracking.finish(&ended);
    ended
}

/// From a step on.
fn train(
    plan: &Plan,
    run: &Run,
    watch: &dyn Callback,
    mut learner: Learner,
    mut state: State,
    data: String,
    tracking: &mut Tracking<'_>,
) -> Result<Ended, FitError> {
    let mut log = Log::open(plan, run, state.step)?;
    let mut keeper = Keeper::start(plan, run, data, &log, tracking)?;
    let mut pace = Pace::start();
    let mut loader: Option<Loader> = None;
    let mut busy = Duration::ZERO;
    let profile = learner.profile();

    if is_over(plan, &state) && state.best.is_none() {
        // What was the best is none any more, and no evaluation is to come.
        let bundle = bundle_of(plan, &learner.for_inference(plan, state.step)?);
        let score = evaluate(plan, &bundle, watch)?.best_by;
        bundle.stage(&run.best(), &state.step.to_string())?;
        state.note(score, true);
        keeper.keep(plan, &learner, &state)?;
    }
    while !is_over(plan, &state) {
        let clock = plan.clock(state.step);
        let (epoch_idx, n_done) = plan.epochs.find(clock.step);
        let is_begun = loader.is_some();
        let loader = loader.get_or_insert_with(|| load_epoch(plan, state.step)); // pick, see
        let next_epoch = clock.step - n_done + plan.epochs.n_steps(epoch_idx);
        if (!is_begun || n_done == 0) && next_epoch < plan.epochs.total() {
            // Its first batches are made while the last ones of this epoch are learnt from.
            loader.add(epoch(plan, next_epoch));
        }
        let waited = loader.waited();
        let batch = profile.time(Activity::DataWait, || loader.next()); //               gather
        let batch = batch.expect("an epoch has a batch for each step")?;
        pace.waited += loader.waited() - waited;
        let busy_now = loader.busy();
        profile.saw(busy_now - busy);
        busy = busy_now;

        let rates = plan.experiment.rates(&plan.epochs, state.step, &state.scores);
        let result = learner.step(plan, &batch, &clock, rates)?; //                think, judge, learn

        state.step += 1;
        state.loss_sum += result.loss;
        state.n_losses += 1;
        pace.n_images += batch.samples.len();
        let lr = plan.experiment.optim.get().lr() * rates.lr;
        log.step(watch, plan, &state, result.loss, lr, batch.samples.len(), &pace)?;
        let mut numbers = tracking::of_step(plan.clock(state.step).epoch, &result, lr);

        let is_last = state.step == plan.epochs.total();
        let is_evaluated = is_last || plan.experiment.eval.every.is_up(state.step, &plan.epochs);
        if is_evaluated {
            let trained = pace.elapsed();
            let bundle = bundle_of(plan, &learner.for_inference(plan, state.step)?);
            let valid = profile.time(Activity::Evaluate, || evaluate(plan, &bundle, watch))?;
            let score = valid.best_by;
            let is_best = state.is_best(score, plan);
            if is_best {
                // It is the run's best once the checkpoint is on disk that knows of it.
                let save = || bundle.stage(&run.best(), &state.step.to_string()); // keep
                profile.time(Activity::Save, save)?;
            }
            state.note(score, is_best);
            let report = log.epoch(watch, plan, &state, &valid, is_best, trained, &pace)?;
            numbers.extend(tracking::of_evaluation(&report));
            let model = &bundle.members[0].model;
            tracking.show(plan, state.step, model, &valid.predicted, watch);
            (state.loss_sum, state.n_losses) = (0.0, 0);
            pace = Pace::start();
        }
        profile.time(Activity::Save, || tracking.scalars(state.step, &numbers));
        let asked_to_stop = watch.should_stop() && !is_over(plan, &state);
        profile.time(Activity::Save, || match is_evaluated || asked_to_stop {
            true => keeper.keep(plan, &learner, &state),
            false => keeper.keep_if_due(plan, &learner, &state),
        })?;
        if asked_to_stop {
            keeper.finish()?;
            watch.profile(&profile);
            return Ok(Ended::Stopped { step: state.step });
        }
    }
    keeper.finish()?;
    watch.profile(&profile);
    if state.step < plan.epochs.total() {
        watch.note(&format!(
            "no better for {} evaluations (`train.patience`): it ends after step {} of {}",
            state.n_since_best,
            state.step,
            plan.epochs.total()
        ));
    }
    finish(plan, run, &state, watch)
}

/// Whether there is no step left to take.
fn is_over(plan: &Plan, state: &State) -> bool {
    let patience = plan.experiment.train.patience;
    state.step >= plan.epochs.total() || (patience > 0 && state.n_since_best >= patience)
}

/// What goes on, and where: the run's checkpoint, or a fresh model.
fn begin(
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
    /// Whether a score is the best so far.
    fn is_best(&self, score: f64, plan: &Plan) -> bool {
        let metric = plan.experiment.eval.best_by.get();
        self.best.is_none_or(|it| metric.improves(score, it.score))
    }

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

    /// Remembers an evaluation.
    fn note(&mut self, score: f64, is_best: bool) {
        self.scores.push(score);
        self.n_since_best = if is_best { 0 } else { self.n_since_best + 1 };
        if is_best {
            self.best = Some(Best { score, step: self.step });
        }
    }
}

/// When checkpoints are written.
struct Keeper {
    writer: Writer,
    /// The fingerprint of the data.
    data: String,
    written: Instant,
}

impl Keeper {
    fn start(
        plan: &Plan,
        run: &Run,
        data: String,
        log: &Log,
        tracking: &Tracking<'_>,
    ) -> Result<Keeper, FitError> {
        let mut tables = log.files()?;
        tables.extend(tracking.tables());
        let writer = Writer::start(run, plan.experiment.checkpoint.keep, tables)?;
        Ok(Keeper { writer, data, written: Instant::now() })
    }

    /// Writes one now.
    fn keep(&mut self, plan: &Plan, learner: &Learner, state: &State) -> Result<(), FitError> {
        self.written = Instant::now();
        Ok(self.writer.write(learner.checkpoint(plan, state, &self.data)?)?)
    }

    /// Writes one where the settings want it, unless the one before is still being written.
    fn keep_if_due(
        &mut self,
        plan: &Plan,
        learner: &Learner,
        state: &State,
    ) -> Result<(), FitError> {
        self.writer.check()?;
        let CheckpointSection { every, minutes, .. } = plan.experiment.checkpoint;
        let is_due = every.is_up(state.step, &plan.epochs)
            || (minutes > 0.0 && self.written.elapsed().as_secs_f64() >= 60.0 * minutes);
        match is_due && self.writer.is_idle() {
            true => self.keep(plan, learner, state),
            false => Ok(()),
        }
    }

    /// Waits until all of them are on disk.
    fn finish(self) -> Result<(), FitError> {
        Ok(self.writer.finish()?)
    }
}

/// The batches of the epoch that `step` lies in, from that step on.
pub fn load_epoch(plan: &Plan, step: usize) -> Loader {
    Loader::start(epoch(plan, step))
}

/// What is loaded of the epoch that `step` lies in, from that step on.
fn epoch(plan: &Plan, step: usize) -> Load {
    let (epoch_idx, n_done) = plan.epochs.find(step);
    let (pipeline, pack) = plan.seen(epoch_idx);
    Load {
        images: Arc::clone(&plan.images),
        batches: plan.batches(epoch_idx),
        pipeline,
        memory: plan.memory.clone(),
        pack,
        mixing: plan.mixing.starting(step - n_done),
        seed: plan.seed(),
        stream: format!("augment/{epoch_idx}"),
        first_batch: n_done,
        n_threads: plan.experiment.data.num_workers,
        prefetch: plan.experiment.data.prefetch,
    }
}

fn bundle_of(plan: &Plan, model: &Rc<Model>) -> Bundle {
    let member = Member { model: Rc::clone(model), pipeline: plan.eval_pipeline.clone() };
    Bundle { task: plan.task.clone(), members: vec![member] }
}

/// Predicts some of the plan's images, and hands each prediction on beside the truth, with the image's
/// position in the plan.
fn predict(
    plan: &Plan,
    bundle: &Bundle,
    side: &[usize],
    what: &str,
    watch: &dyn Callback,
    each: &mut dyn FnMut(usize, &Prediction<'_>) -> Result<(), FitError>,
) -> Result<(), FitError> {
    let images: Arc<[_]> = side.iter().map(|&it| plan.images[it].clone()).collect();
    let predictor = Predictor::new(bundle.clone(), &plan.device);
    let mut n_done = 0;
    predictor.predict_each(
        &images,
        plan.serving(),
        &mut |infer::Prediction { probabilities, years }| {
            let idx = side[n_done];
            let it = Prediction {
                probabilities: &probabilities,
                predicted: argmax(&probabilities),
                class: plan.classes[idx],
                person: plan.persons[idx],
                years,
                age: plan.ages[idx],
            };
            n_done += 1;
            watch.progress(what, n_done, side.len());
            each(idx, &it)
        },
    )
}

/// Evaluates on the people held out, for what is told during training.
fn evaluate(plan: &Plan, bundle: &Bundle, watch: &dyn Callback) -> Result<Evaluated, FitError> {
    let mut evaluation = Evaluation::new(&plan.task, plan.experiment.eval.best_by.get());
    predict(plan, bundle, &plan.sides.valid, "validating", watch, &mut |_, it| {
        evaluation.add(it);
        Ok(())
    })?;
    Ok(evaluation.finish())
}

/// Scores the best bundle, as it was saved, and writes the run's last files.
fn finish(plan: &Plan, run: &Run, state: &State, watch: &dyn Callback) -> Result<Ended, FitError> {
    let bundle = Bundle::open(&run.best(), &plan.device)?;
    let report = |side: &[usize], what: &str, name: &str| -> Result<Report, FitError> {
        let mut reporting = Reporting::new(&plan.task);
        let file = format!("{name}.csv");
        run.write_with(&file, |out| {
            let failed = |source| RunError::Io { path: run.dir().join(&file), source };
            let mut table = LabelledWriter::new(out, &plan.task);
            predict(plan, &bundle, side, what, watch, &mut |idx, it| {
                reporting.add(it);
                let (image, person) = (&plan.images[idx].0, &plan.people[it.person]);
                Ok(table.row(image, person, it).map_err(failed)?)
            })?;
            table.finish().map_err(failed)?;
            Ok::<_, FitError>(())
        })?;
        let report = reporting.report(plan.seed());
        write_tables(run, name, &report)?;
        Ok(report)
    };
    let valid = report(&plan.sides.valid, "validating the best", "valid")?;
    let test = match plan.test.is_empty() {
        true => None,
        false => Some(report(&plan.test, "scoring the best", "test")?),
    };
    let best_step = state.best.map_or(0, |it| it.step);
    let outcome = Outcome { steps: state.step, best_step, valid, test };
    run.write("report.toml", &outcome.to_toml())?;
    Ok(Ended::Finished(Box::new(outcome)))
}

impl Outcome {
    /// The main scores as a file.
    fn to_toml(&self) -> String {
        let mut text = format!("best_step = {}\nsteps = {}\n", self.best_step, self.steps);
        for (name, report) in [("valid", Some(&self.valid)), ("test", self.test.as_ref())] {
            text.extend(report.map(|it| section(name, it)));
        }
        text
    }
}
