//! The mean of -ln p of the true class, p cut off at 1e-15.
//!
//! The cut keeps one certain error from making the mean infinite; scikit-learn cuts at the smallest
//! step of the number format, which for f64 is 2.2e-16.

use base::task::Scope;
use serde::{Deserialize, Serialize};

use crate::{Metric, Predictions};

/// `{ kind = "log_loss" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogLoss {}

impl Metric for LogLoss {
    fn score(&self, predictions: &Predictions) -> f64 {
        log_loss(predictions, Scope::Joint)
    }

    fn more_is_better(&self) -> bool {
        false
    }
}

/// The log loss of the scope's marginal; 0 without pictures.
pub(crate) fn log_loss(predictions: &Predictions, scope: Scope) -> f64 {
    let task = &predictions.task;
    let loss = |(p, &class): (&Vec<f64>, &usize)| {
        -task.marginal(p, scope)[task.project(class, scope)].max(1e-15).ln()
    };
    let n = predictions.classes.len().max(1) as f64;
    predictions.probabilities.iter().zip(&predictions.classes).map(loss).sum::<f64>() / n
}
