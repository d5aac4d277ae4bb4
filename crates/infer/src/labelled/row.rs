//! A row of a table of predictions with true labels.

use metrics::Prediction;

/// The prediction for an image, with its true labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The image's name.
    pub image: String,
    /// The group's name.
    pub group: String,
    /// The true joint class.
    pub class: usize,
    /// The predicted joint class.
    pub predicted: usize,
    /// The true number, such as an age, if known.
    pub true_number: Option<f64>,
    /// The predicted number, if a head predicts one.
    pub number: Option<f64>,
    /// The probabilities of the joint classes; empty if only the labels were read.
    pub probabilities: Vec<f64>,
}

impl Row {
    /// Returns the row as the input of metrics, with the position of the group.
    pub fn prediction(&self, group: usize) -> Prediction<'_> {
        Prediction {
            probabilities: &self.probabilities,
            predicted: self.predicted,
            class: self.class,
            group,
            number: self.number,
            true_number: self.true_number,
        }
    }
}

/// The columns before the classes.
pub(super) const COLUMNS: [&str; 4] = ["image", "group", "truth", "predicted"];
/// Additional columns, if a head predicts a number: the true and the predicted one.
pub(super) const NUMBERS: [&str; 2] = ["number", "predicted_number"];
