//! Top-k accuracy: the share of images whose class is among the k most probable; ties are broken in favour
//! of the first class.
//!
//! Scikit-learn's `top_k_accuracy_score` breaks ties in favour of the last class.

use serde::{Deserialize, Serialize};

use crate::{Basis, Metric, Prediction, Sums, quotient};

/// `{ kind = "top_k", k = 2 }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopK {
    /// The number of most probable classes that count as predicted.
    pub k: usize,
}

impl Default for TopK {
    fn default() -> TopK {
        TopK { k: 2 }
    }
}

impl Sums for TopK {
    /// Correct predictions, and images.
    fn n_sums(&self, _: usize) -> usize {
        2
    }

    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64)) {
        let (p, actual) = (it.probabilities, it.class);
        let is_before =
            |&(class, x): &(usize, &f64)| *x > p[actual] || *x == p[actual] && class < actual;
        let rank = p.iter().enumerate().filter(is_before).count();
        add(0, f64::from(rank < self.k));
        add(1, 1.0);
    }

    fn of(&self, sums: &[f64]) -> f64 {
        quotient(sums[0], sums[1])
    }
}

impl Metric for TopK {
    fn basis(&self) -> Basis<'_> {
        Basis::Sums(self)
    }

    fn more_is_better(&self) -> bool {
        true
    }

    fn problem(&self) -> Option<String> {
        (self.k == 0).then(|| {
            "`k`, the number of classes that count as predicted, must be at least 1".to_owned()
        })
    }

    /// All classes are among so many.
    fn is_constant(&self, n_classes: usize) -> bool {
        self.k >= n_classes
    }
}

#[cfg(test)]
mod tests {
    use super::TopK;
    use crate::Metric as _;

    #[test]
    fn the_score_is_constant_where_no_class_is_left() {
        let top = TopK { k: 3 };
        assert_eq!([2, 3, 4].map(|it| top.is_constant(it)), [true, true, false]);
    }
}
