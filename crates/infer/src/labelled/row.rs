//! A row of a table of predictions with true labels.

use metrics::Prediction;

/// The prediction for an image, with its true labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The image's name.
    pub image: String,
    /// The person's name.
    pub person: String,
    /// The true joint class.
    pub class: usize,
    /// The predicted joint class.
    pub predicted: usize,
    /// The true age, if known.
    pub age: Option<f64>,
    /// The predicted age in years, if a head predicts it.
    pub years: Option<f64>,
    /// The probabilities of the joint classes; empty if only the labels were read.
    pub probabilities: Vec<f64>,
}

impl Row {
    /// Returns the row as the input of metrics, with the position of the person.
    pub fn prediction(&self, person: usize) -> Prediction<'_> {
        Prediction {
            probabilities: &self.probabilities,
            predicted: self.predicted,
            class: self.class,
            person,
            years: self.years,
            age: self.age,
        }
    }
}

/// The columns before the classes.
pub(super) const COLUMNS: [&str; 4] = ["image", "person", "truth", "predicted"];
/// Additional columns, if a head predicts the age.
pub(super) const YEARS: [&str; 2] = ["age", "years"];
