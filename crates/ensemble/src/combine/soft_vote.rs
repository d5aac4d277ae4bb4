//! Soft vote: p_c = Σ_m w_m p_mc / Σ_m w_m.
//!
//! scikit-learn's `VotingClassifier(voting="soft")`; a linear opinion pool.

use serde::{Deserialize, Serialize};

use super::{Combine, CombineConfig, mean, problem_of_weights};
use crate::{Fit, HeldOut};

/// `{ kind = "soft_vote", weights = [0.3, 0.7] }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SoftVote {
    /// The weight of each member, from 0 on; empty for equal ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<f64>,
}

impl Combine for SoftVote {
    fn combine(&self, members: &[&[f64]]) -> Vec<f64> {
        mean(members.iter().copied(), &self.weights)
    }

    fn problem(&self, n_members: usize, _n_classes: usize) -> Option<String> {
        problem_of_weights(&self.weights, n_members)
    }

    fn weights(&self) -> Option<&[f64]> {
        Some(&self.weights)
    }

    fn fit(&self, held_out: &HeldOut, how: &Fit) -> Result<CombineConfig, String> {
        Ok(CombineConfig::SoftVote(SoftVote { weights: how.weights_of(held_out) }))
    }

    fn is_fitted(&self, how: &Fit) -> bool {
        how.is_fitted()
    }
}

#[cfg(test)]
mod tests {
    use base::{
        Task,
        task::{Factor, Scope, ScopePrediction},
    };
    use testkit::{check_close_slices, numbers};

    use super::{Combine as _, SoftVote};

    #[test]
    fn weights_need_not_sum_to_1() {
        // 3/4 of the first and 1/4 of the second: 0.6 + 0.05 and 0.15 + 0.2.
        let it = SoftVote { weights: vec![3.0, 1.0] };
        check_close_slices(&it.combine(&[&[0.8, 0.2], &[0.2, 0.8]]), &[0.65, 0.35], 1e-12);
    }

    #[test]
    fn the_bits_are_those_of_joining_predictions() {
        let task = Task::new(vec![Factor::new("class", &["a", "b", "c"])]);
        let all: Vec<f64> = numbers("votes", 5 * 3).iter().map(|it| it.abs()).collect();
        let rows: Vec<&[f64]> = all.chunks(3).collect();
        let whole = |row: &&[f64]| {
            vec![ScopePrediction { scope: Scope::Joint, probabilities: row.to_vec() }]
        };
        let whole: Vec<Vec<ScopePrediction>> = rows.iter().map(whole).collect();
        for weights in [vec![], vec![0.3, 0.1, 0.2, 0.05, 0.35]] {
            let want = task.join(&whole, &weights).unwrap();
            assert_eq!(SoftVote { weights }.combine(&rows), want);
        }
    }

    #[test]
    fn impossible_weights_are_a_problem() {
        let problem = |weights: &[f64]| SoftVote { weights: weights.to_vec() }.problem(2, 3);
        assert_eq!((problem(&[]), problem(&[0.0, 2.0])), (None, None));
        assert!(problem(&[1.0]).unwrap().contains("are 2 numbers"));
        for weights in [[0.0, 0.0], [-1.0, 2.0], [f64::NAN, 1.0], [f64::INFINITY, 1.0]] {
            assert!(problem(&weights).unwrap().contains("0 or more"), "{weights:?}");
        }
    }
}
