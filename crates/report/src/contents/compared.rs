//! Several runs side by side.

use serde::{Deserialize, Serialize};

use super::estimate::Estimate;

/// Several runs side by side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The run that the others are compared with.
    pub reference: String,
    /// The images that all runs predicted, in words; differences are only over them.
    pub images: String,
    /// What keeps runs from being compared, or has to be known.
    pub notes: Vec<String>,
    /// The scores of each scope.
    pub scopes: Vec<ComparedScope>,
}

/// Runs side by side in a scope, by one metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ComparedScope {
    /// `joint`, or the factor's name.
    pub name: String,
    /// `macro F1`, `accuracy` or `log loss`.
    pub metric: String,
    /// Whether a higher score is better.
    pub more_is_better: bool,
    /// The runs, the reference first.
    pub rows: Vec<ComparedRun>,
}

/// A run beside the reference.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ComparedRun {
    /// The run.
    pub name: String,
    /// Its score.
    pub score: Estimate,
    /// The paired difference to the reference; `None` for the reference, and for runs on other images or classes.
    pub difference: Option<Estimate>,
    /// The share of resamples in which it is better than the reference; ties count half.
    pub better: Option<f64>,
    /// Why there is no difference, such as `other images`; empty if there is one.
    pub why_none: String,
}
