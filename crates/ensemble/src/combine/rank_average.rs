//! Rank average: the mean of the members' ranks, for members whose probabilities are not on the same scale.
//!
//! The rank of a probability is that among the member's held-out probabilities of the same class, from 0 to 1: an
//! image's rank does not depend on which images are predicted with it. Of a class and member K quantiles q_0 … q_{K-1}
//! of the held-out probabilities are stored (numpy's `quantile` at k / (K - 1)), whose ranks are (k + ½) / K; between
//! them it is interpolated, and for a value that several quantiles share it is the mean of theirs. Then
//!
//! p_c = r_c / Σ_c r_c with r_c = Σ_m w_m rank_mc / Σ_m w_m.
//!
//! Ranks compare images within a class, not classes within an image: good for a ranking metric such as the ROC AUC;
//! the most probable class of a rank average is often a rare one. The ranks of an image in the test data alone, as
//! usual in competitions, need all images at once, and change with them.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Combine, CombineConfig, mean, problem_of_weights};
use crate::{Fit, HeldOut};

/// `{ kind = "rank_average", weights = [0.3, 0.7] }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankAverage {
    /// The weight of each member, from 0 on; empty for equal ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<f64>,
    /// Quantiles of the held-out probabilities, from 0 to 1, `[member][class][quantile]`; fitted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<Vec<Vec<f64>>>,
}

/// The largest number of quantiles of a class.
const MOST: usize = 101;

/// The largest number of quantiles of all members and classes, as long as each class has [`LEAST`].
const MOST_OF_ALL: usize = 100_000;

/// The least number of quantiles of a class, unless there are fewer images.
const LEAST: usize = 11;

impl Combine for RankAverage {
    fn combine(&self, members: &[&[f64]]) -> Vec<f64> {
        let ranks: Vec<Vec<f64>> =
            members.iter().zip(&self.quantiles).map(|(row, of)| ranks(row, of)).collect();
        let mut means = mean(ranks.iter().map(Vec::as_slice), &self.weights);
        let sum: f64 = means.iter().sum();
        means.iter_mut().for_each(|it| *it /= sum);
        means
    }

    fn problem(&self, n_members: usize, n_classes: usize) -> Option<String> {
        let is_fine = |of: &Vec<f64>| {
            (1..=MOST).contains(&of.len())
                && of.iter().all(|it| it.is_finite())
                && of.windows(2).all(|it| it[0] <= it[1])
        };
        let is_member = |of: &Vec<Vec<f64>>| of.len() == n_classes && of.iter().all(is_fine);
        if self.quantiles.len() != n_members || !self.quantiles.iter().all(is_member) {
            return Some(format!(
                "`quantiles` are 1 to {MOST} rising numbers for each of {n_classes} classes of each of \
                 {n_members} members"
            ));
        }
        problem_of_weights(&self.weights, n_members)
    }

    fn weights(&self) -> Option<&[f64]> {
        Some(&self.weights)
    }

    fn fit(&self, held_out: &HeldOut, how: &Fit) -> Result<CombineConfig, String> {
        let (n_members, n_classes) = (held_out.members.len(), held_out.task.n_classes());
        let n = (MOST_OF_ALL / (n_members * n_classes).max(1)).clamp(LEAST, MOST);
        let n = n.min(held_out.n_images());
        let of_class = |member: usize, class: usize| {
            let all = held_out.members[member].iter().skip(class).step_by(n_classes);
            quantiles(all.copied().collect(), n)
        };
        let of_member = |member: usize| {
            (0..n_classes).into_par_iter().map(|class| of_class(member, class)).collect()
        };
        let quantiles: Vec<Vec<Vec<f64>>> = (0..n_members).map(of_member).collect();
        let weights = match how.is_fitted() {
            true => how.weights_of(&held_out.each(|member, row| ranks(row, &quantiles[member]))),
            false => how.weights_of(held_out),
        };
        Ok(CombineConfig::RankAverage(RankAverage { weights, quantiles }))
    }

    fn is_fitted(&self, _how: &Fit) -> bool {
        true
    }
}

/// Returns `n` quantiles at equal distances, interpolated as in numpy.
fn quantiles(mut all: Vec<f64>, n: usize) -> Vec<f64> {
    all.sort_unstable_by(f64::total_cmp);
    let quantile = |k: usize| {
        let at = (all.len() - 1) as f64 * k as f64 / (n - 1).max(1) as f64;
        let (low, share) = (at.floor() as usize, at.fract());
        let high = (low + 1).min(all.len() - 1);
        (all[low] + (all[high] - all[low]) * share).min(all[high])
    };
    (0..n).map(quantile).collect()
}

/// Returns the ranks of a member's probabilities for one image, given the quantiles of each class.
fn ranks(row: &[f64], quantiles: &[Vec<f64>]) -> Vec<f64> {
    row.iter().zip(quantiles).map(|(&p, of)| rank(p, of)).collect()
}

/// Returns the rank of a probability among the quantiles of its class, between 0 and 1.
fn rank(p: f64, quantiles: &[f64]) -> f64 {
    if p.is_nan() {
        return p;
    }
    let n = quantiles.len();
    // Of the quantiles, `n_lower` are lower than p, and those up to `n_up_to` are not higher.
    let n_lower = quantiles.partition_point(|it| *it < p);
    let n_up_to = quantiles.partition_point(|it| *it <= p);
    let position = if n_lower < n_up_to {
        (n_lower + n_up_to - 1) as f64 / 2.0
    } else if n_lower == 0 {
        0.0
    } else if n_lower == n {
        (n - 1) as f64
    } else {
        let (low, high) = (quantiles[n_lower - 1], quantiles[n_lower]);
        (n_lower - 1) as f64 + (p - low) / (high - low)
    };
    (position + 0.5) / n as f64
}

#[cfg(test)]
mod tests {
    use testkit::check_close_slices;

    use super::{Combine as _, RankAverage, quantiles, rank};

    #[test]
    fn quantiles_are_interpolated() {
        // At positions 0, 1.5 and 3 of the sorted numbers.
        assert_eq!(quantiles(vec![4.0, 1.0, 8.0, 2.0], 3), [1.0, 3.0, 8.0]);
        assert_eq!(quantiles(vec![7.0], 1), [7.0]);
    }

    #[test]
    fn ranks_are_interpolated_and_tied_quantiles_share_theirs() {
        // Their ranks are 1/8, 3/8, 5/8 and 7/8; the tied ones have 1/2.
        let of = [0.0, 0.2, 0.2, 0.6];
        let got = [-1.0, 0.0, 0.1, 0.2, 0.3, 0.6, 9.0].map(|p| rank(p, &of));
        let want = [0.125, 0.125, 0.25, 0.5, 0.625 + 0.25 * 0.25, 0.875, 0.875];
        check_close_slices(&got, &want, 1e-12);
        assert!(rank(f64::NAN, &of).is_nan());
        assert_eq!(rank(0.3, &[0.5]), 0.5);
    }

    #[test]
    fn a_member_with_small_probabilities_counts_as_much_as_the_others() {
        // Both members rank the first class at 7/8 and the second at 1/8 and 3/8.
        let quantiles = vec![
            vec![vec![0.0, 0.2, 0.4, 0.6], vec![0.4, 0.6, 0.8, 1.0]],
            vec![vec![0.0, 0.002, 0.004, 0.006], vec![0.0, 0.002, 0.004, 0.006]],
        ];
        let it = RankAverage { quantiles, weights: vec![] };
        assert_eq!(it.problem(2, 2), None);
        // Mean ranks 7/8 and 1/4: 7/9 and 2/9.
        let got = it.combine(&[&[0.6, 0.4], &[0.006, 0.002]]);
        check_close_slices(&got, &[7.0 / 9.0, 2.0 / 9.0], 1e-12);
    }

    #[test]
    fn quantiles_of_other_members_or_classes_are_a_problem() {
        let it = RankAverage { quantiles: vec![vec![vec![0.1, 0.2]; 2]; 3], weights: vec![] };
        assert_eq!(it.problem(3, 2), None);
        assert!(it.problem(2, 2).unwrap().contains("`quantiles`"));
        assert!(it.problem(3, 3).unwrap().contains("each of 3 classes"));
        let falling = RankAverage { quantiles: vec![vec![vec![0.2, 0.1]]], weights: vec![] };
        assert!(falling.problem(1, 1).is_some());
    }
}
