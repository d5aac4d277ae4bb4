//! Cross-validation: every person is held out once, and predicted by the model that never saw them.

use std::{collections::HashMap, path::Path};

use candle::Device;
use data::{Manifest, SplitConfig, StratifiedKfold};
use infer::{probabilities_csv, read_probabilities};
use metrics::{MetricConfig, Predictions, Report};

use crate::{
    experiment::Experiment,
    fit::{Ended, FitError, fit},
    plan::Plan,
    run::{Run, RunError},
    watch::Watch,
};

/// How a cross-validation came to an end.
pub enum KfoldEnded {
    /// All folds are done.
    Finished(Box<KfoldOutcome>),
    /// It was asked to stop in a fold, and can be taken up again.
    Stopped {
        /// The fold, from 0.
        fold_idx: usize,
    },
}

/// What a cross-validation came to.
pub struct KfoldOutcome {
    /// The macro F1 of each fold on those held out.
    pub folds: Vec<f64>,
    /// The mean of the folds.
    pub mean: f64,
    /// Their standard deviation, with n - 1.
    pub deviation: f64,
    /// All out-of-fold predictions as one.
    pub joined: Report,
}

/// The experiment with a split of `n_folds` folds, if it has none or another number is asked for.
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

/// Trains and validates every fold that is not finished yet, and scores them together.
///
/// `begin` is called before each fold with its position, the number of folds, its plan and its run.
/// Each fold is a run of its own in `fold-<n>/`, counted from 0. The out-of-fold probabilities are
/// written to `oof.csv`, the scores to `report.toml`.
///
/// # Errors
/// Whatever keeps a fold from going on; finished folds stay finished.
pub fn kfold(
    experiment: &Experiment,
    manifest: &Manifest,
    run: &Run,
    device: &Device,
    watch: &(dyn Watch + Sync),
    mut begin: impl FnMut(usize, usize, &Plan, &Run),
) -> Result<KfoldEnded, FitError> {
    let SplitConfig::StratifiedKfold(StratifiedKfold { n_folds }) = experiment.data.split else {
        unreachable!("`with_folds` gives every experiment folds");
    };
    for fold_idx in 0..n_folds {
        let dir = run.dir().join(format!("fold-{fold_idx}"));
        let mut fold = experiment.clone();
        fold.data.fold = fold_idx;
        let fold_run = match Run::open(&dir) {
            Err(RunError::Absent(_)) => None,
            other => Some(other?),
        };
        if fold_run.as_ref().is_some_and(Run::is_finished) {
            continue;
        }
        let plan = Plan::new(&fold, manifest, fold_idx, device, watch)?;
        let fold_run = match fold_run {
            Some(it) => it,
            None => Run::create(&dir, &fold.to_toml())?,
        };
        begin(fold_idx, n_folds, &plan, &fold_run);
        if let Ended::Stopped { .. } = fit(&plan, &fold_run, watch)? {
            return Ok(KfoldEnded::Stopped { fold_idx });
        }
    }
    let outcome = join(experiment, manifest, run, n_folds)?;
    Ok(KfoldEnded::Finished(Box::new(outcome)))
}

/// Puts the folds' predictions together and scores them.
fn join(
    experiment: &Experiment,
    manifest: &Manifest,
    run: &Run,
    n_folds: usize,
) -> Result<KfoldOutcome, FitError> {
    let by_name: HashMap<&str, usize> =
        manifest.examples.iter().enumerate().map(|(idx, it)| (it.name.as_str(), idx)).collect();
    let mut rows: Vec<(usize, Vec<f64>)> = Vec::new();
    let mut folds = Vec::new();
    for fold_idx in 0..n_folds {
        let name = Path::new(&format!("fold-{fold_idx}")).join("valid.csv");
        let text = run.read(&name.to_string_lossy())?;
        let damaged = |reason: String| RunError::Damaged { path: run.dir().join(&name), reason };
        let fold = read_probabilities(&text, &manifest.task).map_err(damaged)?;
        let known = |(picture, p): (String, Vec<f64>)| match by_name.get(picture.as_str()) {
            Some(&idx) => Ok((idx, p)),
            None => Err(damaged(format!("`{picture}` is no picture of the data any more"))),
        };
        let fold = fold.into_iter().map(known).collect::<Result<Vec<_>, _>>()?;
        folds.push(MetricConfig::default().get().score(&predictions(manifest, &fold)));
        rows.extend(fold);
    }
    rows.sort_by_key(|it| it.0);
    let joined = predictions(manifest, &rows);
    let names = rows.iter().map(|it| manifest.examples[it.0].name.as_str());
    let predicted = joined.predicted();
    let table = probabilities_csv(&manifest.task, names, &joined.probabilities, &predicted);
    run.write("oof.csv", &table)?;

    let mean = folds.iter().sum::<f64>() / n_folds as f64;
    let square: f64 = folds.iter().map(|it| (it - mean) * (it - mean)).sum();
    let deviation = (square / (n_folds - 1) as f64).sqrt();
    let joined = Report::new(&joined, experiment.seed);
    let metrics::Interval { value, low, high } = joined.macro_f1;
    run.write(
        "report.toml",
        &format!(
            "folds = {folds:?}\nmean = {mean}\ndeviation = {deviation}\n\n[joined]\npeople = {}\n\
             pictures = {}\nmacro_f1 = {value}\nmacro_f1_interval = [{low}, {high}]\n",
            joined.n_people, joined.n_pictures
        ),
    )?;
    Ok(KfoldOutcome { folds, mean, deviation, joined })
}

fn predictions(manifest: &Manifest, rows: &[(usize, Vec<f64>)]) -> Predictions {
    Predictions {
        task: manifest.task.clone(),
        probabilities: rows.iter().map(|it| it.1.clone()).collect(),
        classes: rows.iter().map(|it| manifest.examples[it.0].class).collect(),
        people: rows.iter().map(|it| manifest.examples[it.0].person).collect(),
    }
}
