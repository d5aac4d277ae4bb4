//! All that is said about a set of predictions: over the joint classes, and for each factor.
//!
//! A factor's class is that of the predicted joint class, since that is what is submitted; its log
//! loss is that of the marginal probabilities.

use base::{Seed, task::Scope};
use serde::{Deserialize, Serialize};

use crate::{Confusion, Interval, Predictions, bootstrap, log_loss::log_loss};

/// Draws of the people that intervals are made from.
const N_DRAWS: usize = 1000;

/// Scores over the joint classes and for each factor.
#[derive(Clone, Debug)]
pub struct Report {
    /// Macro F1 over the joint classes, with its interval over people.
    pub macro_f1: Interval,
    /// How many people are on the pictures.
    pub n_people: usize,
    /// How many pictures there are.
    pub n_pictures: usize,
    /// The joint classes first, then each factor.
    pub scopes: Vec<ScopeReport>,
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
    /// The mean of -ln p of the true class.
    pub log_loss: f64,
}

impl Report {
    /// The report on predictions; `seed` draws the interval.
    pub fn new(predictions: &Predictions, seed: Seed) -> Report {
        let task = &predictions.task;
        let predicted = predictions.predicted();
        let scope_report = |scope| {
            let project = |class| task.project(class, scope);
            let pairs = predictions.classes.iter().zip(&predicted);
            let pairs = pairs.map(|(&truth, &predicted)| (project(truth), project(predicted)));
            let confusion = Confusion::of(task.n_classes_of(scope), pairs);
            let scores = Scores {
                macro_f1: confusion.macro_f1(),
                accuracy: confusion.accuracy(),
                log_loss: log_loss(predictions, scope),
            };
            let classes = task.class_names(scope);
            ScopeReport {
                scope,
                name: task.scope_name(scope).to_owned(),
                classes,
                confusion,
                scores,
            }
        };
        let mut people = predictions.people.clone();
        people.sort_unstable();
        people.dedup();
        Report {
            macro_f1: bootstrap(predictions, N_DRAWS, seed),
            n_people: people.len(),
            n_pictures: predictions.classes.len(),
            scopes: task.scopes().into_iter().map(scope_report).collect(),
        }
    }

    /// The joint classes' part.
    pub fn joint(&self) -> &ScopeReport {
        &self.scopes[0]
    }
}
