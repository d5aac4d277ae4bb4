//! How good are predictions? Scores by class, by factor and over all, and how sure they are.
//!
//! Works on plain numbers: probabilities over the joint classes, true classes, and people.
//! To add a metric, write its file, declare it below, and give it a line in [`MetricConfig`].

mod accuracy;
mod bootstrap;
mod confusion;
mod log_loss;
mod macro_f1;
mod report;

use base::Task;

pub use bootstrap::{Interval, bootstrap};
pub use confusion::{ClassScore, Confusion};
pub use report::{Report, ScopeReport, Scores};

base::choice! {
    /// What a model is chosen by.
    pub enum MetricConfig: dyn Metric {
        /// The mean over classes of F1, the harmonic mean of precision and recall.
        "macro_f1" => MacroF1(macro_f1::MacroF1),
        /// The share of right predictions.
        "accuracy" => Accuracy(accuracy::Accuracy),
        /// The mean negative logarithm of the probability of the true class.
        "log_loss" => LogLoss(log_loss::LogLoss),
    }
}

/// Predictions beside the truth.
#[derive(Clone, Debug)]
pub struct Predictions {
    /// What was asked.
    pub task: Task,
    /// A distribution over the joint classes for each picture.
    pub probabilities: Vec<Vec<f64>>,
    /// The true joint class of each picture, by the task's own cuts.
    pub classes: Vec<usize>,
    /// The person on each picture, as any numbers that tell people apart.
    pub people: Vec<usize>,
}

/// A number for predictions.
pub trait Metric {
    /// The score.
    fn score(&self, predictions: &Predictions) -> f64;

    /// Whether more is better.
    fn more_is_better(&self) -> bool;

    /// Whether `new` is the better score of the two; a score that is no number never is.
    fn improves(&self, new: f64, old: f64) -> bool {
        if self.more_is_better() { new > old } else { new < old }
    }
}

impl Predictions {
    /// The most probable joint class of each picture; of equals the first.
    pub fn predicted(&self) -> Vec<usize> {
        self.probabilities.iter().map(|p| argmax(p)).collect()
    }
}

/// The position of the largest number; of equals the first.
pub fn argmax(p: &[f64]) -> usize {
    let mut best = 0;
    for (idx, x) in p.iter().enumerate() {
        if *x > p[best] {
            best = idx;
        }
    }
    best
}
