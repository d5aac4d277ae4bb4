//! Splits into training and validation sets. One file per split.
//!
//! Splits are by group, never by image: nobody is in both sets. Where the data states its own validation
//! set ([`Use::Valid`]), exactly that is held out, whatever the split; only folds contradict it. Groups are split as they were listed,
//! before label fixes and reviews (`Manifest::listed`), by hashes of their names: no fix, drop or weight
//! changes anybody's set, and adding or removing a group changes that of few others.

mod balance;
mod baseline;
mod exchange;
mod folds;
mod leave_one_group_out;
mod profile;
mod strata;
mod stratified_kfold;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use base::Seed;

pub use balance::{Balance, FoldBalance};
use baseline::Baseline;
pub use folds::{Folds, Sides};
use leave_one_group_out::LeaveOneGroupOut;
use profile::Profile;
pub use stratified_kfold::StratifiedKfold;

use crate::manifest::{Listed, Manifest, Use};

base::choice! {
    /// `[data] split`: who is held out for validation.
    pub enum SplitConfig: dyn Split {
        /// Holds out a share of the groups, stratified by their labels, sampled without replacement.
        "profile" => Profile(Profile),
        /// Splits the groups into `n_folds` stratified folds; each is held out once. With `repeats`, that many
        /// times, each into other folds.
        "stratified_kfold" => StratifiedKfold(StratifiedKfold),
        /// Holds out each group by itself: as many folds as groups, in the order of their names.
        "leave_one_group_out" => LeaveOneGroupOut(LeaveOneGroupOut),
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
    /// How many images of each joint class the group has, by class.
    pub counts: &'a [(usize, usize)],
}

impl<'a> From<&'a Listed> for Candidate<'a> {
    fn from(it: &'a Listed) -> Candidate<'a> {
        Candidate { name: &it.group, stratum: &it.stratum, counts: &it.counts }
    }
}

/// A method of choosing the groups to hold out.
pub trait Split {
    /// Returns the groups to hold out in each fold, as positions in `candidates`; the folds of the first repeat
    /// come first.
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

    /// Returns the number of repeats, each with the same number of folds.
    fn n_repeats(&self) -> usize {
        1
    }

    /// Returns whether everybody is held out once in each repeat.
    fn is_cross_validation(&self) -> bool {
        false
    }
}

/// Why groups cannot be split.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`data.split`: {0}")]
pub struct SplitError(pub(crate) String);

impl SplitConfig {
    /// Splits the groups of a manifest who may be held out: one pair of sets per fold; one pair where the data
    /// states its validation set.
    ///
    /// # Errors
    /// As [`SplitConfig::folds`].
    pub fn sides(&self, manifest: &Manifest, seed: Seed) -> Result<Vec<Sides>, SplitError> {
        let folds = self.folds(manifest, seed)?;
        Ok((0..folds.n()).map(|it| folds.sides(manifest, it)).collect())
    }

    /// Splits the groups of a manifest who may be held out: into folds, or into one fold and the rest; where
    /// the data states its validation set, that is the only fold.
    ///
    /// # Errors
    /// A fold that leaves the training or the validation set empty, or folds of data that states its validation
    /// set.
    pub fn folds(&self, manifest: &Manifest, seed: Seed) -> Result<Folds, SplitError> {
        let is_stated = manifest.examples.iter().any(|it| it.usage == Use::Valid);
        let folds = match is_stated {
            true => self.stated(manifest)?,
            false => self.chosen(manifest, seed)?,
        };
        match folds.n() > 0 && folds.are_filled(manifest) {
            true => Ok(folds),
            false if is_stated => Err(SplitError(
                "the data states its validation set, and nothing is left for training: mark other images as \
                 training images"
                    .to_owned(),
            )),
            false => {
                let groups = manifest.task.unit.count(manifest.listed.len());
                Err(SplitError(format!(
                    "splitting {groups} leaves the training or the validation set empty: add some, or change \
                     the ratio"
                )))
            }
        }
    }

    /// Returns the folds that the split chooses; groups in none are never held out.
    fn chosen(&self, manifest: &Manifest, seed: Seed) -> Result<Folds, SplitError> {
        let mut candidates: Vec<Candidate<'_>> =
            manifest.listed.iter().map(Candidate::from).collect();
        if let SplitConfig::LeaveOneGroupOut(_) = self {
            // A group that a review has dropped would be an empty fold.
            let pool = manifest.examples.iter().filter(|it| it.usage == Use::Pool);
            let pool: HashSet<&str> = pool.map(|it| manifest.groups[it.group].as_str()).collect();
            candidates.retain(|it| pool.contains(it.name));
        }
        let held_out = self.get().held_out(&candidates, seed)?;
        let n_repeats = self.get().n_repeats();
        let n_folds = held_out.len() / n_repeats;
        let repeat = |repeat: usize| {
            let mut fold_of = HashMap::with_capacity(candidates.len());
            for (fold, groups) in held_out.iter().enumerate().skip(repeat * n_folds).take(n_folds) {
                fold_of.extend(groups.iter().map(|&it| (candidates[it].name, fold)));
            }
            manifest.groups.iter().map(|it| fold_of.get(it.as_str()).copied()).collect()
        };
        Ok(Folds::new(n_folds, (0..n_repeats).map(repeat).collect()))
    }

    /// Returns the validation set that the data states, as the only fold.
    fn stated(&self, manifest: &Manifest) -> Result<Folds, SplitError> {
        if self.get().is_cross_validation() {
            let what = "the data states its validation set, so that there are no folds: train once with \
                        `train`, or read the data without that set, with `data.source.keep_sets=false` of \
                        `folders`, or without `data.source.split` of `table`";
            return Err(SplitError(what.to_owned()));
        }
        let mut fold_of = vec![None; manifest.groups.len()];
        let held_out = manifest.examples.iter().filter(|it| it.usage == Use::Valid);
        held_out.for_each(|it| fold_of[it.group] = Some(0));
        Ok(Folds::new(1, vec![fold_of]))
    }
}

/// The maximum number of folds of all repeats: each is a training, and their tables are read at the same time.
const MAX_FOLDS: usize = 500;

/// Returns an error if there are too many folds.
fn check_n_folds(n: usize) -> Result<(), SplitError> {
    match n <= MAX_FOLDS {
        true => Ok(()),
        false => Err(SplitError(format!(
            "{n} folds are {n} trainings, more than {MAX_FOLDS}: use fewer folds of several groups each \
             (`stratified_kfold`), or fewer repeats"
        ))),
    }
}

/// Returns an error unless a ratio is between 0 and 1.
fn check_ratio(ratio: f64) -> Result<(), SplitError> {
    match ratio > 0.0 && ratio < 1.0 {
        true => Ok(()),
        false => Err(SplitError(format!("`ratio` must be between 0 and 1, not {ratio}"))),
    }
}
