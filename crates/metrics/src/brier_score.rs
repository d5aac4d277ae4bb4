//! Brier score: the mean over images of Σ_c (p_c - y_c)², where y_c is 1 for the true class and 0 for others.
//!
//! From 0 to 2, lower is better. As scikit-learn's `brier_score_loss(scale_by_half=False)`, which is its
//! default for more than two classes; for two it halves by default.
//!
//! Brier, "Verification of forecasts expressed in terms of probability", 1950.

use serde::{Deserialize, Serialize};

use crate::{Basis, Metric, Prediction, Sums, quotient};

/// `{ kind = "brier_score" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrierScore {}

impl Sums for BrierScore {
    /// Squared differences, and images.
    fn n_sums(&self, _: usize) -> usize {
        2
    }

    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64)) {
        let square = |(class, p): (usize, &f64)| (p - f64::from(class == it.class)).powi(2);
        add(0, it.probabilities.iter().enumerate().map(square).sum());
        add(1, 1.0);
    }

    fn of(&self, sums: &[f64]) -> f64 {
        quotient(sums[0], sums[1])
    }
}

impl Metric for BrierScore {
    fn basis(&self) -> Basis<'_> {
        Basis::Sums(self)
    }

    fn more_is_better(&self) -> bool {
        false
    }
}
