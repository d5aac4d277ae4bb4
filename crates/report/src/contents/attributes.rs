//! Scores by the values of attributes.

use serde::{Deserialize, Serialize};

use super::estimate::Estimate;

/// The scores by the values of an attribute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AttributeScores {
    /// The attribute's name.
    pub name: String,
    /// Whether it is a factor of the task, by its true level, and not a column beside the labels.
    pub is_factor: bool,
    /// The values: the ten most frequent, then all others together.
    pub values: Vec<ValueScores>,
    /// The largest gap of accuracy; `None` without two values that have several groups.
    pub gap: Option<GapTest>,
}

/// The scores of the images with a value of an attribute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValueScores {
    /// The value; `None` for all others together.
    pub value: Option<String>,
    /// The number of values: 1, or how many the others are.
    pub n_values: usize,
    /// The number of images.
    pub n_images: usize,
    /// The number of groups with such images.
    pub n_groups: usize,
    /// Macro F1 of the joint classes that occur among these images.
    pub macro_f1: Estimate,
    /// The share of images whose joint class is predicted wrongly.
    pub error_rate: Estimate,
    /// The share of images whose level is predicted wrongly, of each factor in the order of the task; empty for a
    /// task of one factor.
    pub factor_errors: Vec<FactorError>,
}

/// The error rate of a factor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FactorError {
    /// The factor.
    pub factor: String,
    /// The share of images whose level is predicted wrongly.
    pub error_rate: Option<f64>,
}

/// The two values whose accuracies differ most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GapTest {
    /// The value with the lowest accuracy.
    pub lowest: String,
    /// The value with the highest accuracy.
    pub highest: String,
    /// The difference of accuracy, 0 or more, with its bootstrap interval.
    pub difference: Estimate,
    /// The p value: the share of permutations of the values over groups whose largest gap is at least as large.
    pub p: Option<f64>,
    /// The test, in words.
    pub test: String,
}
