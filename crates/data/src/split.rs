//! Splits: who is held out. One file a split.
//!
//! People are split, never images: nobody is on both sides. They are split as they were listed, before
//! label fixes and reviews (`Manifest::listed`), by hashes of their names: no fix, drop or weight moves
//! anybody, and one person more or less moves few.

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
    /// `[data] split`: who is held out to validate on.
    pub enum SplitConfig: dyn Split {
        /// A share of the people, stratified by gender and age group, drawn without replacement.
        "profile" => Profile(Profile),
        /// As many parts as there are folds, stratified; each is held out once.
        "stratified_kfold" => StratifiedKfold(StratifiedKfold),
        /// The competition's own code: people drawn *with* replacement, so that fewer are held out
        /// than the ratio says; not stratified. Kept for comparison.
        "baseline" => Baseline(Baseline),
    }
}

/// Somebody who may be held out.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What they are called.
    pub name: &'a str,
    /// What is to be spread alike: as many levels for everybody.
    pub stratum: &'a [usize],
}

impl<'a> From<&'a Listed> for Candidate<'a> {
    fn from(it: &'a Listed) -> Candidate<'a> {
        Candidate { name: &it.person, stratum: &it.stratum }
    }
}

/// A way to hold people out.
pub trait Split {
    /// The people to hold out, fold by fold, as positions in `candidates`.
    ///
    /// It depends on names, not on their order.
    ///
    /// # Errors
    /// Settings that make no sense for this many people.
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

/// A training set and what it is validated on, as positions in [`Manifest::examples`].
#[derive(Clone, Debug, PartialEq)]
pub struct Sides {
    /// May be trained on.
    pub train: Vec<usize>,
    /// Validates.
    pub valid: Vec<usize>,
}

impl SplitConfig {
    /// Splits the people of a manifest who may be held out: one pair of sides a fold.
    ///
    /// Images that are only trained on are on the training side of every fold that does not hold
    /// their person out.
    ///
    /// # Errors
    /// A split that leaves a side empty.
    pub fn sides(&self, manifest: &Manifest, seed: Seed) -> Result<Vec<Sides>, SplitError> {
        let candidates: Vec<Candidate<'_>> = manifest.listed.iter().map(Candidate::from).collect();
        let folds = self.get().held_out(&candidates, seed)?;
        // Who is in no fold is never held out.
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
                    // Other images of somebody who is held out, and those that are scored.
                    (Use::Train, true) | (Use::Score, _) => {}
                }
            }
            if sides.train.is_empty() || sides.valid.is_empty() {
                let n = candidates.len();
                let what = format!(
                    "of {n} people one side is empty: it takes more people, or another ratio"
                );
                return Err(SplitError(what));
            }
            Ok(sides)
        };
        (0..folds.len()).map(side).collect()
    }
}

/// What is wrong with a ratio, if anything is.
fn check_ratio(ratio: f64) -> Result<(), SplitError> {
    match ratio > 0.0 && ratio < 1.0 {
        true => Ok(()),
        false => Err(SplitError(format!("`ratio` is a share between 0 and 1, not {ratio}"))),
    }
}
