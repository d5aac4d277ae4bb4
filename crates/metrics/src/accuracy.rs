//! The share of pictures whose joint class is predicted right.

use serde::{Deserialize, Serialize};

use crate::{Confusion, Metric, Predictions};

/// `{ kind = "accuracy" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accuracy {}

impl Metric for Accuracy {
    fn score(&self, predictions: &Predictions) -> f64 {
        let pairs = predictions.classes.iter().copied().zip(predictions.predicted());
        Confusion::of(predictions.task.n_classes(), pairs).accuracy()
    }

    fn more_is_better(&self) -> bool {
        true
    }
}
