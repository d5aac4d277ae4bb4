//! A cross-validation on the test set of its data.

use serde::{Deserialize, Serialize};

use super::estimate::Estimate;

/// The scores of a cross-validation's models on the test set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TestScores {
    /// The number of images.
    pub n_images: usize,
    /// The number of groups.
    pub n_groups: usize,
    /// The number of folds whose models are scored; 0 if none has predictions.
    pub n_folds: usize,
    /// Whether the mean of the probabilities of all folds' models is scored, which is what predicts with the
    /// cross-validation.
    pub has_ensemble: bool,
    /// The joint classes, then each factor.
    pub scopes: Vec<TestScope>,
}

/// The scores over the classes of a scope; those of models that are not scored are undefined.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TestScope {
    /// `joint`, or the factor's name.
    pub name: String,
    /// Of the mean of the probabilities.
    pub ensemble: ModelScores,
    /// The mean of the scores of the folds' models.
    pub folds: ModelScores,
}

/// Scores of one model, or their mean over several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelScores {
    /// Macro F1.
    pub macro_f1: Estimate,
    /// Accuracy.
    pub accuracy: Estimate,
}
