//! The training loop.
//!
//! It reads from top to bottom in the order of ARCHITECTURE.md's table.
//! A step is a function of its number: resuming at step n is running from step n.

use std::{
    fs::File,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use base::Lines;
use data::{Load, LoadError, Loader};
use infer::{Bundle, BundleError, Graded, Member, PredictError, Predictor};
use metrics::{Predictions, Report};
use models::Model;

use crate::{
    checkpoint::{self, Best, State, Writer},
    experiment::{CheckpointSection, differences},
    freeze::Freezing,
    learner::Learner,
    memory::{self, Need},
    plan::{Plan, PlanError},
    profile::Verb,
    report::section,
    run::{Run, RunError, at},
    tracking::{self, Tracking},
    watch::{EpochReport, StepReport, Watch},
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
    pub scored: Option<Report>,
}

/// Why a run failed. What was saved before is whole.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The settings, the data or the weights are at fault.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A picture could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The model could not answer.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// A file of the run could not be read or written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A bundle could not be read or written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The loss, a gradient or a weight is no number any more. No checkpoint is written then: weights
    /// that lead there may be bad already, and would take the place of good ones.
    #[error(
        "step {step}: {what}: lower `optim.lr`, clip gradients (`train.clip`) or warm up longer \
         (`train.warmup`), with `--allow-changes` where the run goes on{}",
        batch(pictures)
    )]
    NotFinite {
        /// The step, from 1.
        step: usize,
        /// What is not finite.
        what: String,
        /// The pictures of the batch; none where it is the weights.
        pictures: Vec<String>,
    },
    /// The settings are not what they were.
    #[error(
        "{}: this run began with other settings:\n  {}\nleave them as they were, or say \
         `--allow-changes` to go on with these",
        run.display(),
        changes.join("\n  ")
    )]
    OtherSettings {
        /// The run's folder.
        run: std::path::PathBuf,
        /// Where, what it was and what it is.
        changes: Vec<String>,
    },
    /// What was learnt is of another network or optimizer.
    #[error(
        "{}: what it has learnt does not fit the new settings ({reason}):\n  {}\nput back those of the \
         network and the optimizer, or begin a new run",
        run.display(),
        changes.join("\n  ")
    )]
    Misfit {
        /// The run's folder.
        run: std::path::PathBuf,
        /// Where it does not fit.
        reason: String,
        /// Where, what it was and what it is.
        changes: Vec<String>,
    },
    /// The run is to be shorter than it is.
    #[error(
        "at `train.total`: {done} steps are done, and the run is to have {total}: set more, or keep the \
         bundle that is in `best`"
    )]
    Over {
        /// Steps done.
        done: usize,
        /// Steps that it is to have.
        total: usize,
    },
    /// The machine is too small.
    #[error(
        "memory: this run needs about {}, and {} are free: {remedy} (or `run.check_memory = false`, at \
         your own risk)",
        size(*need),
        size(*free)
    )]
    Memory {
        /// Bytes that it needs.
        need: f64,
        /// Bytes that are free.
        free: f64,
        /// What to do.
        remedy: String,
    },
    /// The data is not what it was.
    #[error(
        "{}: the people or their sides are not those that this run began with, so people it was \
         trained on would be validated on: put data and settings back, or begin a new run",
        .0.display()
    )]
    OtherPeople(std::path::PathBuf),
    /// There is nothing to begin from.
    #[error("{}: the run has no checkpoint yet: they are written on its way", .0.display())]
    NoCheckpoint(std::path::PathBuf),
    /// Some parameters take no part.
    #[error("these parameters get no gradient, a fault of the network's code: {}", .0.join(", "))]
    NoGradient(Vec<String>),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

impl FitError {
    /// Whether it was refused, before a step was taken.
    pub fn is_refusal(&self) -> bool {
        use FitError::{Memory, Misfit, NoGradient, OtherPeople, OtherSettings, Over, Plan};
        matches!(
            self,
            Plan(_)
                | Memory { .. }
                | OtherSettings { .. }
                | Misfit { .. }
                | Over { .. }
                | OtherPeople(_)
                | NoGradient(_)
        )
    }
}

/// The pictures of a batch, as the end of a sentence.
fn batch(pictures: &[String]) -> String {
    match pictures {
        [] => String::new(),
        _ => format!("; the batch's pictures are {}", pictures.join(", ")),
    }
}

/// Bytes as a person reads them.
fn size(bytes: f64) -> String {
    let mib = bytes / f64::from(1 << 20);
    match mib < 1024.0 {
        true => format!("{mib:.0} MiB"),
        false => format!("{:.1} GiB", mib / 1024.0),
    }
}

/// Stops where the machine, or its container, has not the memory that a run needs.
///
/// # Errors
/// [`FitError::Memory`], with what would fit.
pub fn check_memory(plan: &Plan, watch: &dyn Watch) -> Result<(), FitError> {
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
pub fn fit(plan: &Plan, run: &Run, watch: &dyn Watch) -> Result<Ended, FitError> {
    let (learner, state) = begin(plan, run, watch)?;
    let note = |it: &str| watch.note(it);
    let mut tracking = Tracking::open(plan, run, state.step, &note);
    let ended = train(plan, run, watch, learner, state, &mut tracking);
    tracking.finish(&ended);
    ended
}

/// From a step on.
fn train(
    plan: &Plan,
    run: &Run,
    watch: &dyn Watch,
    mut learner: Learner,
    mut state: State,
    tracking: &mut Tracking<'_>,
) -> Result<Ended, FitError> {
    let mut log = Log::open(plan, run, state.step)?;
    let mut keeper = Keeper::start(plan, run, &log, tracking)?;
    let mut pace = Pace::start();
    let mut loader = None;
    let profile = learner.profile();

    while !is_over(plan, &state) {
        let clock = plan.clock(state.step);
        let epoch_loader = match loader.take() {
            Some(it) if plan.epochs.find(clock.step).1 > 0 => it,
            _ => load_epoch(plan, state.step), //                                  pick, see
        };
        let loader = loader.insert(epoch_loader);
        let (waited, busy) = (loader.waited(), loader.busy());
        let batch = profile.time(Verb::Gather, || loader.next()); //               gather
        let batch = batch.expect("an epoch has a batch for each step")?;
        pace.waited += loader.waited() - waited;
        profile.saw(loader.busy() - busy);

        let rates = plan.experiment.rates(&plan.epochs, state.step, &state.scores);
        let judged = learner.step(plan, &batch, &clock, rates)?; //                think, judge, learn

        state.step += 1;
        state.loss_sum += judged.loss;
        state.n_losses += 1;
        pace.n_pictures += batch.collages.len();
        let lr = plan.experiment.optim.get().lr() * rates.lr;
        log.step(watch, plan, &state, judged.loss, lr, batch.collages.len(), &pace)?;
        let mut numbers = tracking::of_step(plan.clock(state.step).epoch, &judged, lr);

        let is_last = state.step == plan.epochs.total();
        let is_evaluated = is_last || plan.experiment.eval.every.is_up(state.step, &plan.epochs);
        if is_evaluated {
            let trained = pace.elapsed();
            let bundle = bundle_of(plan, &learner.answering(plan, state.step)?);
            let answer = || answer(plan, &bundle, &plan.sides.valid, "validating", watch);
            let valid = profile.time(Verb::Answer, answer)?.predictions;
            let score = plan.experiment.eval.best_by.get().score(&valid);
            let is_best = state.is_best(score, plan);
            if is_best {
                let save = || bundle.save(&run.best(), &state.step.to_string()); // keep
                profile.time(Verb::Keep, save)?;
            }
            state.note(score, is_best);
            let report = log.epoch(watch, plan, &state, &valid, score, is_best, trained, &pace)?;
            numbers.extend(tracking::of_evaluation(&report));
            let model = &bundle.members[0].model;
            tracking.show(plan, state.step, model, &valid, watch);
            (state.loss_sum, state.n_losses) = (0.0, 0);
            pace = Pace::start();
        }
        profile.time(Verb::Keep, || tracking.scalars(state.step, &numbers));
        let asked_to_stop = watch.asks_to_stop() && !is_over(plan, &state);
        profile.time(Verb::Keep, || match is_evaluated || asked_to_stop {
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
fn begin(plan: &Plan, run: &Run, watch: &dyn Watch) -> Result<(Learner, State), FitError> {
    if let Some(checkpoint) = checkpoint::newest(run, &|it| watch.note(it))? {
        let (step, total) = (checkpoint.state.step, plan.epochs.total());
        let changes = differences(&checkpoint.settings, &plan.experiment.essence());
        if !changes.is_empty() && !plan.allow_changes {
            return Err(FitError::OtherSettings { run: run.dir().to_owned(), changes });
        }
        if run.read("split.csv")? != split_csv(plan) {
            return Err(FitError::OtherPeople(run.dir().join("split.csv")));
        }
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
        if !changes.is_empty() {
            changes.iter().for_each(|it| watch.note(&format!("changed: {it}")));
            run.write(&format!("config-until-{step}.toml"), &run.read("config.toml")?)?;
            run.write("config.toml", &plan.experiment.to_toml())?;
        }
        watch.note(&format!("going on after step {step} of {total}"));
        return Ok((learner, checkpoint.state));
    }
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

impl State {
    /// Whether a score is the best so far.
    fn is_best(&self, score: f64, plan: &Plan) -> bool {
        let metric = plan.experiment.eval.best_by.get();
        self.best.is_none_or(|it| metric.improves(score, it.score))
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
    written: Instant,
}

impl Keeper {
    fn start(
        plan: &Plan,
        run: &Run,
        log: &Log,
        tracking: &Tracking<'_>,
    ) -> Result<Keeper, FitError> {
        let mut tables = log.files()?;
        tables.extend(tracking.tables());
        let writer = Writer::start(run, plan.experiment.checkpoint.keep, tables)?;
        Ok(Keeper { writer, written: Instant::now() })
    }

    /// Writes one now.
    fn keep(&mut self, plan: &Plan, learner: &Learner, state: &State) -> Result<(), FitError> {
        self.written = Instant::now();
        Ok(self.writer.write(learner.checkpoint(plan, state)?)?)
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
    let (epoch_idx, n_done) = plan.epochs.find(step);
    let (pipeline, pack) = plan.seen(epoch_idx);
    Loader::start(Load {
        pictures: Arc::clone(&plan.pictures),
        batches: plan.batches(epoch_idx),
        pipeline,
        memory: plan.memory.clone(),
        pack,
        mixing: plan.mixing.starting(step - n_done),
        seed: plan.seed(),
        stream: format!("augment/{epoch_idx}"),
        first_batch: n_done,
        n_threads: plan.experiment.data.n_loaders,
        n_ahead: plan.experiment.data.n_ahead,
    })
}

fn bundle_of(plan: &Plan, model: &Rc<Model>) -> Bundle {
    let member = Member { model: Rc::clone(model), pipeline: plan.eval_pipeline.clone() };
    Bundle { task: plan.task.clone(), members: vec![member] }
}

/// What a bundle says of some of the plan's pictures, beside the truth.
fn answer(
    plan: &Plan,
    bundle: &Bundle,
    side: &[usize],
    what: &str,
    watch: &dyn Watch,
) -> Result<Graded, FitError> {
    let pictures: Arc<[_]> = side.iter().map(|&it| plan.pictures[it].clone()).collect();
    let predictor = Predictor::new(bundle.clone(), &plan.device);
    let mut progress = |done, total| watch.progress(what, done, total);
    let answers = predictor.predict(&pictures, plan.serving(), &mut progress)?;
    let classes = side.iter().map(|&it| plan.classes[it]).collect();
    let people = side.iter().map(|&it| plan.persons[it]).collect();
    let ages = side.iter().map(|&it| plan.ages[it]).collect();
    let predictions = Predictions::new(plan.task.clone(), answers.probabilities, classes, people);
    Ok(Graded {
        pictures: pictures.iter().map(|it| it.0.clone()).collect(),
        people: plan.people.clone(),
        predictions: predictions.with_years(answers.years, ages),
    })
}

/// Scores the best bundle, as it was saved, and writes the run's last files.
fn finish(plan: &Plan, run: &Run, state: &State, watch: &dyn Watch) -> Result<Ended, FitError> {
    let bundle = Bundle::open(&run.best(), &plan.device)?;
    let report = |side: &[usize], what: &str, file: &str| -> Result<Report, FitError> {
        let graded = answer(plan, &bundle, side, what, watch)?;
        run.write(file, &graded.to_csv())?;
        Ok(Report::new(&graded.predictions, plan.seed()))
    };
    let valid = report(&plan.sides.valid, "validating the best", "valid.csv")?;
    let scored = match plan.scored.is_empty() {
        true => None,
        false => Some(report(&plan.scored, "scoring the best", "scored.csv")?),
    };
    let best_step = state.best.map_or(0, |it| it.step);
    let outcome = Outcome { steps: state.step, best_step, valid, scored };
    run.write("report.toml", &outcome.to_toml())?;
    Ok(Ended::Finished(Box::new(outcome)))
}

impl Outcome {
    /// The main scores as a file.
    fn to_toml(&self) -> String {
        let mut text = format!("best_step = {}\nsteps = {}\n", self.best_step, self.steps);
        for (name, report) in [("valid", Some(&self.valid)), ("scored", self.scored.as_ref())] {
            text.extend(report.map(|it| section(name, it)));
        }
        text
    }
}

/// How fast it goes, since the last evaluation.
struct Pace {
    began: Instant,
    waited: Duration,
    n_pictures: usize,
}

impl Pace {
    fn start() -> Pace {
        Pace { began: Instant::now(), waited: Duration::ZERO, n_pictures: 0 }
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The share of a time that was spent waiting for pictures.
    fn waiting(&self, elapsed: Duration) -> f64 {
        self.waited.as_secs_f64() / elapsed.as_secs_f64().max(1e-9)
    }
}

/// The run's tables.
struct Log {
    steps: Lines,
    epochs: Lines,
    timing: Lines,
}

impl Log {
    fn open(plan: &Plan, run: &Run, step: usize) -> Result<Log, FitError> {
        let scopes = plan.task.scopes().into_iter();
        let names: Vec<&str> = scopes.map(|it| plan.task.scope_name(it)).collect();
        let columns = names.iter().map(|it| format!(",{it}_macro_f1,{it}_accuracy,{it}_log_loss"));
        let epochs = format!("step,epoch,train_loss,score,best{}", columns.collect::<String>());
        let timing = "step,train_seconds,images_per_second,waiting_share,eval_seconds";
        let open = |name: &str, header: &str| {
            let path = run.dir().join(name);
            Lines::open(&path, Some(header), step).map_err(at(&path))
        };
        if step == 0 {
            run.write("split.csv", &split_csv(plan))?;
        }
        Ok(Log {
            steps: open("steps.csv", "step,epoch,loss,lr")?,
            epochs: open("epochs.csv", &epochs)?,
            timing: open("timing.csv", timing)?,
        })
    }

    /// The tables' files.
    fn files(&self) -> Result<Vec<File>, RunError> {
        let file = |it: &Lines| it.file().map_err(at(it.path()));
        [&self.steps, &self.epochs, &self.timing].into_iter().map(file).collect()
    }

    fn step(
        &mut self,
        watch: &dyn Watch,
        plan: &Plan,
        state: &State,
        loss: f64,
        lr: f64,
        n_pictures: usize,
        pace: &Pace,
    ) -> Result<(), RunError> {
        let epoch = plan.clock(state.step).epoch;
        add(&mut self.steps, &format!("{},{epoch},{loss},{lr}", state.step))?;
        let waiting = pace.waiting(pace.elapsed());
        let (step, total) = (state.step, plan.epochs.total());
        watch.step(&StepReport { step, total, epoch, loss, lr, n_pictures, waiting });
        Ok(())
    }

    fn epoch(
        &mut self,
        watch: &dyn Watch,
        plan: &Plan,
        state: &State,
        valid: &Predictions,
        score: f64,
        is_best: bool,
        trained: Duration,
        pace: &Pace,
    ) -> Result<EpochReport, RunError> {
        let report = Report::new(valid, plan.seed());
        let scores: Vec<_> = report.scopes.iter().map(|it| (it.name.clone(), it.scores)).collect();
        let train_seconds = trained.as_secs_f64();
        let report = EpochReport {
            step: state.step,
            epoch: plan.clock(state.step).epoch,
            train_loss: state.loss_sum / state.n_losses.max(1) as f64,
            scores,
            score,
            is_best,
            images_per_second: pace.n_pictures as f64 / train_seconds.max(1e-9),
            waiting: pace.waiting(trained),
            train_seconds,
            eval_seconds: (pace.elapsed() - trained).as_secs_f64(),
        };
        let columns = report
            .scores
            .iter()
            .map(|(_, it)| format!(",{},{},{}", it.macro_f1, it.accuracy, it.log_loss));
        let EpochReport { step, epoch, train_loss, .. } = &report;
        let columns: String = columns.collect();
        let row = format!("{step},{epoch},{train_loss},{score},{is_best}{columns}");
        add(&mut self.epochs, &row)?;
        let row = format!(
            "{step},{:.3},{:.2},{:.4},{:.3}",
            report.train_seconds, report.images_per_second, report.waiting, report.eval_seconds
        );
        add(&mut self.timing, &row)?;
        watch.epoch(&report);
        Ok(report)
    }
}

/// Adds a row.
fn add(table: &mut Lines, row: &str) -> Result<(), RunError> {
    table.add(row).map_err(at(table.path()))
}

/// Which person is on which side.
fn split_csv(plan: &Plan) -> String {
    let mut sides = vec!["left out"; plan.people.len()];
    for (name, side) in
        [("train", &plan.sides.train), ("valid", &plan.sides.valid), ("scored", &plan.scored)]
    {
        side.iter().for_each(|&it| sides[plan.persons[it]] = name);
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = |row: [&str; 2]| {
        writer.write_record(row).expect("memory takes every record of two fields");
    };
    write(["person", "side"]);
    plan.people.iter().zip(sides).for_each(|(person, side)| write([person, side]));
    let bytes = writer.into_inner().expect("memory can be flushed");
    String::from_utf8(bytes).expect("names are text")
}
