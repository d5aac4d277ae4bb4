//! Splits into training and validation sets. One file per split.
//!
//! Splits are by person, never by image: nobody is in both sets. People are split as they were listed,
//! before label fixes and reviews (`Manifest::listed`), by hashes of their names: no fix, drop or weight
//! changes anybody's set, and adding or removing a person changes that of few others.

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
        /// Holds out a share of the people, stratified by gender and age group, sampled without
        /// replacement.
        "profile" => Profile(Profile),
        /// Splits the people into `n_folds` stratified folds; each is held out once.
        "stratified_kfold" => StratifiedKfold(StratifiedKfold),
        /// Holds out people sampled *with* replacement, as the competition's baseline code does, so that
        /// fewer are held out than `ratio`; not stratified. Kept for comparison.
        "baseline" => Baseline(Baseline),
    }
}

/// A person who may be held out.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The person's name.
    pub name: &'a str,
    /// The levels to stratify by: equally many for everybody.
    pub stratum: &'a [usize],
}

impl<'a> From<&'a Listed> for Candidate<'a> {
    fn from(it: &'a Listed) -> Candidate<'a> {
        Candidate { name: &it.person, stratum: &it.stratum }
    }
}

/// A method of choosing the people to hold out.
pub trait Split {
    /// Returns the people to hold out in each fold, as positions in `candidates`.
    ///
    /// The result depends on names, not on their order.
    ///
    /// # Errors
    /// Settings that are invalid for this number of people.
    fn held_out(
        &self,
        candidates: &[Candidate<'_>],
        seed: Seed,
    ) -> Result<Vec<Vec<usize>>, SplitError>;
}

/// Why people cannot be split.
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
    /// Splits the people of a manifest who may be held out: one pair of sets per fold.
    ///
    /// Train-only images are in the training set of every fold that does not hold out their person.
    ///
    /// # Errors
    /// A split that leaves one of the sets empty.
    pub fn sides(&self, manifest: &Manifest, seed: Seed) -> Result<Vec<Sides>, SplitError> {
        let candidates: Vec<Candidate<'_>> = manifest.listed.iter().map(Candidate::from).collect();
        let folds = self.get().held_out(&candidates, seed)?;
        // People in no fold are never held out.
        let mut fold_of = HashMap::with_capacity(candidates.len());
        for (fold, people) in folds.iter().enumerate() {
            fold_of.extend(people.iter().map(|&it| (candidates[it].name, fold)));
        }
        let fold_of: Vec<Option<usize>> =
            manifest.people.iter().map(|it| fold_of.get(it.as_str()).copied()).collect();
        let side = |fold: usize| {
            let mut sides = Sides { train: Vec::new(), valid: Vec::new() };
            for (idx, it) in manifest.examples.iter().enumerate() {
                match (it.usage, fold_of[it.person] == Some(fold)) {
                    (Use::Pool, true) => sides.valid.push(idx),
                    (Use::Pool | Use::Train, false) => sides.train.push(idx),
                    // Train-only images of a person who is held out, and images of the test set.
                    (Use::Train, true) | (Use::Test, _) => {}
                }
            }
            if sides.train.is_empty() || sides.valid.is_empty() {
                let n = candidates.len();
                let what = format!(
                    "splitting {n} people leaves the training or the validation set empty: add people, or \
                     change the ratio"
                );
                return Err(SplitError(what));
            }
            Ok(sides)
        };
        (0..folds.len()).map(side).collect()
    }
}

/// Returns an error unless a ratio is between 0 and 1.
fn check_ratio(ratio: f64) -> Result<(), SplitError> {
    match ratio > 0.0 && ratio < 1.0 {
        true => Ok(()),
        false => Err(SplitError(format!("`ratio` must be between 0 and 1, not {ratio}"))),
    }
}
