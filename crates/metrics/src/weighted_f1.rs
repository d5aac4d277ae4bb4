//! Weighted F1: the mean F1 of the classes, each weighted by the number of its images.
//!
//! F1 = 2 tp / (2 tp + fp + fn), as in `macro_f1`. As scikit-learn's `f1_score(average="weighted")`.
//! A class that does not occur has no weight, even where it is predicted.

use serde::{Deserialize, Serialize};

use crate::{Basis, Metric, Prediction, Sums, quotient};

/// `{ kind = "weighted_f1" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightedF1 {}

impl Sums for WeightedF1 {
    /// For each class its true positives, its images, and how often it is predicted.
    fn n_sums(&self, n_classes: usize) -> usize {
        3 * n_classes
    }

    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64)) {
        if it.is_correct() {
            add(3 * it.class, 1.0);
        }
        add(3 * it.class + 1, 1.0);
        add(3 * it.predicted + 2, 1.0);
    }

    fn of(&self, sums: &[f64]) -> f64 {
        let f1 = |it: &[f64]| quotient(2.0 * it[0], it[1] + it[2]);
        let weighted = sums.chunks(3).map(|it| (it[1], it[1] * f1(it)));
        let (n, sum) = weighted.fold((0.0, 0.0), |(n, sum), it| (n + it.0, sum + it.1));
        quotient(sum, n)
    }
}

impl Metric for WeightedF1 {
    fn basis(&self) -> Basis<'_> {
        Basis::Sums(self)
    }

    fn more_is_better(&self) -> bool {
        true
    }
}
