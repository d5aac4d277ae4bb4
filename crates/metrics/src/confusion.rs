//! Who is taken for whom: counts of true and predicted classes, and the scores of each class.
//!
//! precision = tp / (tp + fp), recall = tp / (tp + fn), F1 = 2 tp / (2 tp + fp + fn); a quotient
//! without a denominator is 0.

use serde::{Deserialize, Serialize};

use crate::{Predictions, quotient};

/// Counts of pictures by true and predicted class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    n_classes: usize,
    /// `[true, predicted]`, row-major.
    counts: Vec<usize>,
}

/// The scores of one class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// Of those predicted, the share that is right.
    pub precision: f64,
    /// Of those that are, the share that is found.
    pub recall: f64,
    /// The harmonic mean of the two.
    pub f1: f64,
    /// How many there are.
    pub support: usize,
}

impl Confusion {
    /// No pictures yet.
    pub fn new(n_classes: usize) -> Confusion {
        Confusion { n_classes, counts: vec![0; n_classes * n_classes] }
    }

    /// The counts of predictions.
    pub fn of(predictions: &Predictions) -> Confusion {
        let mut confusion = Confusion::new(predictions.task.n_classes());
        for (&truth, &predicted) in predictions.classes.iter().zip(&predictions.predicted) {
            confusion.add(truth, predicted, 1);
        }
        confusion
    }

    /// Counts `n` more pictures.
    pub fn add(&mut self, truth: usize, predicted: usize, n: usize) {
        assert!(truth < self.n_classes && predicted < self.n_classes, "a class that is none");
        self.counts[truth * self.n_classes + predicted] += n;
    }

    /// How many classes there are.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// How many pictures of class `truth` were predicted as `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> usize {
        self.counts[truth * self.n_classes + predicted]
    }

    /// The scores of a class.
    pub fn class(&self, class: usize) -> ClassScore {
        let classes = 0..self.n_classes;
        let hits = self.count(class, class);
        let support: usize = classes.clone().map(|it| self.count(class, it)).sum();
        let predicted: usize = classes.map(|it| self.count(it, class)).sum();
        ClassScore {
            precision: quotient(hits as f64, predicted as f64),
            recall: quotient(hits as f64, support as f64),
            f1: quotient(2.0 * hits as f64, (support + predicted) as f64),
            support,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Confusion;

    #[test]
    fn scores_follow_from_counts() {
        // Class 0: 3 hits of 4, and 1 false alarm. Class 1: 2 hits of 3, 1 false alarm.
        let mut confusion = Confusion::new(2);
        for (truth, predicted, n) in [(0, 0, 3), (0, 1, 1), (1, 1, 2), (1, 0, 1)] {
            confusion.add(truth, predicted, n);
        }
        let zero = confusion.class(0);
        assert_eq!((zero.precision, zero.recall, zero.f1, zero.support), (0.75, 0.75, 0.75, 4));
        assert!((confusion.class(1).f1 - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_class_without_pictures_scores_nothing() {
        let it = Confusion::new(4).class(3);
        assert_eq!((it.precision, it.recall, it.f1, it.support), (0.0, 0.0, 0.0, 0));
    }
}
