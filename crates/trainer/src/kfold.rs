//! Cross-validation: every group is held out once, and predicted by the model that was not trained on them.

use std::{collections::HashMap, path::PathBuf};

use candle::Device;
use data::{Manifest, Sides, SplitConfig, StratifiedKfold, Use};
use infer::{Index, LabelledReader, LabelledWriter, Row, mean};
use metrics::{Evaluation, MetricConfig, Report, RunningMetric};

use crate::{
    callback::Callback,
    error::FitError,
    experiment::{Experiment, differences},
    fit::fit,
    outcome::Ended,
    phase::TrainOn,
    plan::{Plan, PlanError, folds},
    record::{self, Changes, Record, first_of},
    report::{section, write_tables},
    run::{Run, RunError},
};

/// How a cross-validation ended.
pub enum KfoldEnded {
    /// All folds are done.
    Finished(Box<KfoldOutcome>),
    /// It was stopped in a fold, and can be resumed.
    Stopped {
        /// The fold, from 0.
        fold_idx: usize,
    },
}

/// The results of a cross-validation.
pub struct KfoldOutcome {
    /// The macro F1 of each fold on its validation set.
    pub folds: Vec<f64>,
    /// The mean of the folds.
    pub mean: f64,
    /// The standard deviation of the folds, with n - 1.
    pub std: f64,
    /// The scores of all out-of-fold predictions together.
    pub joined: Report,
    /// The scores of the ensemble of all folds' models, averaged as by `submit`, on the test set, where the
    /// source has one.
    pub test: Option<Report>,
}

/// Returns the experiment with a k-fold split, of `n_folds` folds if given.
pub fn with_folds(experiment: &Experiment, n_folds: Option<usize>) -> Experiment {
    let mut experiment = experiment.clone();
    match (&mut experiment.data.split, n_folds) {
        (SplitConfig::StratifiedKfold(it), Some(n_folds)) => it.n_folds = n_folds,
        (SplitConfig::StratifiedKfold(_), None) => {}
        (split, n_folds) => {
            let n_folds = n_folds.unwrap_or(StratifiedKfold::default().n_folds);
            *split = SplitConfig::StratifiedKfold(StratifiedKfold { n_folds });
        }
    }
    experiment
}

/// Checks that the settings are those of a cross-validation.
///
/// # Errors
/// A phase is trained on the images that its fold holds out.
pub fn check(experiment: &Experiment) -> Result<(), PlanError> {
    let idx = experiment.phase.iter().position(|it| it.data == TrainOn::All);
    let what = |idx: usize| {
        PlanError::Settings(vec![format!(
            "at `phase[{idx}].data`: \"all\" trains on the images that a fold holds out: leave the phase out \
             of a cross-validation, or use \"train\""
        )])
    };
    idx.map_or(Ok(()), |idx| Err(what(idx)))
}

/// Trains and validates every unfinished fold, and scores all folds together.
///
/// `begin` is called before each fold with its index, the number of folds, its plan and its run.
/// Each fold is a separate run in `fold-<n>/`, counted from 0. The out-of-fold probabilities are
/// written to `oof.csv`, the mean of all folds' probabilities on the test set to `test.csv`, the scores to
/// `report.toml`.
///
/// # Errors
/// A fold fails; finished folds remain finished.
pub fn kfold(
    experiment: &Experiment,
    manifest: &Manifest,
    run: &Run,
    device: &Device,
    callback: &(dyn Callback + Sync),
    mut begin: impl FnMut(usize, usize, &Plan, &Run),
) -> Result<KfoldEnded, FitError> {
    let SplitConfig::StratifiedKfold(StratifiedKfold { n_folds }) = experiment.data.split else {
        unreachable!("`with_folds` gives every experiment folds");
    };
    check(experiment)?;
    let sides = folds(experiment, manifest).map_err(PlanError::from)?;
    check_data(manifest, run, &sides)?;
    for fold_idx in 0..n_folds {
        let dir = run.dir().join(format!("fold-{fold_idx}"));
        let mut fold = experiment.clone();
        fold.data.fold = fold_idx;
        let fold_run = match Run::open(&dir) {
            Err(RunError::Absent(_)) => None,
            other => Some(other?),
        };
        if let Some(it) = fold_run.as_ref().filter(|it| it.is_finished()) {
            check_settings(it, &fold)?;
            continue;
        }
        let plan = Plan::new(&fold, manifest, fold_idx, device, callback)?;
        let fold_run = match fold_run {
            Some(it) => it,
            None => Run::create(&dir, &fold.to_toml())?,
        };
        begin(fold_idx, n_folds, &plan, &fold_run);
        if let Ended::Stopped { .. } = fit(&plan, &fold_run, callback)? {
            return Ok(KfoldEnded::Stopped { fold_idx });
        }
    }
    let outcome = join(experiment, manifest, run, &sides)?;
    Ok(KfoldEnded::Finished(Box::new(outcome)))
}

/// Checks that a finished fold has the same settings as the others.
fn check_settings(run: &Run, fold: &Experiment) -> Result<(), FitError> {
    let path = || run.dir().join("config.toml");
    let of_run = Experiment::of_run(&run.read("config.toml")?)
        .map_err(|err| RunError::Damaged { path: path(), reason: err.to_string() })?;
    let changes = differences(&of_run.result_settings(), &fold.result_settings());
    match changes.is_empty() {
        true => Ok(()),
        false => Err(FitError::OtherFolds { run: run.dir().to_owned(), changes }),
    }
}

/// Checks that all folds have the same data, which is recorded with the first one.
fn check_data(manifest: &Manifest, run: &Run, sides: &[Sides]) -> Result<(), FitError> {
    let (record, path) = (Record::of_folds(manifest, sides), run.dir().join(record::FILE));
    if !path.exists() && !run.dir().join("fold-0").exists() {
        return Ok(run.write(record::FILE, record.text())?);
    }
    let before = Record::from(run.read(record::FILE)?);
    if before.fingerprint() == record.fingerprint() {
        return Ok(());
    }
    let changes = Changes::between(&before, &record, manifest.task.unit);
    let changes = changes.map_err(|reason| RunError::Damaged { path, reason })?.lines;
    Err(FitError::OtherFolds { run: run.dir().to_owned(), changes })
}

/// Checks that the folds hold out each image once, with its label.
///
/// # Errors
/// Images are missing, duplicated, not in the data or labelled differently.
fn check_join(manifest: &Manifest, sides: &[Sides], held: &Index) -> Result<(), String> {
    let mut classes = HashMap::new();
    for &idx in sides.iter().flat_map(|it| &it.valid) {
        let it = &manifest.examples[idx];
        classes.insert(it.name.as_str(), (it.class, 0));
    }
    let (mut duplicated, mut unknown, mut relabelled) = (Vec::new(), Vec::new(), Vec::new());
    for image in &held.images {
        let named = || format!("`{}`", image.image);
        match classes.get_mut(image.image.as_str()) {
            None => unknown.push(named()),
            Some((_, n)) if *n > 0 => duplicated.push(named()),
            Some((class, n)) => {
                *n += 1;
                if *class != image.class {
                    relabelled.push(named());
                }
            }
        }
    }
    let mut missing: Vec<String> =
        classes.iter().filter(|it| it.1.1 == 0).map(|it| format!("`{}`", it.0)).collect();
    missing.sort();
    let mut problems = Vec::new();
    for (what, images) in [
        ("missing", missing),
        ("duplicated", duplicated),
        ("not in the data", unknown),
        ("labelled differently from the data", relabelled),
    ] {
        if !images.is_empty() {
            let n = images.len();
            problems.push(format!("{n} {what}: {}", first_of(images)));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "the folds do not hold out each image once, in `valid.csv`:\n  {}\nremove the folder of a \
             fold to train it again, or start a new cross-validation",
            problems.join("\n  ")
        )),
    }
}

/// Joins the folds' predictions and scores them, row by row.
fn join(
    experiment: &Experiment,
    manifest: &Manifest,
    run: &Run,
    sides: &[Sides],
) -> Result<KfoldOutcome, FitError> {
    let (task, n_folds) = (&manifest.task, sides.len());
    let tables = |file: &str| -> Vec<PathBuf> {
        (0..n_folds).map(|it| run.dir().join(format!("fold-{it}")).join(file)).collect()
    };
    let held = tables("valid.csv");
    let index = Index::of(&held, task).map_err(RunError::from)?;
    let damaged = |reason| RunError::Damaged { path: run.dir().to_owned(), reason };
    check_join(manifest, sides, &index).map_err(damaged)?;
    run.write_with("oof.csv", |out| index.copy(out).map_err(RunError::from))?;
    let metric = MetricConfig::default();
    let (mut folds, mut reporting, mut row) = (Vec::new(), Evaluation::new(task), Row::default());
    for path in &held {
        let mut reader = LabelledReader::open(path, task).map_err(RunError::from)?;
        let mut fold = RunningMetric::new(metric.get(), task.n_classes());
        while reader.next(&mut row).map_err(RunError::from)? {
            let group = index.group(&row.group).expect("the index has all groups");
            let it = row.prediction(group);
            fold.add(&it);
            reporting.add(&it);
        }
        folds.push(fold.score());
    }
    let joined = reporting.report(experiment.seed);
    write_tables(run, "oof", &joined)?;
    let test = match manifest.examples.iter().any(|it| it.usage == Use::Test) {
        false => None,
        true => Some(join_test(experiment, manifest, run, &tables("test.csv"))?),
    };

    let mean = folds.iter().sum::<f64>() / n_folds as f64;
    let square: f64 = folds.iter().map(|it| (it - mean) * (it - mean)).sum();
    let std = (square / (n_folds - 1) as f64).sqrt();
    let mut text = format!("folds = {folds:?}\nmean = {mean}\nstd = {std}\n");
    text += &section("joined", &joined);
    text.extend(test.as_ref().map(|it| section("test", it)));
    run.write("report.toml", &text)?;
    Ok(KfoldOutcome { folds, mean, std, joined, test })
}

/// Writes and scores the mean of all folds' predictions for the test set.
fn join_test(
    experiment: &Experiment,
    manifest: &Manifest,
    run: &Run,
    tables: &[PathBuf],
) -> Result<Report, FitError> {
    let index = Index::of(&tables[..1], &manifest.task).map_err(RunError::from)?;
    let mut reporting = Evaluation::new(&manifest.task);
    run.write_with("test.csv", |out| {
        let failed = |source| RunError::Io { path: run.dir().join("test.csv"), source };
        let mut table = LabelledWriter::new(out, &manifest.task);
        mean(tables, &manifest.task, &mut |row| {
            let group = index.group(&row.group).expect("the index has all groups");
            let it = row.prediction(group);
            reporting.add(&it);
            table.row(&row.image, &row.group, &it).map_err(failed)
        })?;
        table.finish().map(drop).map_err(failed)
    })?;
    let report = reporting.report(experiment.seed);
    write_tables(run, "test", &report)?;
    Ok(report)
}
