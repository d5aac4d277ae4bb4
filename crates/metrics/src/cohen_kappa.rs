//! Cohen's kappa: the agreement of predicted and true classes beyond that of chance.
//!
//! κ = 1 - Σ_ij w_ij O_ij / Σ_ij w_ij E_ij, where O_ij is the number of images of class i predicted as j, and
//! E_ij = r_i c_j / n the number expected by chance if r_i images are of class i and c_j predicted as j.
//! An error weighs w_ij = 1, |i - j| (`linear`) or (i - j)² (`quadratic`). The last two need ordered classes,
//! such as the ranges of a number; of several factors together the joint classes are not ordered.
//!
//! As scikit-learn's `cohen_kappa_score` with all classes as `labels`; without `labels` it counts only classes
//! that occur or are predicted, and the distances of weighted errors shrink where one is absent.
//! NaN where chance makes no error: all images are of one class, and predicted as such; and without images.
//!
//! The confusion matrix is not needed: O only enters as a sum over images, and E only through r and c. So 1,000
//! classes have 2,001 sums, not 1,000,000.
//!
//! Cohen, "A coefficient of agreement for nominal scales", 1960; "Weighted kappa", 1968.

use serde::{Deserialize, Serialize};

use crate::{Basis, Metric, Prediction, Sums};

/// `{ kind = "cohen_kappa", weights = "none" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CohenKappa {
    /// How much an error weighs.
    pub weights: Weights,
}

/// How much an error weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// All errors the same.
    #[default]
    None,
    /// By the distance of the classes.
    Linear,
    /// By the square of their distance.
    Quadratic,
}

impl Weights {
    /// The weight of an error between two classes.
    fn of(self, a: usize, b: usize) -> f64 {
        let distance = a.abs_diff(b) as f64;
        match self {
            Weights::None => f64::from(a != b),
            Weights::Linear => distance,
            Weights::Quadratic => distance * distance,
        }
    }

    /// The sum over all pairs of classes of `weight · a_i b_j`, in time linear in the number of classes.
    ///
    /// - `sums`: a and b of each class in turn.
    fn of_all(self, sums: &[f64]) -> f64 {
        let pairs = || sums.chunks(2).map(|it| (it[0], it[1]));
        let (all_a, all_b) = pairs().fold((0.0, 0.0), |(a, b), it| (a + it.0, b + it.1));
        match self {
            Weights::None => all_a * all_b - pairs().map(|(a, b)| a * b).sum::<f64>(),
            // A distance is the number of borders in between.
            Weights::Linear => {
                let (mut below_a, mut below_b) = (0.0, 0.0);
                let across = pairs().map(|(a, b)| {
                    (below_a, below_b) = (below_a + a, below_b + b);
                    below_a * (all_b - below_b) + below_b * (all_a - below_a)
                });
                across.sum()
            }
            // (i - j)² = i² - 2 i j + j², with i and j counted from the middle class.
            Weights::Quadratic => {
                let middle = (sums.len() / 2) as f64 / 2.0;
                let (mut a, mut b) = ([0.0; 2], [0.0; 2]);
                for (class, of) in pairs().enumerate() {
                    let i = class as f64 - middle;
                    a = [a[0] + i * of.0, a[1] + i * i * of.0];
                    b = [b[0] + i * of.1, b[1] + i * i * of.1];
                }
                a[1] * all_b - 2.0 * (a[0] * b[0]) + b[1] * all_a
            }
        }
    }
}

impl Sums for CohenKappa {
    /// The weights of errors; and for each class its images, and how often it is predicted.
    fn n_sums(&self, n_classes: usize) -> usize {
        1 + 2 * n_classes
    }

    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64)) {
        if !it.is_correct() {
            add(0, self.weights.of(it.class, it.predicted));
        }
        add(1 + 2 * it.class, 1.0);
        add(2 + 2 * it.predicted, 1.0);
    }

    fn of(&self, sums: &[f64]) -> f64 {
        let n: f64 = sums[1..].iter().step_by(2).sum();
        let expected = self.weights.of_all(&sums[1..]) / n;
        // 0 / 0 is NaN, as intended.
        1.0 - sums[0] / expected
    }
}

impl Metric for CohenKappa {
    fn basis(&self) -> Basis<'_> {
        Basis::Sums(self)
    }

    fn more_is_better(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};

    use super::{CohenKappa, Weights};
    use crate::{Metric as _, Predictions};

    const ALL: [Weights; 3] = [Weights::None, Weights::Linear, Weights::Quadratic];

    /// The kappa of (true, predicted) pairs of four classes.
    fn kappa(weights: Weights, pairs: &[(usize, usize)]) -> f64 {
        let task = Task::new(vec![Factor::new("class", &["a", "b", "c", "d"])]);
        let one_hot = |at: usize| (0..4).map(|it| f64::from(it == at)).collect();
        let probabilities = pairs.iter().map(|it| one_hot(it.1)).collect();
        let classes = pairs.iter().map(|it| it.0).collect();
        let all = Predictions::new(task, probabilities, classes, vec![0; pairs.len()]);
        CohenKappa { weights }.score(&all)
    }

    #[test]
    fn a_distant_error_weighs_more() {
        // r = 2, 1, 0, 1 and c = 1, 1, 1, 1. One error of distance 2; chance: 4 - (2 + 1 + 0 + 1) / 4 = 3
        // errors, of distance (2 · 6 + 4 + 6) / 4 = 5.5 and of square (2 · 14 + 6 + 14) / 4 = 12.
        let pairs = [(0, 0), (0, 2), (1, 1), (3, 3)];
        let want = [1.0 - 1.0 / 3.0, 1.0 - 2.0 / 5.5, 1.0 - 4.0 / 12.0];
        for (weights, want) in ALL.into_iter().zip(want) {
            assert!((kappa(weights, &pairs) - want).abs() < 1e-12, "{weights:?}");
        }
    }

    #[test]
    fn agreement_by_chance_is_zero_and_no_error_is_one() {
        let chance = [(0, 0), (0, 3), (3, 0), (3, 3)];
        let all_right = [(0, 0), (1, 1), (3, 3)];
        for weights in ALL {
            assert!(kappa(weights, &chance).abs() < 1e-12, "{weights:?}");
            assert_eq!(kappa(weights, &all_right), 1.0, "{weights:?}");
        }
    }

    #[test]
    fn where_chance_makes_no_error_there_is_no_kappa() {
        for weights in ALL {
            assert!(kappa(weights, &[]).is_nan(), "{weights:?}");
            assert!(kappa(weights, &[(2, 2)]).is_nan(), "{weights:?}");
            assert!(kappa(weights, &[(2, 2); 7]).is_nan(), "{weights:?}");
            // A single error is as chance has it.
            assert_eq!(kappa(weights, &[(2, 1)]), 0.0, "{weights:?}");
        }
    }
}
