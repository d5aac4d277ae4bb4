//! The mean over the joint classes of F1: the competition's score.
//!
//! See `confusion.rs` for the formula and for classes that do not occur.

use serde::{Deserialize, Serialize};

use crate::{Confusion, Metric, Predictions};

/// `{ kind = "macro_f1" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MacroF1 {}

impl Metric for MacroF1 {
    fn score(&self, predictions: &Predictions) -> f64 {
        let pairs = predictions.classes.iter().copied().zip(predictions.predicted());
        Confusion::of(predictions.task.n_classes(), pairs).macro_f1()
    }

    fn more_is_better(&self) -> bool {
        true
    }
}
