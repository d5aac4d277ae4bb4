//! How good are predictions? Scores by class, by factor and over all, how sure they are, and which
//! labels they speak against.
//!
//! Works on plain numbers: probabilities over the joint classes, true classes, and people.
//! To add a metric, write its file, declare it below, and give it a line in [`MetricConfig`].

mod accuracy;
mod age_mae;
mod balanced_accuracy;
mod bootstrap;
mod confusion;
mod expected_calibration_error;
mod label_doubts;
mod log_loss;
mod macro_f1;
mod predictions;
mod report;
mod tally;
mod top_k;
mod total;

pub use accuracy::Accuracy;
pub use bootstrap::{Bootstrapped, Comparison, Draws, Interval, N_DRAWS, compare};
pub use confusion::{ClassScore, Confusion};
pub use label_doubts::{Doubt, DoubtScore, label_doubts};
pub use log_loss::LogLoss;
pub use macro_f1::{Absent, MacroF1};
pub use predictions::{Prediction, Predictions, Projection, argmax};
pub use report::{Evaluation, Report, ScopeReport, Scores};
pub use tally::{People, Tally};
pub use total::Total;

base::choice! {
    /// What a model is chosen by.
    pub enum MetricConfig: dyn Metric {
        /// The mean over classes of F1, the harmonic mean of precision and recall.
        "macro_f1" => MacroF1(macro_f1::MacroF1),
        /// The share of right predictions.
        "accuracy" => Accuracy(accuracy::Accuracy),
        /// The mean over the classes that occur of the share that is found.
        "balanced_accuracy" => BalancedAccuracy(balanced_accuracy::BalancedAccuracy),
        /// The share of images whose class is among the k most probable.
        "top_k" => TopK(top_k::TopK),
        /// The mean negative logarithm of the probability of the true class.
        "log_loss" => LogLoss(log_loss::LogLoss),
        /// How far confidence and the share of right predictions lie apart, over bins of confidence.
        "expected_calibration_error" => ExpectedCalibrationError(expected_calibration_error::ExpectedCalibrationError),
        /// How many years the age is off on average, for heads that say years.
        "age_mae" => AgeMae(age_mae::AgeMae),
    }
}

/// A number for predictions: a function of sums over the images.
///
/// So a score is computed as predictions come, and that of synthetic people follows from the sums of each
/// person, without looking at an image again.
pub trait Metric: Sync {
    /// How many sums there are.
    fn n_sums(&self, n_classes: usize) -> usize;

    /// What an image adds: calls `add` with the position of a sum and a number.
    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64));

    /// The score that the sums make.
    fn of(&self, sums: &[f64]) -> f64;

    /// Whether more is better.
    fn more_is_better(&self) -> bool;

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String> {
        None
    }

    /// Whether it judges the years that a head says, and is no number without.
    fn needs_years(&self) -> bool {
        false
    }

    /// The score.
    fn score(&self, predictions: &Predictions) -> f64 {
        let mut sums = vec![0.0; self.n_sums(predictions.task.n_classes())];
        for it in predictions.iter() {
            self.add(&it, &mut |at, x| sums[at] += x);
        }
        self.of(&sums)
    }

    /// Whether `new` is the better score of the two; a score that is no number never is.
    fn improves(&self, new: f64, old: f64) -> bool {
        if self.more_is_better() { new > old } else { new < old }
    }
}

/// A quotient, which is 0 without a denominator.
fn quotient(of: f64, by: f64) -> f64 {
    if by == 0.0 { 0.0 } else { of / by }
}
