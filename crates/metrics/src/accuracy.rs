//! The share of images whose joint class is predicted correctly.

use serde::{Deserialize, Serialize};

use crate::{Basis, Metric, Prediction, Sums, quotient};

/// `{ kind = "accuracy" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accuracy {}

impl Sums for Accuracy {
    /// Correct predictions, and images.
    fn n_sums(&self, _: usize) -> usize {
        2
    }

    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64)) {
        add(0, f64::from(it.is_correct()));
        add(1, 1.0);
    }

    fn of(&self, sums: &[f64]) -> f64 {
        quotient(sums[0], sums[1])
    }
}

impl Metric for Accuracy {
    fn basis(&self) -> Basis<'_> {
        Basis::Sums(self)
    }

    fn more_is_better(&self) -> bool {
        true
    }
}
