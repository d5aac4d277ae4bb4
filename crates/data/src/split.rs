//! Splits into training and validation sets. One file per split.
//!
//! Splits are by group, never by image: nobody is in both sets. Where the data states its own validation
//! set ([`Use::Valid`]), exactly that is held out, whatever the split; only folds contradict it. Groups are split as they were listed,
//! before label fixes and reviews (`Manifest::listed`), by hashes of their names: no fix, drop or weight
//! changes anybody's set, and adding or removing a group changes that of few others.

mod baseline;
mod profile;
mod strata;
mod stratified_kfold;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use base::Seed;

use baseline::Baseline;
use profile::Profile;
pub use stratified_kfold::StratifiedKfold;

use crate::manifest::{Listed, Manifest, Use};

base::choice! {
    /// `[data] split`: who is held out for validation.
    pub enum SplitConfig: dyn Split {
        /// Holds out a share of the groups, stratified by their labels, sampled without replacement.
        "profile" => Profile(Profile),
        /// Splits the groups into `n_folds` stratified folds; each is held out once.
        "stratified_kfold" => StratifiedKfold(StratifiedKfold),
        /// Holds out groups sampled *with* replacement, as the competition's baseline code does, so that
        /// fewer are held out than `ratio`; not stratified. Kept for comparison.
        "baseline" => Baseline(Baseline),
    }
}

/// A group who may be held out.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The group's name.
    pub name: &'a str,
    /// The levels to stratify by: equally many for everybody.
    pub stratum: &'a [usize],
}

impl<'a> From<&'a Listed> for Candidate<'a> {
    fn from(it: &'a Listed) -> Candidate<'a> {
        Candidate { name: &it.group, stratum: &it.stratum }
    }
}

/// A method of choosing the groups to hold out.
pub trait Split {
    /// Returns the groups to hold out in each fold, as positions in `candidates`.
    ///
    /// The result depends on names, not on their order.
    ///
    /// # Errors
    /// Settings that are invalid for this number of groups.
    fn held_out(
        &self,
        candidates: &[Candidate<'_>],
        seed: Seed,
    ) -> Result<Vec<Vec<usize>>, SplitError>;
}

/// Why groups cannot be split.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`data.split`: {0}")]
pub struct SplitError(pub(crate) String);

/// A training set and a validation set, as positions in [`Manifest::examples`].
#[derive(Clone, Debug, PartialEq)]
pub struct Sides {
    /// The training set.
    pub train: Vec<usize>,
    /// The validation set.
    pub valid: Vec<usize>,
}

impl SplitConfig {
    /// Splits the groups of a manifest who may be held out: one pair of sets per fold; one pair where the data
    /// states its validation set.
    ///
    /// Train-only images are in the training set of every fold that does not hold out their group.
    ///
    /// # Errors
    /// A split that leaves one of the sets empty, or folds of data that states its validation set.
    pub fn sides(&self, manifest: &Manifest, seed: Seed) -> Result<Vec<Sides>, SplitError> {
        let is_stated = manifest.examples.iter().any(|it| it.usage == Use::Valid);
        let (n_folds, fold_of) = match is_stated {
            true => self.stated(manifest)?,
            false => self.chosen(manifest, seed)?,
        };
        let side = |fold: usize| {
            let mut sides = Sides { train: Vec::new(), valid: Vec::new() };
            for (idx, it) in manifest.examples.iter().enumerate() {
                match (it.usage, fold_of[it.group] == Some(fold)) {
                    (Use::Valid, _) => sides.valid.push(idx),
                    (Use::Pool, true) if !is_stated => sides.valid.push(idx),
                    (Use::Pool | Use::Train, false) => sides.train.push(idx),
                    // Other images of a group who is held out, and images of the test set.
                    (Use::Pool | Use::Train, true) | (Use::Test, _) => {}
                }
            }
            if sides.train.is_empty() || sides.valid.is_empty() {
                return Err(SplitError(match is_stated {
                    true => "the data states its validation set, and nothing is left for training: mark other \
                             images as training images"
                        .to_owned(),
                    false => {
                        let groups = manifest.task.unit.count(manifest.listed.len());
                        format!(
                            "splitting {groups} leaves the training or the validation set empty: add some, or \
                             change the ratio"
                        )
                    }
                }));
            }
            Ok(sides)
        };
        (0..n_folds).map(side).collect()
    }

    /// Returns the number of folds, and the fold of each group; groups in none are never held out.
    fn chosen(
        &self,
        manifest: &Manifest,
        seed: Seed,
    ) -> Result<(usize, Vec<Option<usize>>), SplitError> {
        let candidates: Vec<Candidate<'_>> = manifest.listed.iter().map(Candidate::from).collect();
        let folds = self.get().held_out(&candidates, seed)?;
        let mut fold_of = HashMap::with_capacity(candidates.len());
        for (fold, groups) in folds.iter().enumerate() {
            fold_of.extend(groups.iter().map(|&it| (candidates[it].name, fold)));
        }
        let fold_of = manifest.groups.iter().map(|it| fold_of.get(it.as_str()).copied());
        Ok((folds.len(), fold_of.collect()))
    }

    /// The same for the validation set that the data states, as the only fold.
    fn stated(&self, manifest: &Manifest) -> Result<(usize, Vec<Option<usize>>), SplitError> {
        if let SplitConfig::StratifiedKfold(_) = self {
            let what = "the data states its validation set, so that there are no folds: train once with \
                        `train`, or read the data without that set, with `data.source.keep_sets=false` of \
                        `folders`, or without `data.source.split` of `table`";
            return Err(SplitError(what.to_owned()));
        }
        let mut fold_of = vec![None; manifest.groups.len()];
        let held_out = manifest.examples.iter().filter(|it| it.usage == Use::Valid);
        held_out.for_each(|it| fold_of[it.group] = Some(0));
        Ok((1, fold_of))
    }
}

/// Returns an error unless a ratio is between 0 and 1.
fn check_ratio(ratio: f64) -> Result<(), SplitError> {
    match ratio > 0.0 && ratio < 1.0 {
        true => Ok(()),
        false => Err(SplitError(format!("`ratio` must be between 0 and 1, not {ratio}"))),
    }
}
