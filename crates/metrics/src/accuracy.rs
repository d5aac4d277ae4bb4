//! The share of pictures whose joint class is predicted right.

use base::Task;
use serde::{Deserialize, Serialize};

use crate::{Metric, Predictions, quotient};

/// `{ kind = "accuracy" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accuracy {}

impl Metric for Accuracy {
    /// Hits, and pictures.
    fn n_sums(&self, _: &Task) -> usize {
        2
    }

    fn add(&self, predictions: &Predictions, picture: usize, add: &mut dyn FnMut(usize, f64)) {
        let is_hit = predictions.classes[picture] == predictions.predicted[picture];
        add(0, f64::from(is_hit));
        add(1, 1.0);
    }

    fn of(&self, sums: &[f64]) -> f64 {
        quotient(sums[0], sums[1])
    }

    fn more_is_better(&self) -> bool {
        true
    }
}
