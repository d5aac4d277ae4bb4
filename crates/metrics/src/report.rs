//! All that is said about a set of predictions: over the joint classes, and for each factor.
//!
//! A factor's class is that of the predicted joint class, since that is what is submitted; its log
//! loss and its calibration are those of the marginal probabilities.

use base::{Seed, task::Scope};
use serde::{Deserialize, Serialize};

use crate::{
    Confusion, Interval, MacroF1, Metric as _, N_DRAWS, Predictions, accuracy::Accuracy,
    age_error::AgeError, balanced_accuracy::BalancedAccuracy, bootstrap,
    expected_calibration_error::ExpectedCalibrationError, log_loss::LogLoss, top_k::TopK,
};

/// Scores over the joint classes and for each factor.
#[derive(Clone, Debug)]
pub struct Report {
    /// How many people are on the pictures.
    pub n_people: usize,
    /// How many pictures there are.
    pub n_pictures: usize,
    /// The joint classes first, then each factor.
    pub scopes: Vec<ScopeReport>,
    /// How many years ages are off on average, where a head says years.
    pub age_error: Option<f64>,
}

/// Scores over the classes of one scope.
#[derive(Clone, Debug)]
pub struct ScopeReport {
    /// Which question.
    pub scope: Scope,
    /// `joint`, or the factor's name.
    pub name: String,
    /// The classes' names.
    pub classes: Vec<String>,
    /// Who is taken for whom.
    pub confusion: Confusion,
    /// Macro F1 with its interval over people.
    pub macro_f1: Interval,
    /// The main scores.
    pub scores: Scores,
}

/// The main scores of one scope.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The mean F1 of the classes.
    pub macro_f1: f64,
    /// The share of right predictions.
    pub accuracy: f64,
    /// The mean recall of the classes that occur.
    pub balanced_accuracy: f64,
    /// The share of pictures whose class is among the two most probable.
    pub top_2: f64,
    /// The mean of -ln p of the true class.
    pub log_loss: f64,
    /// How far confidence and the share of right predictions lie apart.
    pub expected_calibration_error: f64,
}

impl Report {
    /// The report on predictions; `seed` draws the intervals.
    pub fn new(predictions: &Predictions, seed: Seed) -> Report {
        let task = &predictions.task;
        let scope_report = |scope| {
            let predictions = predictions.project(scope);
            let macro_f1 = bootstrap(&MacroF1::default(), &predictions, N_DRAWS, seed);
            ScopeReport {
                scope,
                name: task.scope_name(scope).to_owned(),
                classes: task.class_names(scope),
                confusion: Confusion::of(&predictions),
                macro_f1,
                scores: Scores {
                    macro_f1: macro_f1.value,
                    accuracy: Accuracy {}.score(&predictions),
                    balanced_accuracy: BalancedAccuracy {}.score(&predictions),
                    top_2: TopK { k: 2 }.score(&predictions),
                    log_loss: LogLoss {}.score(&predictions),
                    expected_calibration_error: ExpectedCalibrationError::default()
                        .score(&predictions),
                },
            }
        };
        let mut people = predictions.people.clone();
        people.sort_unstable();
        people.dedup();
        Report {
            n_people: people.len(),
            n_pictures: predictions.len(),
            scopes: task.scopes().into_iter().map(scope_report).collect(),
            age_error: Some(AgeError {}.score(predictions)).filter(|it| it.is_finite()),
        }
    }

    /// The joint classes' part.
    pub fn joint(&self) -> &ScopeReport {
        &self.scopes[0]
    }
}
