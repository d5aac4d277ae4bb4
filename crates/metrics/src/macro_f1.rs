//! The mean over the joint classes of F1: the competition's score.
//!
//! F1 = 2 tp / (2 tp + fp + fn), the harmonic mean of precision and recall.
//! A class that neither occurs nor is predicted has none. It is left out, as scikit-learn's
//! `f1_score(average="macro")` does without `labels`; or it counts as 0, as there with all `labels`.
//! One that is predicted and does not occur, or occurs and is never predicted, counts as 0 in both.

use serde::{Deserialize, Serialize};

use crate::{Metric, Prediction, quotient};

/// `{ kind = "macro_f1", absent = "skip" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MacroF1 {
    /// What a class counts as that neither occurs nor is predicted.
    pub absent: Absent,
}

/// What a class counts as that neither occurs nor is predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absent {
    /// Not at all.
    #[default]
    Skip,
    /// 0: every class of the task counts.
    Zero,
}

impl MacroF1 {
    /// As the competition has it.
    pub const USUAL: MacroF1 = MacroF1 { absent: Absent::Skip };
}

impl Metric for MacroF1 {
    /// For each class its hits; and how often it is the truth or the prediction.
    fn n_sums(&self, n_classes: usize) -> usize {
        2 * n_classes
    }

    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64)) {
        if it.is_hit() {
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

    fn more_is_better(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};

    use super::{Absent, MacroF1};
    use crate::{Metric as _, Predictions};

    /// The macro F1 of pairs of (true, predicted) class of three.
    fn score(absent: Absent, pairs: &[(usize, usize)]) -> f64 {
        let task = Task { factors: vec![Factor::new("class", &["a", "b", "c"])] };
        let one_hot = |at: usize| (0..3).map(|it| f64::from(it == at)).collect();
        let probabilities = pairs.iter().map(|it| one_hot(it.1)).collect();
        let classes = pairs.iter().map(|it| it.0).collect();
        let predictions = Predictions::new(task, probabilities, classes, vec![0; pairs.len()]);
        MacroF1 { absent }.score(&predictions)
    }

    #[test]
    fn a_class_that_neither_occurs_nor_is_predicted_is_left_out_or_counts_as_nothing() {
        assert_eq!(score(Absent::Skip, &[(0, 0), (1, 1)]), 1.0);
        assert_eq!(score(Absent::Zero, &[(0, 0), (1, 1)]), 2.0 / 3.0);
    }

    #[test]
    fn a_class_that_is_only_predicted_counts_as_nothing_by_either_rule() {
        for absent in [Absent::Skip, Absent::Zero] {
            assert_eq!(score(absent, &[(0, 0), (1, 2)]), 1.0 / 3.0);
        }
    }

    #[test]
    fn f1_is_the_harmonic_mean() {
        // Class 0: 3 hits of 4, and 1 false alarm: 3/4. Class 1: 2 hits of 3, 1 false alarm: 2/3.
        let pairs = [(0, 0), (0, 0), (0, 0), (0, 1), (1, 1), (1, 1), (1, 0)];
        assert!((score(Absent::Skip, &pairs) - (0.75 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
    }
}
