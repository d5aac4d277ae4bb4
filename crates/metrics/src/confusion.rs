//! The confusion matrix: counts of true and predicted classes, and the scores of each class.
//!
//! precision = tp / (tp + fp), recall = tp / (tp + fn), F1 = 2 tp / (2 tp + fp + fn); a quotient
//! whose denominator is 0 is 0.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use crate::{Predictions, quotient};

/// Counts of images by true and predicted class; only pairs that occur are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    /// The number of images of each class.
    support: Vec<usize>,
    /// The number of images predicted as each class.
    predicted: Vec<usize>,
    /// The number of images by true and predicted class.
    counts: BTreeMap<(usize, usize), usize>,
}

/// The scores of one class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// The share of images predicted as the class that are of the class.
    pub precision: f64,
    /// The share of images of the class that are predicted as the class.
    pub recall: f64,
    /// The harmonic mean of the two.
    pub f1: f64,
    /// The number of images of the class.
    pub support: usize,
}

impl Confusion {
    /// Creates a confusion matrix without images.
    pub fn new(n_classes: usize) -> Confusion {
        let none = vec![0; n_classes];
        Confusion { support: none.clone(), predicted: none, counts: BTreeMap::new() }
    }

    /// Returns the confusion matrix of predictions.
    pub fn of(predictions: &Predictions) -> Confusion {
        let mut confusion = Confusion::new(predictions.task.n_classes());
        predictions.iter().for_each(|it| confusion.add(it.class, it.predicted, 1));
        confusion
    }

    /// Adds `n` images of class `actual` predicted as `predicted`.
    ///
    /// # Panics
    /// If a class is out of range.
    pub fn add(&mut self, actual: usize, predicted: usize, n: usize) {
        assert!(actual.max(predicted) < self.n_classes(), "class out of range");
        self.support[actual] += n;
        self.predicted[predicted] += n;
        *self.counts.entry((actual, predicted)).or_default() += n;
    }

    /// The number of classes.
    pub fn n_classes(&self) -> usize {
        self.support.len()
    }

    /// The number of images of class `actual` predicted as `predicted`.
    pub fn count(&self, actual: usize, predicted: usize) -> usize {
        self.counts.get(&(actual, predicted)).copied().unwrap_or(0)
    }

    /// The number of images predicted as a class.
    pub fn n_predicted(&self, class: usize) -> usize {
        self.predicted[class]
    }

    /// Returns the scores of a class.
    pub fn class(&self, class: usize) -> ClassScore {
        let hits = self.count(class, class);
        let (support, predicted) = (self.support[class], self.predicted[class]);
        ClassScore {
            precision: quotient(hits as f64, predicted as f64),
            recall: quotient(hits as f64, support as f64),
            f1: quotient(2.0 * hits as f64, (support + predicted) as f64),
            support,
        }
    }

    /// Returns the classes that occur or are predicted, the lowest F1 first; of equals the one with more
    /// images.
    pub fn worst(&self) -> Vec<usize> {
        let mut classes: Vec<usize> =
            (0..self.n_classes()).filter(|&it| self.support[it] + self.predicted[it] > 0).collect();
        let f1: Vec<f64> = (0..self.n_classes()).map(|it| self.class(it).f1).collect();
        classes.sort_by(|&a, &b| {
            f1[a].total_cmp(&f1[b]).then(self.support[b].cmp(&self.support[a])).then(a.cmp(&b))
        });
        classes
    }

    /// Returns the confused pairs as (true class, predicted class, number of images), the most frequent
    /// first.
    pub fn confusions(&self) -> Vec<(usize, usize, usize)> {
        let pairs = self.counts.iter().map(|(&(actual, predicted), &n)| (actual, predicted, n));
        let mut confusions: Vec<_> = pairs.filter(|it| it.0 != it.1 && it.2 > 0).collect();
        confusions.sort_by_key(|&(actual, predicted, n)| (Reverse(n), actual, predicted));
        confusions
    }
}

#[cfg(test)]
mod tests {
    use super::Confusion;

    #[test]
    fn scores_follow_from_counts() {
        // Class 0: 3 of 4 found, 1 false positive. Class 1: 2 of 3 found, 1 false positive.
        let mut confusion = Confusion::new(2);
        for (actual, predicted, n) in [(0, 0, 3), (0, 1, 1), (1, 1, 2), (1, 0, 1)] {
            confusion.add(actual, predicted, n);
        }
        let zero = confusion.class(0);
        assert_eq!((zero.precision, zero.recall, zero.f1, zero.support), (0.75, 0.75, 0.75, 4));
        assert!((confusion.class(1).f1 - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn the_worst_classes_and_the_most_frequent_confusions_come_first() {
        // F1: a 2·1/(4+1) = 0.4, b 2·2/(2+4) = 0.67, c 0, which is only predicted; d neither occurs nor is
        // predicted.
        let mut confusion = Confusion::new(4);
        for (actual, predicted, n) in [(0, 0, 1), (0, 1, 2), (1, 1, 2), (0, 2, 1)] {
            confusion.add(actual, predicted, n);
        }
        assert_eq!(confusion.worst(), [2, 0, 1]);
        assert_eq!(confusion.confusions(), [(0, 1, 2), (0, 2, 1)]);
        // Ten thousand classes take no more memory than their images.
        let mut large = Confusion::new(10_000);
        large.add(9_999, 1, 1);
        assert_eq!((large.count(9_999, 1), large.count(1, 1), large.counts.len()), (1, 0, 1));
    }

    #[test]
    fn a_class_without_images_scores_zero() {
        let it = Confusion::new(4).class(3);
        assert_eq!(Confusion::new(4).n_predicted(3), 0);
        assert_eq!((it.precision, it.recall, it.f1, it.support), (0.0, 0.0, 0.0, 0));
    }
}
