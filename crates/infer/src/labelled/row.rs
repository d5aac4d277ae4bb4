//! A row of such a table.

use metrics::Prediction;

/// A row: the prediction for an image beside the truth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The image's name.
    pub image: String,
    /// The person's name.
    pub person: String,
    /// The true joint class.
    pub class: usize,
    /// The joint class that is predicted.
    pub predicted: usize,
    /// The true age, where it is known.
    pub age: Option<f64>,
    /// The years that are predicted, where a head says years.
    pub years: Option<f64>,
    /// The distribution over the joint classes; empty where only the labels were read.
    pub probabilities: Vec<f64>,
}

impl Row {
    /// What metrics see of it, with a number for the person.
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

/// What comes before the classes.
pub(super) const COLUMNS: [&str; 4] = ["image", "person", "truth", "predicted"];
/// And where a head says years.
pub(super) const YEARS: [&str; 2] = ["age", "years"];
