//! The mean absolute error of the age, the mean of |years - age|, for heads that predict years.
//!
//! Over the images whose age is known; NaN if there are none.

use serde::{Deserialize, Serialize};

use crate::{Metric, Prediction};

/// `{ kind = "age_mae" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgeMae {}

impl Metric for AgeMae {
    /// Absolute errors in years, and images.
    fn n_sums(&self, _: usize) -> usize {
        2
    }

    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64)) {
        if let (Some(years), Some(age)) = (it.years, it.age) {
            add(0, (years - age).abs());
            add(1, 1.0);
        }
    }

    fn of(&self, sums: &[f64]) -> f64 {
        // 0 / 0 is NaN, as intended.
        sums[0] / sums[1]
    }

    fn more_is_better(&self) -> bool {
        false
    }

    fn needs_years(&self) -> bool {
        true
    }
}
