//! Macro F1: the mean F1 over the joint classes. The competition's metric.
//!
//! F1 = 2 tp / (2 tp + fp + fn), the harmonic mean of precision and recall.
//! A class that neither occurs nor is predicted has no F1. It is left out, as in scikit-learn's
//! `f1_score(average="macro")` without `labels`; or it counts as 0, as there with all `labels`.
//! A class that is predicted but does not occur, or occurs but is never predicted, counts as 0 in both cases.

use serde::{Deserialize, Serialize};

use crate::{Basis, Metric, Prediction, Sums, quotient};

/// `{ kind = "macro_f1", absent = "skip" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MacroF1 {
    /// How a class that neither occurs nor is predicted counts.
    pub absent: Absent,
}

/// How a class that neither occurs nor is predicted counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absent {
    /// Leave it out.
    #[default]
    Skip,
    /// Count it as 0: the mean is over every class of the task.
    Zero,
}

impl MacroF1 {
    /// As in the competition.
    pub const DEFAULT: MacroF1 = MacroF1 { absent: Absent::Skip };
}

impl Sums for MacroF1 {
    /// For each class its true positives; and how often it is the true or the predicted class.
    fn n_sums(&self, n_classes: usize) -> usize {
        2 * n_classes
    }

    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64)) {
        if it.is_correct() {
            add(2 * it.class, 1.0);
        }
        add(2 * it.class + 1, 1.0);
        add(2 * it.predicted + 1, 1.0);
    }

    fn of(&self, sums: &[f64]) -> f64 {
        let takes_part = |it: &&[f64]| self.absent == Absent::Zero || it[1] > 0.0;
        let scores = sums.chunks(2).filter(takes_part).map(|it| quotient(2.0 * it[0], it[1]));
        let (n, sum) = scores.fold((0.0, 0.0), |(n, sum), it| (n + 1.0, sum + it));
        quotient(sum, n)
    }
}

impl Metric for MacroF1 {
    fn basis(&self) -> Basis<'_> {
        Basis::Sums(self)
    }

    fn more_is_better(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};

    use super::{Absent, MacroF1};
    use crate::{Metric as _, Predictions};

    /// The macro F1 of (true, predicted) pairs of three classes.
    fn score(absent: Absent, pairs: &[(usize, usize)]) -> f64 {
        let task = Task::new(vec![Factor::new("class", &["a", "b", "c"])]);
        let one_hot = |at: usize| (0..3).map(|it| f64::from(it == at)).collect();
        let probabilities = pairs.iter().map(|it| one_hot(it.1)).collect();
        let classes = pairs.iter().map(|it| it.0).collect();
        let predictions = Predictions::new(task, probabilities, classes, vec![0; pairs.len()]);
        MacroF1 { absent }.score(&predictions)
    }

    #[test]
    fn a_class_that_neither_occurs_nor_is_predicted_is_skipped_or_counts_as_zero() {
        assert_eq!(score(Absent::Skip, &[(0, 0), (1, 1)]), 1.0);
        assert_eq!(score(Absent::Zero, &[(0, 0), (1, 1)]), 2.0 / 3.0);
    }

    #[test]
    fn a_class_that_is_only_predicted_counts_as_zero_in_both_modes() {
        for absent in [Absent::Skip, Absent::Zero] {
            assert_eq!(score(absent, &[(0, 0), (1, 2)]), 1.0 / 3.0);
        }
    }

    #[test]
    fn f1_is_the_harmonic_mean() {
        // Class 0: 3 of 4 found, 1 false positive: 3/4. Class 1: 2 of 3 found, 1 false positive: 2/3.
        let pairs = [(0, 0), (0, 0), (0, 0), (0, 1), (1, 1), (1, 1), (1, 0)];
        assert!((score(Absent::Skip, &pairs) - (0.75 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
    }
}
