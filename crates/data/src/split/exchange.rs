//! Evens out the images of each class over folds, where groups have different numbers of them.
//!
//! With n_fc images of class c in fold f, N_c in all and k folds, it descends on
//!
//! ```text
//! sum over f and c of (n_fc - N_c / k)^2 / N_c
//! ```
//!
//! where all images count as one more class. First each group is put, large ones first, into the fold where that
//! raises the sum least. Then groups are moved to another fold, or exchanged with another group, where that lowers the
//! sum most; each is compared with all folds and with the next [`N_PARTNERS`] groups in the order of hashes.
//! Large is the sum over c of n_c^2 / N_c, times a number from 1 to 2 by the group's hash, so that each seed gives other
//! folds.
//!
//! scikit-learn's `StratifiedGroupKFold` minimises the spread of n_fc / N_c likewise, group by group from the most
//! uneven one on, and never revises one.
//! The sum says little about the class that deviates most, so the descent is repeated with twice the weight for
//! that class, [`N_ROUNDS`] times at most, and the folds with the smallest largest |n_fc - N_c / k| are taken.
//! No fold becomes empty: the last group of a fold would only meet others elsewhere, which raises the sum.

use std::collections::HashMap;

use base::Seed;

use super::{Candidate, strata::lot};

/// The number of groups that each is compared with, of up to 65,536 groups: all of few groups.
const N_PARTNERS: usize = 64;
/// The number of comparisons of a pass for more groups.
const N_COMPARED: usize = 1 << 22;
/// The maximum number of passes over all groups.
const N_PASSES: usize = 10;
/// The maximum number of descents with another weight.
const N_ROUNDS: usize = 60;
/// A change must lower the sum by more than rounding errors.
const LEAST: f64 = 1e-9;

/// Returns whether the strata balance the images of every class by themselves: the groups of a stratum have the same
/// number of images of each class, and no two strata share a class.
pub(super) fn is_even(candidates: &[Candidate<'_>]) -> bool {
    let (mut of_stratum, mut of_class) = (HashMap::new(), HashMap::new());
    candidates.iter().all(|it| {
        *of_stratum.entry(it.stratum).or_insert(it.counts) == it.counts
            && it.counts.iter().all(|of| *of_class.entry(of.0).or_insert(it.stratum) == it.stratum)
    })
}

/// Splits groups into folds.
pub(super) fn exchange(
    candidates: &[Candidate<'_>],
    n_folds: usize,
    seed: Seed,
) -> Vec<Vec<usize>> {
    let mut spread = Spread::new(candidates, n_folds);
    let lots: Vec<u64> = candidates.iter().map(|it| lot(it.name, seed)).collect();
    let large = |it: usize| spread.product(it, it) * (1.0 + lots[it] as f64 / u64::MAX as f64);
    let large: Vec<f64> = (0..candidates.len()).map(large).collect();
    let name = |it: usize| (lots[it], candidates[it].name);
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|&a, &b| large[b].total_cmp(&large[a]).then_with(|| name(a).cmp(&name(b))));
    for &group in &order {
        let pulls: Vec<f64> = (0..n_folds).map(|it| spread.pull(group, it)).collect();
        let least = (0..n_folds).min_by(|&a, &b| pulls[a].total_cmp(&pulls[b]));
        spread.put(group, least.unwrap_or(0));
    }
    order.sort_by_key(|&it| name(it));
    let n_partners = (N_COMPARED / order.len().max(1)).clamp(4, N_PARTNERS).min(order.len() - 1);
    spread.descend(&order, n_partners);
    let (mut least, mut worst) = spread.deviation();
    let mut best = spread.fold_of.clone();
    let n_rounds = (N_COMPARED / (order.len() * n_partners).max(1)).min(N_ROUNDS);
    for _ in 0..n_rounds {
        spread.weights[worst] *= 2.0;
        spread.descend(&order, n_partners);
        let deviation;
        (deviation, worst) = spread.deviation();
        if deviation < least - LEAST {
            (least, best) = (deviation, spread.fold_of.clone());
        }
    }
    let mut folds = vec![Vec::new(); n_folds];
    for (group, fold) in best.iter().enumerate() {
        fold.iter().for_each(|&it| folds[it].push(group));
    }
    folds
}

/// The counts of each group, and of each fold.
struct Spread {
    /// For each group the classes that it has images of, in ascending order, with their number.
    counts: Vec<Vec<(usize, f64)>>,
    /// The fold of each group that is in one.
    fold_of: Vec<Option<usize>>,
    /// For each fold, n_fc of each class.
    of_fold: Vec<Vec<f64>>,
    /// 1 / N_c of each class.
    weights: Vec<f64>,
}

impl Spread {
    fn new(candidates: &[Candidate<'_>], n_folds: usize) -> Spread {
        let classes = candidates.iter().filter_map(|it| it.counts.last().map(|it| it.0 + 1));
        let n_classes = classes.max().unwrap_or(0);
        let counts: Vec<Vec<(usize, f64)>> = candidates
            .iter()
            .map(|it| {
                let of_class = it.counts.iter().map(|&(class, n)| (class, n as f64));
                let n: usize = it.counts.iter().map(|it| it.1).sum();
                of_class.chain([(n_classes, n as f64)]).collect()
            })
            .collect();
        let mut all = vec![0.0; n_classes + 1];
        counts.iter().flatten().for_each(|&(class, n)| all[class] += n);
        let weights = all.into_iter().map(|n| if n > 0.0 { 1.0 / n } else { 0.0 }).collect();
        let of_fold = vec![vec![0.0; n_classes + 1]; n_folds];
        Spread { counts, fold_of: vec![None; candidates.len()], of_fold, weights }
    }

    /// Makes changes until none lowers the sum.
    fn descend(&mut self, order: &[usize], n_partners: usize) {
        for _ in 0..N_PASSES {
            let mut is_changed = false;
            for at in 0..order.len() {
                let partners = (1..=n_partners).map(|it| order[(at + it) % order.len()]);
                is_changed |= self.improve(order[at], partners);
            }
            if !is_changed {
                break;
            }
        }
    }

    /// Returns the largest deviation of a fold from an equal share of a class, and the class.
    fn deviation(&self) -> (f64, usize) {
        let n_classes = self.weights.len() - 1;
        let equal = |class: usize| {
            self.of_fold.iter().map(|it| it[class]).sum::<f64>() / self.of_fold.len() as f64
        };
        let of_class = |class: usize| {
            let equal = equal(class);
            self.of_fold.iter().map(|it| (it[class] - equal).abs()).fold(0.0, f64::max)
        };
        let of_classes = (0..n_classes).map(|it| (of_class(it), it));
        of_classes.fold((0.0, 0), |most, it| if it.0 > most.0 { it } else { most })
    }

    /// Makes the change of a group that lowers the sum most: a move, or an exchange with a partner. Returns
    /// whether there was one.
    fn improve(&mut self, group: usize, partners: impl Iterator<Item = usize>) -> bool {
        let Some(from) = self.fold_of[group] else { return false };
        let leave = self.product(group, group) - self.pull(group, from);
        let (mut best, mut change) = (-LEAST, None);
        let arrive: Vec<f64> = (0..self.of_fold.len()).map(|to| self.pull(group, to)).collect();
        for (to, pull) in arrive.iter().enumerate().filter(|it| it.0 != from) {
            if pull + leave < best {
                (best, change) = (pull + leave, Some((to, None)));
            }
        }
        for other in partners {
            let Some(to) = self.fold_of[other].filter(|it| *it != from) else { continue };
            let back = self.product(other, other) - self.pull(other, to) + self.pull(other, from);
            // Both are absent from the fold that they leave.
            let sum = arrive[to] + leave + back - 2.0 * self.product(group, other);
            if sum < best {
                (best, change) = (sum, Some((to, Some(other))));
            }
        }
        let Some((to, other)) = change else { return false };
        self.put(group, to);
        other.into_iter().for_each(|it| self.put(it, from));
        true
    }

    /// Returns the sum over classes of weight x images of the group x images of the fold: half of what the group
    /// adds to the sum there, less its own part.
    fn pull(&self, group: usize, fold: usize) -> f64 {
        let of_fold = &self.of_fold[fold];
        self.counts[group].iter().map(|&(class, n)| self.weights[class] * n * of_fold[class]).sum()
    }

    /// Returns the same of two groups.
    fn product(&self, a: usize, b: usize) -> f64 {
        let (mut b, mut sum) = (self.counts[b].as_slice(), 0.0);
        for &(class, n) in &self.counts[a] {
            while b.first().is_some_and(|it| it.0 < class) {
                b = &b[1..];
            }
            if let Some(&(other, m)) = b.first()
                && other == class
            {
                sum += self.weights[class] * n * m;
            }
        }
        sum
    }

    /// Puts a group into a fold, from another one if it was in one.
    fn put(&mut self, group: usize, to: usize) {
        let from = self.fold_of[group].replace(to);
        for &(class, n) in &self.counts[group] {
            from.into_iter().for_each(|it| self.of_fold[it][class] -= n);
            self.of_fold[to][class] += n;
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{Candidate, exchange, is_even};

    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

    fn candidates<'a>(
        counts: &'a [Vec<(usize, usize)>],
        strata: &'a [[usize; 1]],
    ) -> Vec<Candidate<'a>> {
        let of =
            |it: usize| Candidate { name: NAMES[it], stratum: &strata[it], counts: &counts[it] };
        (0..counts.len()).map(of).collect()
    }

    #[test]
    fn a_large_group_is_alone_in_its_fold() {
        // 5 images in one group, and 1 in each of 5: the only equal shares.
        let counts: Vec<Vec<(usize, usize)>> =
            [5, 1, 1, 1, 1, 1].iter().map(|&it| vec![(0, it)]).collect();
        let strata = [[0]; 6];
        let folds = exchange(&candidates(&counts, &strata), 2, Seed(0));
        assert_eq!(folds, [vec![0], vec![1, 2, 3, 4, 5]]);
    }

    #[test]
    fn classes_are_even_and_the_order_of_groups_does_not_matter() {
        // Two groups of each class, with 2 images each.
        let counts: Vec<Vec<(usize, usize)>> = (0..4).map(|it| vec![(it / 2, 2)]).collect();
        let strata = [[0]; 6];
        let mut all = candidates(&counts, &strata);
        let names = |folds: Vec<Vec<usize>>, of: &[Candidate<'_>]| -> Vec<Vec<String>> {
            let sorted = |fold: Vec<usize>| {
                let mut names: Vec<String> = fold.iter().map(|&it| of[it].name.into()).collect();
                names.sort();
                names
            };
            folds.into_iter().map(sorted).collect()
        };
        let folds = exchange(&all, 2, Seed(0));
        for fold in &folds {
            assert_eq!((fold.len(), fold[0] / 2, fold[1] / 2), (2, 0, 1), "{folds:?}");
        }
        let before = names(folds, &all);
        all.reverse();
        assert_eq!(names(exchange(&all, 2, Seed(0)), &all), before);
    }

    #[test]
    fn equal_groups_of_a_stratum_are_even() {
        let even = vec![vec![(0, 2), (3, 1)], vec![(0, 2), (3, 1)], vec![(1, 4)]];
        let strata = [[0], [0], [1]];
        assert!(is_even(&candidates(&even, &strata)));
        // Another number of images, another class, or a class in two strata.
        for (at, other) in [(1, vec![(0, 1), (3, 1)]), (1, vec![(0, 2)]), (2, vec![(3, 1)])] {
            let mut counts = even.clone();
            counts[at] = other;
            assert!(!is_even(&candidates(&counts, &strata)), "{counts:?}");
        }
    }
}
