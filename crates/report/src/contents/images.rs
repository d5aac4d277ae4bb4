//! Images with their predictions, maps of what these depend on, and labels that are likely wrong.

use serde::{Deserialize, Serialize};

use super::scores::PairCount;

/// An image with its prediction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// The image's name.
    pub name: String,
    /// The true class.
    pub actual: String,
    /// The predicted class.
    pub predicted: String,
    /// Whether they are the same.
    pub is_correct: bool,
    /// The probability of the predicted class.
    pub probability: f64,
    /// The probability of the true class.
    pub probability_of_actual: f64,
    /// -ln of the probability of the true class; `None` if that is 0.
    pub loss: Option<f64>,
    /// A thumbnail as a data URI; `None` if the image cannot be read.
    pub image: Option<String>,
}

/// A pair of classes that is often confused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfusedPair {
    /// The confusion.
    pub pair: PairCount,
    /// Images of the true class that are predicted as the other, the most confident of each group first.
    pub wrong: Vec<Shown>,
    /// Images of the predicted class that are predicted correctly, the most confident of each group first.
    pub right: Vec<Shown>,
}

/// A map of what a prediction depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MapShown {
    /// The image.
    pub shown: Shown,
    /// The class or level that is explained.
    pub target: String,
    /// The map over the image, as a data URI.
    pub overlay: String,
}

/// Labels that are likely wrong, by confident learning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LabelErrors {
    /// For each factor.
    pub factors: Vec<FactorLabels>,
    /// The likeliest errors, likeliest first.
    pub rows: Vec<LabelError>,
}

/// The labels of a factor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FactorLabels {
    /// The factor.
    pub factor: String,
    /// The number of labels: of groups where they share one, else of images.
    pub n_labels: usize,
    /// The number of likely errors.
    pub n_errors: usize,
}

/// A label that is likely wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LabelError {
    /// The factor.
    pub factor: String,
    /// The group.
    pub group: String,
    /// The image that disagrees most.
    pub image_name: String,
    /// The number of images that have this label: more than one for a label of a group.
    pub n_images: usize,
    /// The given level.
    pub given: String,
    /// The suggested level.
    pub suggested: String,
    /// The probability of the suggested level.
    pub probability: f64,
    /// The probability of the given level.
    pub score: f64,
    /// A thumbnail of that image as a data URI.
    pub image: Option<String>,
}
