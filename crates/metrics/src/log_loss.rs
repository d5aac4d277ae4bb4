//! The mean of -ln p of the true class, p clipped below at 1e-15.
//!
//! Clipping keeps a single error with probability 0 from making the mean infinite; scikit-learn clips at the
//! machine epsilon of the dtype, which for f64 is 2.2e-16.

use serde::{Deserialize, Serialize};

use crate::{Metric, Prediction, quotient};

/// `{ kind = "log_loss" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogLoss {}

impl Metric for LogLoss {
    /// The losses, and images.
    fn n_sums(&self, _: usize) -> usize {
        2
    }

    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64)) {
        let p = it.probabilities[it.class];
        add(0, -p.max(1e-15).ln());
        add(1, 1.0);
    }

    fn of(&self, sums: &[f64]) -> f64 {
        quotient(sums[0], sums[1])
    }

    fn more_is_better(&self) -> bool {
        false
    }
}
