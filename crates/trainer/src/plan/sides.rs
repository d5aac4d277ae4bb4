//! The training and validation sets.

use data::{Folds, Manifest, PseudoImages, Sides, SplitError, Use, held_out_copies};

use super::error::{PlanError, wrong};
use crate::{
    experiment::Experiment,
    phase::{PhaseSection, TrainOn},
};

/// Returns the folds.
pub(crate) fn folds(experiment: &Experiment, manifest: &Manifest) -> Result<Folds, SplitError> {
    experiment.data.split.folds(manifest, experiment.data.split_seed)
}

/// Returns the training and validation sets of a fold, without the training images that settings exclude.
///
/// # Errors
/// A split that is impossible, a fold that there is not, settings that leave no training image, and pseudo-labelled
/// images that are held out.
pub fn divide(
    experiment: &Experiment,
    manifest: &Manifest,
    fold_idx: usize,
) -> Result<Sides, PlanError> {
    let folds = folds(experiment, manifest)?;
    let n_folds = folds.n();
    if fold_idx >= n_folds {
        let what = format!("there is no fold {fold_idx} of {n_folds}, counted from 0");
        return Err(wrong("data.fold")(what));
    }
    let is_held_out = |idx: usize| match manifest.examples[idx].usage {
        Use::Pool => {
            (0..folds.n_repeats()).any(|it| folds.holding_out(manifest, it, idx).is_some())
        }
        Use::Valid | Use::Test => true,
        Use::Train => false,
    };
    if let Some(problem) = held_out_copies(manifest, is_held_out) {
        return Err(wrong("data.pseudo")(problem));
    }
    let mut sides = folds.sides(manifest, fold_idx);
    let is_left_out = left_out(experiment, manifest)?;
    let check = |train: &[usize], path: &str| match train.is_empty() {
        true => Err(wrong(path)("no training image is left".to_owned())),
        false => Ok(()),
    };
    sides.train.retain(|&it| !is_left_out(it));
    check(&sides.train, "data.leave_out")?;
    sides.train.retain(|&it| manifest.examples[it].weight > 0.0);
    check(&sides.train, "data.reviewed`, or `data.source.label_fixes")?;
    Ok(sides)
}

/// The images that a phase is trained on: those with labels, then those with pseudo-labels.
pub(super) struct Trained<'a> {
    pub(super) labelled: &'a [usize],
    pub(super) pseudo: PseudoImages,
}

impl<'a> Trained<'a> {
    /// Divides images, in the order of the manifest.
    ///
    /// # Errors
    /// A share of pseudo-labelled images that is less than an image of a batch.
    pub(super) fn of(
        experiment: &Experiment,
        manifest: &Manifest,
        images: &'a [usize],
    ) -> Result<Trained<'a>, PlanError> {
        let (share, batch_size) = (experiment.data.pseudo.share, experiment.train.batch_size);
        let pseudo = PseudoImages::of(share, manifest, images, batch_size);
        let pseudo = pseudo.map_err(wrong("data.pseudo"))?;
        Ok(Trained { labelled: &images[..images.len() - pseudo.n()], pseudo })
    }
}

/// Returns whether the settings exclude an image from training by a number of its factors.
fn left_out<'a>(
    experiment: &'a Experiment,
    manifest: &'a Manifest,
) -> Result<impl Fn(usize) -> bool + 'a, PlanError> {
    let factor = |(name, numbers): (&String, _)| Ok((manifest.task.numeric_named(name)?, numbers));
    let left_out = experiment.data.leave_out.iter().map(factor).collect::<Result<Vec<_>, String>>();
    let left_out: Vec<(usize, &Vec<f64>)> = left_out.map_err(wrong("data.leave_out"))?;
    Ok(move |idx: usize| {
        let number = |factor| manifest.examples[idx].number(factor);
        left_out.iter().any(|(factor, left)| number(*factor).is_some_and(|it| left.contains(&it)))
    })
}

/// The images that phases are trained on.
pub(super) struct TrainingSets {
    train: Vec<usize>,
    all: Vec<usize>,
}

impl TrainingSets {
    /// Returns those of a split; images of the validation set are excluded like those of the training set.
    pub(super) fn new(
        experiment: &Experiment,
        manifest: &Manifest,
        sides: &Sides,
    ) -> Result<TrainingSets, PlanError> {
        let is_left_out = left_out(experiment, manifest)?;
        let is_trained_on = |&it: &usize| manifest.examples[it].weight > 0.0 && !is_left_out(it);
        let of_valid = sides.valid.iter().copied().filter(is_trained_on);
        let mut all: Vec<usize> = sides.train.iter().copied().chain(of_valid).collect();
        all.sort_unstable();
        Ok(TrainingSets { train: sides.train.clone(), all })
    }

    /// Returns that of a phase.
    pub(super) fn of(&self, phase: Option<&PhaseSection>) -> &[usize] {
        match phase.map_or(TrainOn::Train, |it| it.data) {
            TrainOn::Train => &self.train,
            TrainOn::All => &self.all,
        }
    }
}
