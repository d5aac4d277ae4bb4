//! Micro F1: F1 = 2 tp / (2 tp + fp + fn), where tp, fp and fn are counted over all classes together.
//!
//! As scikit-learn's `f1_score(average="micro")`. An image has one class, so an error is one false positive
//! and one false negative, and micro F1 equals the accuracy.

use serde::{Deserialize, Serialize};

use crate::{Basis, Metric, Prediction, Sums, quotient};

/// `{ kind = "micro_f1" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MicroF1 {}

impl Sums for MicroF1 {
    /// True positives; and false positives and false negatives.
    fn n_sums(&self, _: usize) -> usize {
        2
    }

    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64)) {
        match it.is_correct() {
            true => add(0, 1.0),
            false => add(1, 2.0),
        }
    }

    fn of(&self, sums: &[f64]) -> f64 {
        quotient(2.0 * sums[0], 2.0 * sums[0] + sums[1])
    }
}

impl Metric for MicroF1 {
    fn basis(&self) -> Basis<'_> {
        Basis::Sums(self)
    }

    fn more_is_better(&self) -> bool {
        true
    }
}
