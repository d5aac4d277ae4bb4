//! The best value of one number of a decision, all others fixed.
//!
//! Each image changes its predicted class at one value of the number at most. With the images sorted by it, one
//! pass finds the value with the greatest macro F1 exactly, in n log n. Macro F1 is constant between two such
//! values, so the middle is taken, or the default if it is between them: of equally good intervals that whose
//! value is the nearest to the default.

use metrics::{MacroF1, Sums as _};
use rayon::prelude::*;

use crate::HeldOut;

/// The number of passes over all numbers.
pub(super) const MAX_PASSES: usize = 10;

/// A rise of macro F1 that is not a rounding error.
pub(super) const RISE: f64 = 1e-10;

/// An image that is predicted to be of another class when a number is greater than some value.
#[derive(Clone, Copy)]
pub(super) struct Change {
    /// The value.
    pub(super) at: f64,
    /// The true class.
    pub(super) class: usize,
    /// The class predicted for lower numbers.
    pub(super) from: usize,
    /// The class predicted for greater numbers.
    pub(super) to: usize,
}

/// The range of a number to tune.
pub(super) struct Range {
    /// Its default: of equally good values the nearest to it is taken.
    pub(super) default: f64,
    /// The lowest value.
    pub(super) low: f64,
    /// The greatest value.
    pub(super) high: f64,
    /// Whether distances are those of the logarithm.
    pub(super) is_factor: bool,
}

impl Range {
    /// Returns the best value of the number, with its macro F1.
    ///
    /// - `scores`: those when the number is lower than all changes.
    pub(super) fn best(&self, mut scores: Scores, mut changes: Vec<Change>) -> (f64, f64) {
        changes.retain(|it| it.from != it.to && !it.at.is_nan());
        changes.par_sort_by(|a, b| a.at.total_cmp(&b.at));
        // The best so far: macro F1, distance to the default, value.
        let mut best = (f64::NEG_INFINITY, f64::INFINITY, self.default);
        let mut from = self.low;
        let mut next = 0;
        while from < self.high {
            while next < changes.len() && changes[next].at <= from {
                scores.change(&changes[next]);
                next += 1;
            }
            let to = changes.get(next).map_or(self.high, |it| it.at.min(self.high));
            let value = self.inside(from, to);
            if from < value && value < to {
                let (score, distance) = (scores.macro_f1(), self.distance(value));
                let is_better = score > best.0 + RISE;
                if is_better || score > best.0 - RISE && distance < best.1 {
                    best = (score.max(best.0), distance, value);
                }
            }
            from = to;
        }
        (best.2, best.0)
    }

    /// Returns the default if it is between two values, and else their middle.
    fn inside(&self, from: f64, to: f64) -> f64 {
        match (from < self.default && self.default < to, self.is_factor) {
            (true, _) => self.default,
            (false, true) => (from * to).sqrt(),
            (false, false) => f64::midpoint(from, to),
        }
    }

    fn distance(&self, value: f64) -> f64 {
        match self.is_factor {
            true => (value / self.default).ln().abs(),
            false => (value - self.default).abs(),
        }
    }
}

/// The sums from which macro F1 follows, kept as predictions change.
pub(super) struct Scores {
    /// For each class its true positives; and how often it is the true or the predicted class.
    sums: Vec<f64>,
    /// The sum of the F1 of all classes that occur or are predicted, and their number.
    f1: f64,
    n_classes: f64,
}

impl Scores {
    /// Creates the sums of these predicted classes.
    pub(super) fn new(held_out: &HeldOut, predicted: &[usize]) -> Scores {
        let n = held_out.task.n_classes();
        let mut scores =
            Scores { sums: vec![0.0; MacroF1::DEFAULT.n_sums(n)], f1: 0.0, n_classes: 0.0 };
        for (&class, &predicted) in held_out.classes.iter().zip(predicted) {
            scores.sums[2 * class + 1] += 1.0;
            scores.count(class, predicted, 1.0);
        }
        (0..n).for_each(|class| scores.add(class, 1.0));
        scores
    }

    /// Changes the predicted class of an image.
    fn change(&mut self, it: &Change) {
        [it.from, it.to].iter().for_each(|&class| self.add(class, -1.0));
        self.count(it.class, it.from, -1.0);
        self.count(it.class, it.to, 1.0);
        [it.from, it.to].iter().for_each(|&class| self.add(class, 1.0));
    }

    fn count(&mut self, class: usize, predicted: usize, n: f64) {
        self.sums[2 * predicted + 1] += n;
        if class == predicted {
            self.sums[2 * predicted] += n;
        }
    }

    /// Adds the F1 of a class, or with -1 removes it.
    fn add(&mut self, class: usize, sign: f64) {
        let (found, n) = (self.sums[2 * class], self.sums[2 * class + 1]);
        if n > 0.0 {
            self.f1 += sign * 2.0 * found / n;
            self.n_classes += sign;
        }
    }

    pub(super) fn macro_f1(&self) -> f64 {
        if self.n_classes == 0.0 { 0.0 } else { self.f1 / self.n_classes }
    }
}
