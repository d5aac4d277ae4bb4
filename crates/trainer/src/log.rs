//! The run's tables: `steps.csv`, `epochs.csv`, `timing.csv` and `split.csv`.
//!
//! Times have their own table, so that the other tables of a repeated run are identical.

use std::{
    fs::File,
    time::{Duration, Instant},
};

use base::{StepLog, table};

use crate::{
    callback::{Callback, EpochReport, StepReport},
    checkpoint::State,
    error::FitError,
    evaluation::Evaluated,
    plan::Plan,
    run::{Run, RunError, at},
};

/// The training speed since the last evaluation.
pub(crate) struct Pace {
    began: Instant,
    pub(crate) data_wait: Duration,
    pub(crate) n_images: usize,
}

impl Pace {
    pub(crate) fn start() -> Pace {
        Pace { began: Instant::now(), data_wait: Duration::ZERO, n_images: 0 }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Returns the share of `elapsed` that was spent waiting for images.
    fn data_wait_share(&self, elapsed: Duration) -> f64 {
        self.data_wait.as_secs_f64() / elapsed.as_secs_f64().max(1e-9)
    }
}

/// The run's tables.
pub(crate) struct Log {
    steps: StepLog,
    epochs: StepLog,
    timing: StepLog,
}

impl Log {
    pub(crate) fn open(plan: &Plan, run: &Run, step: usize) -> Result<Log, FitError> {
        let scopes = plan.task.scopes().into_iter();
        let names: Vec<&str> = scopes.map(|it| plan.task.scope_name(it)).collect();
        let scores = ["macro_f1", "accuracy", "log_loss"];
        let columns = names.iter().flat_map(|name| scores.map(|it| format!("{name}_{it}")));
        let leading = ["step", "epoch", "train_loss", "score", "best"].map(str::to_owned);
        let epochs = table::line(leading.into_iter().chain(columns));
        let timing = "step,train_seconds,images_per_second,data_wait_share,eval_seconds";
        let open = |name: &str, header: &str| {
            let path = run.dir().join(name);
            StepLog::open(&path, Some(header), step).map_err(at(&path))
        };
        Ok(Log {
            steps: open("steps.csv", "step,epoch,loss,lr")?,
            epochs: open("epochs.csv", &epochs)?,
            timing: open("timing.csv", timing)?,
        })
    }

    /// Returns the files of the tables.
    pub(crate) fn files(&self) -> Result<Vec<File>, RunError> {
        let file = |it: &StepLog| it.file().map_err(at(it.path()));
        [&self.steps, &self.epochs, &self.timing].into_iter().map(file).collect()
    }

    pub(crate) fn step(
        &mut self,
        callback: &dyn Callback,
        plan: &Plan,
        state: &State,
        loss: f64,
        lr: f64,
        n_images: usize,
        pace: &Pace,
    ) -> Result<(), RunError> {
        let epoch = plan.clock(state.step).epoch;
        add(
            &mut self.steps,
            [state.step.to_string()].into_iter().chain([epoch, loss, lr].map(text)),
        )?;
        let data_wait = pace.data_wait_share(pace.elapsed());
        let (step, total) = (state.step, plan.epochs.total());
        callback.step(&StepReport { step, total, epoch, loss, lr, n_images, data_wait });
        Ok(())
    }

    pub(crate) fn epoch(
        &mut self,
        callback: &dyn Callback,
        plan: &Plan,
        state: &State,
        valid: &Evaluated,
        is_best: bool,
        trained: Duration,
        pace: &Pace,
    ) -> Result<EpochReport, RunError> {
        let names = plan.task.scopes().into_iter().map(|it| plan.task.scope_name(it).to_owned());
        let (scores, score) = (names.zip(valid.scores.iter().copied()).collect(), valid.best_by);
        let train_seconds = trained.as_secs_f64();
        let report = EpochReport {
            step: state.step,
            epoch: plan.clock(state.step).epoch,
            train_loss: state.loss_sum / state.n_losses.max(1) as f64,
            scores,
            metric: plan.experiment.eval.best_by.kind(),
            score,
            is_best,
            trained_on_valid: plan.phases[state.phase].sees_valid,
            images_per_second: pace.n_images as f64 / train_seconds.max(1e-9),
            data_wait: pace.data_wait_share(trained),
            train_seconds,
            eval_seconds: (pace.elapsed() - trained).as_secs_f64(),
        };
        let scores = report
            .scores
            .iter()
            .flat_map(|(_, it)| [it.macro_f1, it.accuracy, it.log_loss].map(text));
        let leading = [report.epoch, report.train_loss, score].map(text);
        let row = [report.step.to_string()].into_iter().chain(leading).chain([is_best.to_string()]);
        add(&mut self.epochs, row.chain(scores))?;
        let row = [
            report.step.to_string(),
            format!("{:.3}", report.train_seconds),
            format!("{:.2}", report.images_per_second),
            format!("{:.4}", report.data_wait),
            format!("{:.3}", report.eval_seconds),
        ];
        add(&mut self.timing, row)?;
        callback.epoch(&report);
        Ok(report)
    }
}

/// Appends a row.
fn add(lines: &mut StepLog, row: impl IntoIterator<Item = String>) -> Result<(), RunError> {
    lines.add(&table::line(row)).map_err(at(lines.path()))
}

/// Formats a number exactly, so that a resumed run writes the same text.
fn text(x: f64) -> String {
    x.to_string()
}

/// Formats the table that assigns each group to a side.
pub(crate) fn split_csv(plan: &Plan) -> String {
    let mut sides = vec!["left out"; plan.groups.len()];
    for (name, side) in
        [("train", &plan.sides.train), ("valid", &plan.sides.valid), ("test", &plan.test)]
    {
        side.iter().for_each(|&it| sides[plan.persons[it]] = name);
    }
    let rows = plan.groups.iter().zip(sides).map(|(group, side)| [group.as_str(), side]);
    table::text(["group", "side"], rows)
}
