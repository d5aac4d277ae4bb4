//! Metrics of predictions: per class, per factor and overall, with confidence intervals; and labels that
//! are probably wrong.
//!
//! Works on plain numbers: probabilities over the joint classes, true classes, and groups.
//! To add a metric, write its file, declare it below, and give it a line in [`MetricConfig`].

mod accuracy;
mod attribute;
mod average_precision;
mod balanced_accuracy;
mod bootstrap;
mod brier_score;
mod cohen_kappa;
mod confusion;
mod expected_calibration_error;
mod group_sums;
mod label_issues;
mod log_loss;
mod macro_f1;
mod mae;
mod micro_f1;
mod predictions;
mod ranking;
mod report;
mod roc_auc;
mod running_metric;
mod top_k;
mod weighted_f1;

pub use accuracy::Accuracy;
pub use attribute::{AttributeReport, AttributeSums, Gap, ValueReport};
pub use bootstrap::{Bootstrapped, Comparison, Interval, N_RESAMPLES, Resamples, compare};
pub use confusion::{ClassScore, Confusion};
pub use expected_calibration_error::ExpectedCalibrationError;
pub use group_sums::{GroupSums, Groups};
pub use label_issues::{LabelIssue, LabelScore, label_issues};
pub use log_loss::LogLoss;
pub use macro_f1::{Absent, MacroF1};
pub use predictions::{Prediction, Predictions, Projection, argmax};
pub use ranking::{Counts, Ranking};
pub use report::{Evaluation, Report, ScopeReport, Scores};
pub use running_metric::RunningMetric;
pub use top_k::TopK;

base::choice! {
    /// The metric by which a model is selected.
    pub enum MetricConfig: dyn Metric {
        /// Macro F1: the mean over classes of F1, the harmonic mean of precision and recall.
        "macro_f1" => MacroF1(macro_f1::MacroF1),
        /// The share of correct predictions.
        "accuracy" => Accuracy(accuracy::Accuracy),
        /// The mean recall over the classes that occur.
        "balanced_accuracy" => BalancedAccuracy(balanced_accuracy::BalancedAccuracy),
        /// The mean F1 of the classes, weighted by their images.
        "weighted_f1" => WeightedF1(weighted_f1::WeightedF1),
        /// F1 of the counts of all classes together, which is the accuracy.
        "micro_f1" => MicroF1(micro_f1::MicroF1),
        /// Top-k accuracy: the share of images whose class is among the k most probable.
        "top_k" => TopK(top_k::TopK),
        /// Log loss: the mean negative logarithm of the probability of the true class.
        "log_loss" => LogLoss(log_loss::LogLoss),
        /// Brier score: the mean squared difference between the probabilities and the one-hot labels.
        "brier_score" => BrierScore(brier_score::BrierScore),
        /// The mean absolute difference between confidence and accuracy over bins of confidence (ECE).
        "expected_calibration_error" => ExpectedCalibrationError(expected_calibration_error::ExpectedCalibrationError),
        /// Cohen's kappa: agreement beyond chance, with all errors alike or weighted by their distance.
        "cohen_kappa" => CohenKappa(cohen_kappa::CohenKappa),
        /// The area under the ROC curve of each class against the rest, averaged over classes.
        "roc_auc" => RocAuc(roc_auc::RocAuc),
        /// The average precision of each class against the rest, averaged over classes.
        "average_precision" => AveragePrecision(average_precision::AveragePrecision),
        /// The mean absolute error (MAE) of a number, such as an age, for heads that predict one.
        "mae" => Mae(mae::Mae),
    }
}

/// A metric: a score of predictions with true labels.
pub trait Metric: Sync {
    /// What the score is computed from.
    fn basis(&self) -> Basis<'_>;

    /// Whether a higher score is better.
    fn more_is_better(&self) -> bool;

    /// Returns what is wrong with the settings, if anything.
    fn problem(&self) -> Option<String> {
        None
    }

    /// Whether the metric needs predicted numbers, and is NaN without them.
    fn needs_numbers(&self) -> bool {
        false
    }

    /// Whether the score is the same whatever is predicted, of so many classes.
    fn is_constant(&self, _n_classes: usize) -> bool {
        false
    }

    /// Returns why the metric cannot be computed for so many images and classes, if so.
    fn too_many(&self, n_images: usize, n_classes: usize) -> Option<String> {
        match self.basis() {
            Basis::Sums(_) => None,
            Basis::Ranking(_) => ranking::too_many(n_images, n_classes),
        }
    }

    /// Returns the score of the predictions.
    fn score(&self, predictions: &Predictions) -> f64 {
        let mut total = RunningMetric::of(self.basis(), predictions.task.n_classes());
        predictions.iter().for_each(|it| total.add(&it));
        total.score()
    }

    /// Whether `new` is a better score than `old`: NaN never is, and every number is better than NaN.
    fn improves(&self, new: f64, old: f64) -> bool {
        let is_better = if self.more_is_better() { new > old } else { new < old };
        is_better || old.is_nan() && !new.is_nan()
    }
}

/// What a score is computed from. A probability that is NaN makes every score NaN.
#[derive(Clone, Copy)]
pub enum Basis<'a> {
    /// Sums over the images.
    Sums(&'a dyn Sums),
    /// For each class, all images ranked by its probability.
    Ranking(&'a dyn Ranking),
}

/// A score that is a function of sums over the images.
///
/// So it is accumulated batch by batch, and the score of a bootstrap resample of groups follows from the
/// sums of each group, without going over the images again.
pub trait Sums: Sync {
    /// The number of sums.
    fn n_sums(&self, n_classes: usize) -> usize;

    /// Calls `add` with the index of a sum and the value that the image adds to it.
    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64));

    /// Returns the score computed from the sums.
    fn of(&self, sums: &[f64]) -> f64;
}

/// A quotient, which is 0 where the denominator is 0.
fn quotient(of: f64, by: f64) -> f64 {
    if by == 0.0 { 0.0 } else { of / by }
}
