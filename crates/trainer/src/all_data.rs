//! Training on all the data, after a cross-validation: for the length that its folds found.
//!
//! A fold's length is the number of epochs until its best evaluation: steps, relative to the fold's own steps per
//! epoch, since all the data has more of them. The run's length is the median over the folds. It is the length of
//! the last phase; earlier phases keep theirs, and so does a last phase without steps.
//!
//! The run's scores are those of images that it is trained on, and mean nothing; what estimates them is the score
//! of the cross-validation's out-of-fold predictions, which a file of the run keeps and its report repeats:
//!
//! ```text
//! estimate.toml    cross_validation = "small-kfold", macro_f1 = 0.81, macro_f1_interval = [0.78, 0.84]
//! ```

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use base::Length;
use data::Manifest;
use serde::{Deserialize, Serialize};

use crate::{
    callback::Callback,
    experiment::{Experiment, differences},
    fold_folders::{finished_folds, is_kfold},
    phase::{PhaseSection, TrainOn},
    plan::{PlanError, course_of},
    record::{self, Record},
    run::{Run, RunError, at},
};

/// The file of the estimate in a run's folder.
const FILE: &str = "estimate.toml";

/// A run that is trained on all the data.
pub struct AllData {
    /// Its settings.
    pub experiment: Experiment,
    /// The epochs until the best evaluation of each fold; empty where the last phase has no steps.
    pub lengths: Vec<f64>,
    /// What estimates its scores.
    pub estimate: Estimate,
}

/// The out-of-fold score of a cross-validation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The name of the cross-validation's folder.
    pub cross_validation: String,
    /// The macro F1 of all out-of-fold predictions together.
    pub macro_f1: f64,
    /// Its 95 % confidence interval over groups.
    pub macro_f1_interval: [f64; 2],
}

/// Why a cross-validation states no length.
#[derive(Debug, thiserror::Error)]
pub enum AllDataError {
    /// It is none, or not finished.
    #[error("{}: {reason}", path.display())]
    Kfold {
        /// The folder or file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A fold's settings do not fit the data.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// Returns the run on all the data that follows a finished cross-validation.
///
/// - `experiment`: its settings apart from its length.
/// - `kfold`: the folder of the cross-validation.
///
/// # Errors
/// A folder that is not a finished cross-validation, or is one of other data.
pub fn all_data(
    experiment: &Experiment,
    manifest: &Manifest,
    kfold: &Path,
    callback: &dyn Callback,
) -> Result<AllData, AllDataError> {
    let estimate = Estimate::of(kfold)?;
    let of_kfold = settings(kfold)?;
    let before = of_kfold.result_settings();
    // The split has no effect on it, and places are where this machine finds the data.
    let mut own =
        ["data.split", "data.fold", "seed", "model.pretrained"].map(str::to_owned).to_vec();
    own.extend(experiment.places().into_iter().map(|it| it.0));
    let is_other = |it: &&String| !own.iter().any(|own| it.starts_with(own.as_str()));
    for it in differences(&before, &experiment.result_settings()).iter().filter(is_other) {
        callback
            .note(&format!("not as in the cross-validation, whose estimate may not apply: {it}"));
    }
    note_other_data(kfold, manifest, callback)?;

    let mut lengths = Vec::new();
    for fold in finished_folds(kfold) {
        let settings = settings(&fold)?;
        let spans = course_of(&settings, manifest, settings.data.fold)?;
        let last = spans.last().filter(|it| it.epochs.total() > 0);
        let best_step = best_step(&fold)?;
        lengths.extend(last.map(|it| it.epochs.epoch(best_step.saturating_sub(it.start))));
    }
    let mut experiment = experiment.clone();
    experiment.data.fold = 0;
    if experiment.phase.is_empty() {
        let total = experiment.train.total;
        experiment.phase.push(PhaseSection::new("all the data", total));
    }
    experiment.phase.iter_mut().for_each(|it| it.data = TrainOn::All);
    let last = experiment.phase.last_mut().filter(|it| !it.total.is_none());
    if let Some((length, last)) = median(&lengths).zip(last) {
        if let Length::Epochs(n) = last.total
            && length < 0.95 * n
        {
            callback.note(&format!(
                "the best evaluations of the folds come before the end of their {n} epochs: the schedule is now \
                 that of {length:.2} epochs"
            ));
        }
        last.total = Length::Epochs(length);
    }
    Ok(AllData { experiment, lengths, estimate })
}

impl Estimate {
    /// Reads that of a finished cross-validation.
    fn of(kfold: &Path) -> Result<Estimate, AllDataError> {
        let wrong =
            |path: &Path, reason: String| AllDataError::Kfold { path: path.to_owned(), reason };
        if !is_kfold(kfold) {
            let reason =
                "this is not a cross-validation: name a folder that `maskfit kfold` has written";
            return Err(wrong(kfold, reason.to_owned()));
        }
        let path = kfold.join("report.toml");
        if !path.is_file() {
            let reason =
                "this cross-validation is not finished: resume it with `maskfit kfold --resume`";
            return Err(wrong(kfold, reason.to_owned()));
        }
        #[derive(Deserialize)]
        struct Scores {
            macro_f1: f64,
            macro_f1_interval: [f64; 2],
        }
        #[derive(Deserialize)]
        struct Joined {
            joined: Scores,
        }
        let text = base::text::read(&path).map_err(at(&path))?;
        let Joined { joined: Scores { macro_f1, macro_f1_interval } } =
            toml::from_str(&text).map_err(|err| wrong(&path, err.message().to_owned()))?;
        let name = kfold.canonicalize().map_err(at(kfold))?;
        let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Estimate { cross_validation: name, macro_f1, macro_f1_interval })
    }

    /// Writes it to a run's folder.
    ///
    /// # Errors
    /// An I/O error.
    pub fn write(&self, run: &Run) -> Result<(), RunError> {
        run.write(FILE, &toml::to_string(self).expect("an estimate is TOML"))
    }

    /// Reads that of a run in a folder, if it has one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(dir: &Path) -> Result<Option<Estimate>, RunError> {
        let path = dir.join(FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let text = base::text::read(&path)
            .map_err(|err| RunError::Damaged { path: path.clone(), reason: err.to_string() })?;
        let read = toml::from_str(&text);
        read.map(Some).map_err(|err| RunError::Damaged { path, reason: err.message().to_owned() })
    }
}

/// Reads the settings of a run or of a cross-validation.
fn settings(dir: &Path) -> Result<Experiment, AllDataError> {
    let path = dir.join("config.toml");
    let text = base::text::read(&path).map_err(at(&path))?;
    Experiment::of_run(&text).map_err(|err| AllDataError::Kfold { path, reason: err.to_string() })
}

/// Reads the number of steps of a fold until its best evaluation.
fn best_step(fold: &Path) -> Result<usize, AllDataError> {
    #[derive(Deserialize)]
    struct Report {
        best_step: usize,
    }
    let path = fold.join("report.toml");
    let text = base::text::read(&path).map_err(at(&path))?;
    let report: Result<Report, _> = toml::from_str(&text);
    match report {
        Ok(it) if it.best_step > 0 => Ok(it.best_step),
        Ok(_) => Err("it has no best evaluation".to_owned()),
        Err(err) => Err(err.message().to_owned()),
    }
    .map_err(|reason| AllDataError::Kfold { path, reason })
}

/// Notes images that a cross-validation did not have, and those that the data has no longer.
fn note_other_data(
    kfold: &Path,
    manifest: &Manifest,
    callback: &dyn Callback,
) -> Result<(), AllDataError> {
    let path = kfold.join(record::FILE);
    let mut before = HashSet::new();
    let table = Record::from(base::text::read(&path).map_err(at(&path))?);
    let read = table.each_row(&mut |row| {
        before.insert(row.image.to_owned());
    });
    read.map_err(|reason| AllDataError::Kfold { path, reason })?;
    let n_known = manifest.examples.iter().filter(|it| before.contains(&it.name)).count();
    let (n_new, n_gone) = (manifest.examples.len() - n_known, before.len() - n_known);
    if n_new + n_gone > 0 {
        callback.note(&format!(
            "images that are new since the cross-validation: {n_new}, and that are gone: {n_gone}: its lengths \
             and its estimate are those of the earlier data"
        ));
    }
    Ok(())
}

/// Returns the middle number, or the mean of the two in the middle.
fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.5, 2.0]), Some(2.0));
        assert_eq!(median(&[3.0, 1.5, 2.0, 10.0]), Some(2.5));
        assert_eq!((median(&[1.25]), median(&[])), (Some(1.25), None));
    }
}
