//! The run's tables: `steps.csv`, `epochs.csv`, `timing.csv` and `split.csv`.
//!
//! Times are in one of their own, so that the same run has the same bytes in the others.

use std::{
    fs::File,
    time::{Duration, Instant},
};

use base::Lines;
use metrics::{Predictions, Report};

use crate::{
    checkpoint::State,
    error::FitError,
    plan::Plan,
    run::{Run, RunError, at},
    watch::{EpochReport, StepReport, Watch},
};

/// How fast it goes, since the last evaluation.
pub(crate) struct Pace {
    began: Instant,
    pub(crate) waited: Duration,
    pub(crate) n_pictures: usize,
}

impl Pace {
    pub(crate) fn start() -> Pace {
        Pace { began: Instant::now(), waited: Duration::ZERO, n_pictures: 0 }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The share of a time that was spent waiting for pictures.
    fn waiting(&self, elapsed: Duration) -> f64 {
        self.waited.as_secs_f64() / elapsed.as_secs_f64().max(1e-9)
    }
}

/// The run's tables.
pub(crate) struct Log {
    steps: Lines,
    epochs: Lines,
    timing: Lines,
}

impl Log {
    pub(crate) fn open(plan: &Plan, run: &Run, step: usize) -> Result<Log, FitError> {
        let scopes = plan.task.scopes().into_iter();
        let names: Vec<&str> = scopes.map(|it| plan.task.scope_name(it)).collect();
        let columns = names.iter().map(|it| format!(",{it}_macro_f1,{it}_accuracy,{it}_log_loss"));
        let epochs = format!("step,epoch,train_loss,score,best{}", columns.collect::<String>());
        let timing = "step,train_seconds,images_per_second,waiting_share,eval_seconds";
        let open = |name: &str, header: &str| {
            let path = run.dir().join(name);
            Lines::open(&path, Some(header), step).map_err(at(&path))
        };
        Ok(Log {
            steps: open("steps.csv", "step,epoch,loss,lr")?,
            epochs: open("epochs.csv", &epochs)?,
            timing: open("timing.csv", timing)?,
        })
    }

    /// The tables' files.
    pub(crate) fn files(&self) -> Result<Vec<File>, RunError> {
        let file = |it: &Lines| it.file().map_err(at(it.path()));
        [&self.steps, &self.epochs, &self.timing].into_iter().map(file).collect()
    }

    pub(crate) fn step(
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

    pub(crate) fn epoch(
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
pub(crate) fn split_csv(plan: &Plan) -> String {
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
