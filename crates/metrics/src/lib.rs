//! Metrics of predictions: per class, per factor and overall, with confidence intervals; and labels that
//! are probably wrong.
//!
//! Works on plain numbers: probabilities over the joint classes, true classes, and people.
//! To add a metric, write its file, declare it below, and give it a line in [`MetricConfig`].

mod accuracy;
mod age_mae;
mod balanced_accuracy;
mod bootstrap;
mod confusion;
mod expected_calibration_error;
mod label_issues;
mod log_loss;
mod macro_f1;
mod person_sums;
mod predictions;
mod report;
mod running_metric;
mod top_k;

pub use accuracy::Accuracy;
pub use bootstrap::{Bootstrapped, Comparison, Interval, N_RESAMPLES, Resamples, compare};
pub use confusion::{ClassScore, Confusion};
pub use label_issues::{LabelIssue, LabelScore, label_issues};
pub use log_loss::LogLoss;
pub use macro_f1::{Absent, MacroF1};
pub use person_sums::{People, PersonSums};
pub use predictions::{Prediction, Predictions, Projection, argmax};
pub use report::{Evaluation, Report, ScopeReport, Scores};
pub use running_metric::RunningMetric;

base::choice! {
    /// The metric by which a model is selected.
    pub enum MetricConfig: dyn Metric {
        /// Macro F1: the mean over classes of F1, the harmonic mean of precision and recall.
        "macro_f1" => MacroF1(macro_f1::MacroF1),
        /// The share of correct predictions.
        "accuracy" => Accuracy(accuracy::Accuracy),
        /// The mean recall over the classes that occur.
        "balanced_accuracy" => BalancedAccuracy(balanced_accuracy::BalancedAccuracy),
        /// Top-k accuracy: the share of images whose class is among the k most probable.
        "top_k" => TopK(top_k::TopK),
        /// Log loss: the mean negative logarithm of the probability of the true class.
        "log_loss" => LogLoss(log_loss::LogLoss),
        /// The mean absolute difference between confidence and accuracy over bins of confidence (ECE).
        "expected_calibration_error" => ExpectedCalibrationError(expected_calibration_error::ExpectedCalibrationError),
        /// The mean absolute error of the age in years, for heads that predict years.
        "age_mae" => AgeMae(age_mae::AgeMae),
    }
}

/// A metric: a function of sums over the images.
///
/// So a score is accumulated batch by batch, and the score of a bootstrap resample of people follows from the
/// sums of each person, without going over the images again.
pub trait Metric: Sync {
    /// The number of sums.
    fn n_sums(&self, n_classes: usize) -> usize;

    /// Calls `add` with the index of a sum and the value that the image adds to it.
    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64));

    /// Returns the score computed from the sums.
    fn of(&self, sums: &[f64]) -> f64;

    /// Whether a higher score is better.
    fn more_is_better(&self) -> bool;

    /// Returns what is wrong with the settings, if anything.
    fn problem(&self) -> Option<String> {
        None
    }

    /// Whether the metric needs predictions in years, and is NaN without them.
    fn needs_years(&self) -> bool {
        false
    }

    /// Returns the score of the predictions.
    fn score(&self, predictions: &Predictions) -> f64 {
        let mut sums = vec![0.0; self.n_sums(predictions.task.n_classes())];
        for it in predictions.iter() {
            self.add(&it, &mut |at, x| sums[at] += x);
        }
        self.of(&sums)
    }

    /// Whether `new` is a better score than `old`; NaN never is.
    fn improves(&self, new: f64, old: f64) -> bool {
        if self.more_is_better() { new > old } else { new < old }
    }
}

/// A quotient, which is 0 where the denominator is 0.
fn quotient(of: f64, by: f64) -> f64 {
    if by == 0.0 { 0.0 } else { of / by }
}
