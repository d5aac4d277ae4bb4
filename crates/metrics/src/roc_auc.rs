//! ROC AUC: the area under the curve of the true positive rate over the false positive rate.
//!
//! It is the probability that a random image of a class has a higher probability of that class than a random
//! image of another class; ties count half. One class against the rest, averaged over the classes:
//!
//! AUC_c = Σ_steps Δn (p + Δp / 2) / (P N), where a step of equal probabilities has Δp positives and Δn
//! negatives, p positives are ranked above it, and P and N are all of them.
//!
//! As scikit-learn's `roc_auc_score(multi_class="ovr", average="macro")`, which refuses data where a class does
//! not occur. Here classes without images, or without images of other classes, are left out; NaN if no class
//! remains.
//!
//! Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic curve", 1982.

use serde::{Deserialize, Serialize};

use crate::{Basis, Counts, Metric, Ranking};

/// `{ kind = "roc_auc" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RocAuc {}

impl Ranking for RocAuc {
    fn area(&self, above: Counts, step: Counts) -> f64 {
        step.negatives * (above.positives + step.positives / 2.0)
    }

    fn of(&self, area: f64, all: Counts) -> f64 {
        // 0 / 0 is NaN, as intended.
        area / (all.positives * all.negatives)
    }
}

impl Metric for RocAuc {
    fn basis(&self) -> Basis<'_> {
        Basis::Ranking(self)
    }

    fn more_is_better(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};

    use super::RocAuc;
    use crate::{Metric as _, Predictions};

    fn auc(p: &[[f64; 3]], classes: &[usize]) -> f64 {
        let task = Task::new(vec![Factor::new("class", &["a", "b", "c"])]);
        let p = p.iter().map(|it| it.to_vec()).collect();
        RocAuc {}.score(&Predictions::new(task, p, classes.to_vec(), vec![0; classes.len()]))
    }

    #[test]
    fn pairs_in_order_count_one_and_ties_half() {
        // Class a: 0.5 is above 0.2 and ties with 0.5; 0.3 is above 0.2 only: 2.5 of 4 pairs.
        // Class b is ranked by 0.4, 0.2 against 0.3, 0.1: 3 of 4. Class c does not occur.
        let p = [[0.5, 0.3, 0.2], [0.3, 0.1, 0.6], [0.2, 0.4, 0.4], [0.5, 0.2, 0.3]];
        assert_eq!(auc(&p, &[0, 0, 1, 1]), (2.5 / 4.0 + 3.0 / 4.0) / 2.0);
    }

    #[test]
    fn equal_probabilities_are_chance() {
        assert_eq!(auc(&[[0.2, 0.3, 0.5]; 5], &[0, 1, 2, 1, 0]), 0.5);
    }

    #[test]
    fn without_two_classes_there_is_none() {
        assert!(auc(&[], &[]).is_nan());
        assert!(auc(&[[1.0, 0.0, 0.0]], &[0]).is_nan());
        assert!(auc(&[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], &[2, 2]).is_nan());
    }
}
