//! Hard vote: the weighted share of members whose most probable class it is.
//!
//! s_c = Σ_m w_m [argmax p_m = c] / Σ_m w_m; scikit-learn's `VotingClassifier(voting="hard")`, which gives a tie to
//! the lower class. Here a tie at the top goes to the class with the greater (weighted) mean probability p̄, and
//! only then to the lower class: the tied classes T share their votes in proportion to it,
//!
//! s_c = Σ_{t ∈ T} s_t · p̄_c / Σ_{t ∈ T} p̄_t.
//!
//! So the shares sum to 1, and the greatest is that of the winner.

use metrics::argmax;
use serde::{Deserialize, Serialize};

use super::{Combine, CombineConfig, mean, problem_of_weights};
use crate::{Fit, HeldOut};

/// `{ kind = "hard_vote", weights = [0.3, 0.7] }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HardVote {
    /// The weight of each member, from 0 on; empty for equal ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<f64>,
}

/// Shares that differ by less are tied: sums of weights differ by their rounding.
const TIED: f64 = 1e-9;

impl Combine for HardVote {
    fn combine(&self, members: &[&[f64]]) -> Vec<f64> {
        let means = mean(members.iter().copied(), &self.weights);
        if means.iter().any(|it| it.is_nan()) {
            return means;
        }
        let votes: Vec<Vec<f64>> = members.iter().map(|it| vote(it)).collect();
        let mut shares = mean(votes.iter().map(Vec::as_slice), &self.weights);
        let top = shares[argmax(&shares)];
        let tied: Vec<usize> = (0..shares.len()).filter(|&it| shares[it] > top - TIED).collect();
        let total: f64 = tied.iter().map(|&it| means[it]).sum();
        if tied.len() > 1 && total > 0.0 {
            let votes: f64 = tied.iter().map(|&it| shares[it]).sum();
            tied.iter().for_each(|&it| shares[it] = votes * (means[it] / total));
        }
        shares
    }

    fn problem(&self, n_members: usize, _n_classes: usize) -> Option<String> {
        problem_of_weights(&self.weights, n_members)
    }

    fn weights(&self) -> Option<&[f64]> {
        Some(&self.weights)
    }

    fn fit(&self, held_out: &HeldOut, how: &Fit) -> Result<CombineConfig, String> {
        // Probabilities decide ties only, as in `combine`.
        let ballot = |_: usize, row: &[f64]| {
            let mut votes = vote(row);
            votes.iter_mut().zip(row).for_each(|(it, p)| *it += TIED * p);
            votes
        };
        let weights = match how.is_fitted() {
            true => how.weights_of(&held_out.each(ballot)),
            false => how.weights_of(held_out),
        };
        Ok(CombineConfig::HardVote(HardVote { weights }))
    }

    fn is_fitted(&self, how: &Fit) -> bool {
        how.is_fitted()
    }
}

/// Returns 1 for the most probable class and 0 for the others.
fn vote(row: &[f64]) -> Vec<f64> {
    let mut votes = vec![0.0; row.len()];
    votes[argmax(row)] = 1.0;
    votes
}

#[cfg(test)]
mod tests {
    use metrics::argmax;
    use testkit::check_close_slices;

    use super::{Combine as _, HardVote};

    #[test]
    fn the_majority_wins_however_sure_the_others_are() {
        let it = HardVote::default();
        let shares = it.combine(&[&[0.5, 0.4, 0.1], &[0.4, 0.3, 0.3], &[0.0, 0.0, 1.0]]);
        check_close_slices(&shares, &[2.0 / 3.0, 0.0, 1.0 / 3.0], 1e-12);
    }

    #[test]
    fn a_tie_goes_to_the_class_with_the_greater_mean_probability() {
        // One vote each for 0 and 1, whose mean probabilities are 0.35 and 0.55: they share all votes as 7 : 11.
        let shares = HardVote::default().combine(&[&[0.6, 0.3, 0.1], &[0.1, 0.8, 0.1]]);
        check_close_slices(&shares, &[7.0 / 18.0, 11.0 / 18.0, 0.0], 1e-12);
        // Three votes for three classes: the mean probabilities 0.9, 1.2 and 0.9, by 3.
        let three = [&[0.5, 0.4, 0.1][..], &[0.3, 0.4, 0.3], &[0.1, 0.4, 0.5]];
        assert_eq!(argmax(&HardVote::default().combine(&three)), 1);
    }

    #[test]
    fn a_tie_of_equal_means_goes_to_the_lower_class() {
        let shares = HardVote::default().combine(&[&[0.25, 0.75], &[0.75, 0.25]]);
        assert_eq!((argmax(&shares), shares), (0, vec![0.5, 0.5]));
    }

    #[test]
    fn weights_that_sum_to_the_same_tie() {
        // 0.1 + 0.2 is not 0.3 in binary. The mean probabilities of 0 and 1 are 0.5 · 0.6 + 0.5 · 0.1 and
        // 0.5 · 0.4 + 0.5 · 0.9.
        let it = HardVote { weights: vec![0.1, 0.2, 0.3] };
        let shares = it.combine(&[&[0.6, 0.4], &[0.6, 0.4], &[0.1, 0.9]]);
        check_close_slices(&shares, &[0.35, 0.65], 1e-9);
    }

    #[test]
    fn nan_is_not_hidden() {
        let shares = HardVote::default().combine(&[&[f64::NAN, 0.4], &[0.6, 0.4]]);
        assert!(shares.iter().any(|it| it.is_nan()));
    }
}
