//! Log loss: the mean of -ln p of the true class.
//!
//! A probability of 0 would make the loss infinite, so p is kept within [ε, 1 - ε], where ε is the machine
//! epsilon of f64, as in scikit-learn's `log_loss`.
//!
//! With `clip` every probability of an image is first moved into [lo, hi], and the image's probabilities are
//! divided by their sum, as a competition is submitted to that punishes confident errors: the score is
//! scikit-learn's on the clipped rows. For C classes [0.01 / C, 0.99] is usual.

use serde::{Deserialize, Serialize};

use crate::{Basis, Metric, Prediction, Sums, quotient};

/// `{ kind = "log_loss", clip = [0.0001, 0.99] }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogLoss {
    /// The lowest and the highest probability before the sum of each image is made 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<[f64; 2]>,
}

impl LogLoss {
    /// Without clipping.
    pub const DEFAULT: LogLoss = LogLoss { clip: None };
}

impl Sums for LogLoss {
    /// The losses, and images.
    fn n_sums(&self, _: usize) -> usize {
        2
    }

    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64)) {
        let p = match self.clip {
            None => it.probabilities[it.class],
            Some([lo, hi]) => {
                let clipped = |p: f64| p.max(lo).min(hi);
                let sum: f64 = it.probabilities.iter().copied().map(clipped).sum();
                clipped(it.probabilities[it.class]) / sum
            }
        };
        add(0, -p.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln());
        add(1, 1.0);
    }

    fn of(&self, sums: &[f64]) -> f64 {
        quotient(sums[0], sums[1])
    }
}

impl Metric for LogLoss {
    fn basis(&self) -> Basis<'_> {
        Basis::Sums(self)
    }

    fn more_is_better(&self) -> bool {
        false
    }

    fn problem(&self) -> Option<String> {
        let [lo, hi] = self.clip?;
        let is_fine = lo >= 0.0 && lo < hi && hi <= 1.0;
        (!is_fine).then(|| format!("`clip` is [lo, hi] with 0 <= lo < hi <= 1, not [{lo}, {hi}]"))
    }
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};

    use super::LogLoss;
    use crate::{Metric as _, Predictions};

    /// The loss of one image of the first of two classes.
    fn loss(clip: Option<[f64; 2]>, p: [f64; 2]) -> f64 {
        let task = Task::new(vec![Factor::new("class", &["a", "b"])]);
        LogLoss { clip }.score(&Predictions::new(task, vec![p.to_vec()], vec![0], vec![0]))
    }

    #[test]
    fn clipped_probabilities_are_divided_by_their_sum() {
        // 0 becomes 0.1 and 1 becomes 0.6: the first is 0.1 / 0.7.
        assert!((loss(Some([0.1, 0.6]), [0.0, 1.0]) - 7.0_f64.ln()).abs() < 1e-12);
        // Nothing is clipped, but 0.2 and 0.3 do not add up to 1.
        assert!((loss(Some([0.0, 1.0]), [0.2, 0.3]) - 2.5_f64.ln()).abs() < 1e-12);
        assert!((loss(None, [0.2, 0.3]) - 5.0_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn a_certain_error_has_a_finite_loss() {
        assert_eq!(loss(None, [0.0, 1.0]), -f64::EPSILON.ln());
        assert!(loss(None, [1.0, 0.0]).abs() < 1e-15);
    }

    #[test]
    fn bounds_must_be_ordered_probabilities() {
        let problem = |clip| LogLoss { clip: Some(clip) }.problem();
        assert_eq!(problem([0.01, 0.99]), None);
        assert_eq!(problem([0.0, 1.0]), None);
        for clip in [[0.5, 0.5], [0.9, 0.1], [-0.1, 0.9], [0.1, 1.1], [f64::NAN, 1.0]] {
            assert!(problem(clip).is_some(), "{clip:?}");
        }
    }
}
