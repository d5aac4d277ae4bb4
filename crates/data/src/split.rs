//! Splits: who is held out. One file a split.
//!
//! People are split, never pictures: nobody is on both sides.

mod baseline;
mod profile;
mod stratified_kfold;

use base::Rng;

use baseline::Baseline;
use profile::Profile;
pub use stratified_kfold::StratifiedKfold;

use crate::manifest::{Manifest, Use};

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

/// A way to hold people out.
pub trait Split {
    /// The people to hold out, fold by fold, as positions in `strata`.
    ///
    /// `strata` has an entry a person: what is to be spread alike.
    ///
    /// # Errors
    /// Settings that make no sense for this many people.
    fn held_out(&self, strata: &[Vec<usize>], rng: &mut Rng)
    -> Result<Vec<Vec<usize>>, SplitError>;
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
    /// Pictures that are only trained on are on the training side of every fold that does not hold
    /// their person out.
    ///
    /// # Errors
    /// A split that leaves a side empty.
    pub fn sides(&self, manifest: &Manifest, rng: &mut Rng) -> Result<Vec<Sides>, SplitError> {
        let (people, strata): (Vec<usize>, Vec<Vec<usize>>) = manifest.pool().into_iter().unzip();
        let folds = self.get().held_out(&strata, rng)?;
        let side = |held_out: Vec<usize>| {
            let mut is_held_out = vec![false; manifest.people.len()];
            held_out.iter().for_each(|&it| is_held_out[people[it]] = true);
            let mut sides = Sides { train: Vec::new(), valid: Vec::new() };
            for (idx, it) in manifest.examples.iter().enumerate() {
                match (it.usage, is_held_out[it.person]) {
                    (Use::Pool, true) => sides.valid.push(idx),
                    (Use::Pool | Use::Train, false) => sides.train.push(idx),
                    // Other pictures of somebody who is held out, and those that are scored.
                    (Use::Train, true) | (Use::Score, _) => {}
                }
            }
            if sides.train.is_empty() || sides.valid.is_empty() {
                let n = people.len();
                let what = format!(
                    "of {n} people one side is empty: it takes more people, or another ratio"
                );
                return Err(SplitError(what));
            }
            Ok(sides)
        };
        folds.into_iter().map(side).collect()
    }
}

/// The people of each stratum, each in random order.
fn shuffled_strata(strata: &[Vec<usize>], rng: &mut Rng) -> Vec<Vec<usize>> {
    use rand::seq::SliceRandom as _;
    let mut groups: std::collections::BTreeMap<&[usize], Vec<usize>> = Default::default();
    for (person, stratum) in strata.iter().enumerate() {
        groups.entry(stratum).or_default().push(person);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    groups.iter_mut().for_each(|it| it.shuffle(rng));
    groups
}

/// What is wrong with a ratio, if anything is.
fn check_ratio(ratio: f64) -> Result<(), SplitError> {
    match ratio > 0.0 && ratio < 1.0 {
        true => Ok(()),
        false => Err(SplitError(format!("`ratio` is a share between 0 and 1, not {ratio}"))),
    }
}
