//! Stratified folds of equal size; each is held out once.
//!
//! Each group has a random order of preferred folds, by a hash of the name. Within a stratum, groups are
//! assigned in the order of their hashes to their first preferred fold that has room: no fold of a stratum
//! may have more than one group more than another. Then strata move single groups between folds, level by
//! level, until the same holds for all groups whose first levels are the same, and for all groups. So
//! adding one group changes the fold of only a few others, while assigning folds in turn would change
//! those of everybody after.
//!
//! Where groups have different numbers of images of a class, equally many groups are not equally many images: then
//! the images of each class are balanced instead (`exchange.rs`), and a group more may move many of the others.
//!
//! Repeated k-fold, as scikit-learn's `RepeatedStratifiedKFold`: each repeat is another partition, by its own
//! hashes. Folds are numbered from 0 through all repeats: with 5 folds, those of the second are 5 to 9.

use base::Seed;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{
    Candidate, Split, SplitError, check_n_folds,
    exchange::{exchange, is_even},
    strata::{Strata, preferences},
};

/// `split = { kind = "stratified_kfold", n_folds = 5, repeats = 1 }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StratifiedKfold {
    /// The number of folds of a repeat.
    pub n_folds: usize,
    /// The number of partitions into folds: everybody is held out once in each.
    pub repeats: usize,
}

impl Default for StratifiedKfold {
    /// The usual number of folds, as in scikit-learn, in one partition.
    fn default() -> StratifiedKfold {
        StratifiedKfold { n_folds: 5, repeats: 1 }
    }
}

impl Split for StratifiedKfold {
    fn held_out(
        &self,
        candidates: &[Candidate<'_>],
        seed: Seed,
    ) -> Result<Vec<Vec<usize>>, SplitError> {
        let StratifiedKfold { n_folds, repeats } = *self;
        if n_folds < 2 || n_folds > candidates.len() {
            let n = candidates.len();
            return Err(SplitError(format!(
                "`n_folds` must be from 2 to the number of groups, {n}, not {n_folds}"
            )));
        }
        if repeats == 0 {
            return Err(SplitError("`repeats` must be at least 1, not 0".to_owned()));
        }
        check_n_folds(n_folds.saturating_mul(repeats))?;
        let is_even = is_even(candidates);
        let folds = (0..repeats).flat_map(|repeat| {
            let seed = match repeat {
                0 => seed,
                _ => Seed(seed.stream(&format!("split/repeat/{repeat}")).random()),
            };
            let mut folds = match is_even {
                true => partition(candidates, n_folds, seed),
                false => exchange(candidates, n_folds, seed),
            };
            folds.iter_mut().for_each(|it| it.sort_unstable());
            folds
        });
        Ok(folds.collect())
    }

    fn n_repeats(&self) -> usize {
        self.repeats
    }

    fn is_cross_validation(&self) -> bool {
        true
    }
}

/// Splits groups into folds with equally many groups of each stratum.
fn partition(candidates: &[Candidate<'_>], n_folds: usize, seed: Seed) -> Vec<Vec<usize>> {
    let strata = Strata::new(candidates, seed);
    let preferences = |group: usize| preferences(candidates[group].name, n_folds, seed);
    let mut folds = vec![Vec::new(); n_folds];
    Spread::new(&strata, n_folds, &preferences).collect(&mut folds);
    folds
}

/// The groups of a part of the strata, assigned to folds.
struct Spread {
    /// For each fold, whether it has one group more than others.
    has_more: Vec<bool>,
    parts: Vec<Spread>,
    /// At a leaf: the groups of each fold, in the order of hashes.
    folds: Vec<Vec<usize>>,
}

impl Spread {
    fn new(strata: &Strata, n_folds: usize, preferences: &impl Fn(usize) -> Vec<usize>) -> Spread {
        if strata.parts.is_empty() {
            return Spread::of_leaf(&strata.groups, n_folds, preferences);
        }
        let mut parts: Vec<Spread> =
            strata.parts.iter().map(|it| Spread::new(it, n_folds, preferences)).collect();
        let mut counts: Vec<usize> =
            (0..n_folds).map(|fold| parts.iter().filter(|it| it.has_more[fold]).count()).collect();
        let n_more: usize = counts.iter().sum();
        let (least, n_left) = (n_more / n_folds, n_more % n_folds);
        // The folds with the most groups may keep one more.
        let mut by_count: Vec<usize> = (0..n_folds).collect();
        by_count.sort_by_key(|&it| std::cmp::Reverse(counts[it]));
        let mut has_more = vec![false; n_folds];
        by_count[..n_left].iter().for_each(|&it| has_more[it] = true);
        let wanted: Vec<usize> = has_more.iter().map(|&it| least + usize::from(it)).collect();
        for from in 0..n_folds {
            for to in 0..n_folds {
                // Fewer parts have one group more in `to` than in `from`, so enough parts can move one.
                for part in &mut parts {
                    if counts[from] <= wanted[from] || counts[to] >= wanted[to] {
                        break;
                    }
                    if part.has_more[from] && !part.has_more[to] {
                        part.exchange(from, to);
                        counts[from] -= 1;
                        counts[to] += 1;
                    }
                }
            }
        }
        Spread { has_more, parts, folds: Vec::new() }
    }

    fn of_leaf(
        groups: &[usize],
        n_folds: usize,
        preferences: &impl Fn(usize) -> Vec<usize>,
    ) -> Spread {
        let (least, mut n_left) = (groups.len() / n_folds, groups.len() % n_folds);
        let mut folds = vec![Vec::new(); n_folds];
        for &group in groups {
            let has_room = |fold: &usize| {
                let n = folds[*fold].len();
                n < least || n == least && n_left > 0
            };
            let fold = preferences(group).into_iter().find(has_room).expect("a fold has room");
            n_left -= usize::from(folds[fold].len() == least);
            folds[fold].push(group);
        }
        let has_more = folds.iter().map(|it| it.len() > least).collect();
        Spread { has_more, parts: Vec::new(), folds }
    }

    /// Moves one group from a fold that has one more to one that does not.
    fn exchange(&mut self, from: usize, to: usize) {
        self.has_more[from] = false;
        self.has_more[to] = true;
        if let Some(last) = self.folds.get_mut(from).and_then(Vec::pop) {
            self.folds[to].push(last);
        }
        // More parts have one group more in `from` than in `to`.
        let part = self.parts.iter_mut().find(|it| it.has_more[from] && !it.has_more[to]);
        part.into_iter().for_each(|it| it.exchange(from, to));
    }

    fn collect(self, folds: &mut [Vec<usize>]) {
        folds.iter_mut().zip(self.folds).for_each(|(fold, own)| fold.extend(own));
        self.parts.into_iter().for_each(|it| it.collect(folds));
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{super::tests::crowd, Candidate, Split as _, StratifiedKfold};

    #[test]
    fn everybody_is_held_out_once_in_each_repeat_and_folds_are_stratified() {
        let crowd = crowd((0..103).map(|it| vec![usize::from(it % 10 == 0)]));
        let candidates: Vec<Candidate<'_>> = crowd.iter().map(Candidate::from).collect();
        let of = |repeats| {
            StratifiedKfold { n_folds: 5, repeats }.held_out(&candidates, Seed(1)).unwrap()
        };
        let folds = of(3);
        assert_eq!(folds.len(), 15);
        for repeat in folds.chunks(5) {
            let mut all = repeat.concat();
            all.sort_unstable();
            assert_eq!(all, (0..103).collect::<Vec<_>>());
        }
        for fold in &folds {
            let rare = fold.iter().filter(|&&it| crowd[it].stratum == [1]).count();
            assert!((20..=21).contains(&fold.len()) && (2..=3).contains(&rare), "{fold:?}");
        }
        // The first repeat is the partition of one; the others are different ones.
        assert_eq!(of(1), folds[..5]);
        assert!(folds[..5] != folds[5..10] && folds[5..10] != folds[10..]);
    }

    #[test]
    fn an_impossible_number_of_folds_or_repeats_is_an_error() {
        let crowd = crowd((0..3).map(|_| vec![0]));
        let candidates: Vec<Candidate<'_>> = crowd.iter().map(Candidate::from).collect();
        for (n_folds, repeats) in [(0, 1), (1, 1), (4, 1), (2, 0), (2, 251)] {
            let split = StratifiedKfold { n_folds, repeats };
            assert!(split.held_out(&candidates, Seed(0)).is_err());
        }
    }
}
