//! The mean recall of the classes that occur: the accuracy if all classes were equally frequent.
//!
//! recall = tp / (tp + fn). As scikit-learn's `balanced_accuracy_score`: a class that does not occur
//! has no recall and is left out, even where it is predicted.
//!
//! Brodersen et al., "The balanced accuracy and its posterior distribution", 2010.

use serde::{Deserialize, Serialize};

use crate::{Basis, Metric, Prediction, Sums, quotient};

/// `{ kind = "balanced_accuracy" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BalancedAccuracy {}

impl Sums for BalancedAccuracy {
    /// For each class its correct predictions and its images.
    fn n_sums(&self, n_classes: usize) -> usize {
        2 * n_classes
    }

    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64)) {
        add(2 * it.class, f64::from(it.is_correct()));
        add(2 * it.class + 1, 1.0);
    }

    fn of(&self, sums: &[f64]) -> f64 {
        let recalls = sums.chunks(2).filter(|it| it[1] > 0.0).map(|it| it[0] / it[1]);
        let (n, sum) = recalls.fold((0.0, 0.0), |(n, sum), it| (n + 1.0, sum + it));
        quotient(sum, n)
    }
}

impl Metric for BalancedAccuracy {
    fn basis(&self) -> Basis<'_> {
        Basis::Sums(self)
    }

    fn more_is_better(&self) -> bool {
        true
    }
}
