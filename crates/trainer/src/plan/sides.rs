//! The training and validation sets.

use data::{Manifest, Sides, SplitError};

use super::error::{PlanError, wrong};
use crate::experiment::Experiment;

/// Returns the training and validation sets of each fold.
pub(crate) fn folds(
    experiment: &Experiment,
    manifest: &Manifest,
) -> Result<Vec<Sides>, SplitError> {
    experiment.data.split.sides(manifest, experiment.data.split_seed)
}

/// Returns the training and validation sets of a fold, without the training images that settings exclude.
pub(crate) fn divide(
    experiment: &Experiment,
    manifest: &Manifest,
    fold_idx: usize,
) -> Result<Sides, PlanError> {
    let data = &experiment.data;
    let folds = folds(experiment, manifest)?;
    let n_folds = folds.len();
    let mut sides = folds.into_iter().nth(fold_idx).ok_or_else(|| {
        wrong("data.fold")(format!("there is no fold {fold_idx} of {n_folds}, counted from 0"))
    })?;
    let age = |idx: usize| manifest.examples[idx].age;
    let is_left_out = |idx| age(idx).is_some_and(|it| data.leave_out_ages.contains(&it));
    let check = |train: &[usize], path: &str| match train.is_empty() {
        true => Err(wrong(path)("no training image is left".to_owned())),
        false => Ok(()),
    };
    sides.train.retain(|&it| !is_left_out(it));
    check(&sides.train, "data.leave_out_ages")?;
    sides.train.retain(|&it| manifest.examples[it].weight > 0.0);
    check(&sides.train, "data.reviewed`, or `data.source.label_fixes")?;
    Ok(sides)
}
