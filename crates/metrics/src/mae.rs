//! The mean absolute error (MAE) of a number, such as an age: the mean of |predicted - true|, for heads that
//! predict a number.
//!
//! Over the images whose number is known; NaN if there are none.

use serde::{Deserialize, Serialize};

use crate::{Basis, Metric, Prediction, Sums};

/// `{ kind = "mae" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mae {}

impl Sums for Mae {
    /// Absolute errors, and images.
    fn n_sums(&self, _: usize) -> usize {
        2
    }

    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64)) {
        if let (Some(number), Some(truth)) = (it.number, it.true_number) {
            add(0, (number - truth).abs());
            add(1, 1.0);
        }
    }

    fn of(&self, sums: &[f64]) -> f64 {
        // 0 / 0 is NaN, as intended.
        sums[0] / sums[1]
    }
}

impl Metric for Mae {
    fn basis(&self) -> Basis<'_> {
        Basis::Sums(self)
    }

    fn more_is_better(&self) -> bool {
        false
    }

    fn needs_numbers(&self) -> bool {
        true
    }
}
