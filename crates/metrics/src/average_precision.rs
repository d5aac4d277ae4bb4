//! Average precision: the area under the curve of precision over recall, as steps without interpolation.
//!
//! One class against the rest, averaged over the classes:
//!
//! AP_c = Σ_steps ΔR · P, where the images are ranked by the probability of the class, a step has all images of
//! one probability, ΔR is the share of the class's images in it, and P the share of the class among the images
//! down to and including it.
//!
//! As scikit-learn's `average_precision_score(average="macro")`. A class without images has no recall and is
//! left out, where scikit-learn counts 0; NaN if no class remains.

use serde::{Deserialize, Serialize};

use crate::{Basis, Counts, Metric, Ranking};

/// `{ kind = "average_precision" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AveragePrecision {}

impl Ranking for AveragePrecision {
    fn area(&self, above: Counts, step: Counts) -> f64 {
        let positives = above.positives + step.positives;
        let all = positives + above.negatives + step.negatives;
        step.positives * (positives / all)
    }

    fn of(&self, area: f64, all: Counts) -> f64 {
        // 0 / 0 is NaN, as intended.
        area / all.positives
    }
}

impl Metric for AveragePrecision {
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

    use super::AveragePrecision;
    use crate::{Metric as _, Predictions};

    fn average_precision(p: &[[f64; 3]], classes: &[usize]) -> f64 {
        let task = Task::new(vec![Factor::new("class", &["a", "b", "c"])]);
        let p = p.iter().map(|it| it.to_vec()).collect();
        let all = Predictions::new(task, p, classes.to_vec(), vec![0; classes.len()]);
        AveragePrecision {}.score(&all)
    }

    #[test]
    fn precision_is_averaged_over_steps_of_recall() {
        // Class a: 0.5 twice, of which one is right: precision 1/2; then 0.3: precision 2/3.
        // Class b: 0.4 is right: 1; 0.3 is not; then 0.2: 2/3. Class c does not occur.
        let p = [[0.5, 0.3, 0.2], [0.3, 0.1, 0.6], [0.2, 0.4, 0.4], [0.5, 0.2, 0.3]];
        let want = ((0.5 + 2.0 / 3.0) / 2.0 + (1.0 + 2.0 / 3.0) / 2.0) / 2.0;
        assert!((average_precision(&p, &[0, 0, 1, 1]) - want).abs() < 1e-12);
    }

    #[test]
    fn equal_probabilities_have_the_precision_of_chance() {
        let got = average_precision(&[[0.2, 0.3, 0.5]; 4], &[0, 1, 1, 1]);
        assert_eq!(got, (0.25 + 0.75) / 2.0);
    }

    #[test]
    fn a_class_alone_has_a_precision_and_no_image_has_none() {
        assert!(average_precision(&[], &[]).is_nan());
        assert_eq!(average_precision(&[[0.1, 0.9, 0.0]], &[0]), 1.0);
    }
}
