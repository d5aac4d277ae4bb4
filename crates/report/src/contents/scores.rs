//! Scores of all classes and of each class, confusions and reliability.

use serde::{Deserialize, Serialize};

use super::estimate::Estimate;

/// The scores over the classes of a scope.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScopeScores {
    /// `joint`, or the factor's name.
    pub name: String,
    /// The number of classes.
    pub n_classes: usize,
    /// Macro F1.
    pub macro_f1: Estimate,
    /// Accuracy.
    pub accuracy: Estimate,
    /// Balanced accuracy.
    pub balanced_accuracy: Option<f64>,
    /// The k of top-k accuracy.
    pub k: usize,
    /// Top-k accuracy.
    pub top_k: Option<f64>,
    /// Log loss.
    pub log_loss: Option<f64>,
    /// Expected calibration error.
    pub ece: Option<f64>,
}

/// With more classes than this, a matrix is shown as its most frequent confusions, and tables are cut.
pub const MOST_CLASSES: usize = 40;

/// A confusion matrix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfusionMatrix {
    /// `joint`, or the factor's name.
    pub name: String,
    /// The classes' names.
    pub classes: Vec<String>,
    /// The number of images by true class (rows) and predicted class (columns); empty with more than
    /// [`MOST_CLASSES`] classes, of which only the pairs are shown.
    pub counts: Vec<Vec<usize>>,
    /// The most frequent confusions.
    pub pairs: Vec<PairCount>,
    /// The number of different confusions.
    pub n_pairs: usize,
}

/// A confusion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PairCount {
    /// The true class.
    pub actual: String,
    /// The predicted class.
    pub predicted: String,
    /// The number of images.
    pub n_images: usize,
    /// Their share of the images of the true class.
    pub of_class: f64,
    /// Their share of all errors.
    pub of_errors: f64,
}

/// The classes of a scope.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassTable {
    /// `joint`, or the factor's name.
    pub name: String,
    /// The classes, in their order; of more than [`MOST_CLASSES`], those with the lowest F1, lowest first.
    pub rows: Vec<ClassRow>,
    /// The number of all classes.
    pub n_classes: usize,
    /// The number of classes without true or predicted images.
    pub n_absent: usize,
}

/// The scores of a class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassRow {
    /// The name.
    pub name: String,
    /// Precision.
    pub precision: Estimate,
    /// Recall.
    pub recall: Estimate,
    /// F1.
    pub f1: Estimate,
    /// The number of images of the class.
    pub n_images: usize,
    /// The number of groups with such images.
    pub n_groups: usize,
}

/// The reliability of the predicted class in a scope.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityOf {
    /// `joint`, or the factor's name.
    pub name: String,
    /// The expected calibration error.
    pub ece: Estimate,
    /// The bins of confidence, from 0 to 1, empty ones included.
    pub bins: Vec<ReliabilityBin>,
    /// The classes against the rest, the highest error first; at most [`MOST_CLASSES`].
    pub classes: Vec<ClassCalibration>,
}

/// The images whose confidence is in a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// The lower limit.
    pub low: f64,
    /// The upper limit.
    pub high: f64,
    /// The number of images.
    pub n_images: usize,
    /// Their mean confidence; 0 without images.
    pub confidence: f64,
    /// The share that is predicted correctly; 0 without images.
    pub accuracy: f64,
}

/// The calibration of the probability of a class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassCalibration {
    /// Its name.
    pub name: String,
    /// The number of its images.
    pub n_images: usize,
    /// The classwise calibration error.
    pub ece: f64,
    /// Its mean probability over all images.
    pub mean_probability: f64,
    /// The share of images that are of it.
    pub share: f64,
}
