//! The evaluation report on a set of predictions: over the joint classes, and for each factor.
//!
//! A factor's predicted class is that of the predicted joint class, since that is what is submitted; its log
//! loss and calibration error are those of the marginal probabilities.

use base::{Seed, Task, task::Scope};
use serde::{Deserialize, Serialize};

use crate::{
    Bootstrapped, Confusion, Interval, MacroF1, N_RESAMPLES, People, PersonSums, Prediction,
    Predictions, Projection, Resamples, RunningMetric, accuracy::Accuracy, age_mae::AgeMae,
    balanced_accuracy::BalancedAccuracy, expected_calibration_error::ExpectedCalibrationError,
    log_loss::LogLoss, top_k::TopK,
};

/// Scores over the joint classes and for each factor.
#[derive(Clone, Debug)]
pub struct Report {
    /// The number of people in the images.
    pub n_people: usize,
    /// The number of images.
    pub n_images: usize,
    /// The joint classes first, then each factor.
    pub scopes: Vec<ScopeReport>,
    /// The mean absolute error of the age in years, if the head predicts years.
    pub age_mae: Option<f64>,
}

/// Scores over the classes of one scope.
#[derive(Clone, Debug)]
pub struct ScopeReport {
    /// The scope.
    pub scope: Scope,
    /// `joint`, or the factor's name.
    pub name: String,
    /// The classes' names.
    pub classes: Vec<String>,
    /// The confusion matrix.
    pub confusion: Confusion,
    /// Macro F1 with its confidence interval, bootstrapped over people.
    pub macro_f1: Interval,
    /// The main scores.
    pub scores: Scores,
}

/// The main scores of one scope.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The mean F1 of the classes.
    pub macro_f1: f64,
    /// The share of correct predictions.
    pub accuracy: f64,
    /// The mean recall of the classes that occur.
    pub balanced_accuracy: f64,
    /// The share of images whose class is among the two most probable.
    pub top_2: f64,
    /// The mean of -ln p of the true class.
    pub log_loss: f64,
    /// The mean absolute difference between confidence and accuracy.
    pub expected_calibration_error: f64,
}

/// Accumulates predictions for a report: sums, counts, and what each person adds to macro F1.
///
/// Nothing else is kept of an image, so memory does not grow with the number of classes times images.
pub struct Evaluation {
    task: Task,
    n_images: usize,
    scopes: Vec<ScopeSums>,
    age_mae: RunningMetric<'static>,
}

/// The sums and counts for one scope.
struct ScopeSums {
    projection: Projection,
    confusion: Confusion,
    /// In the order of [`Scores`].
    totals: [RunningMetric<'static>; 6],
    macro_f1: PersonSums,
}

impl Evaluation {
    /// Creates an evaluation without predictions.
    pub fn new(task: &Task) -> Evaluation {
        let scope = |projection: Projection| {
            let n = projection.n_classes();
            ScopeSums {
                confusion: Confusion::new(n),
                totals: [
                    RunningMetric::new(&MacroF1::DEFAULT, n),
                    RunningMetric::new(&Accuracy {}, n),
                    RunningMetric::new(&BalancedAccuracy {}, n),
                    RunningMetric::new(&TopK { k: 2 }, n),
                    RunningMetric::new(&LogLoss {}, n),
                    RunningMetric::new(&ExpectedCalibrationError::DEFAULT, n),
                ],
                macro_f1: PersonSums::default(),
                projection,
            }
        };
        Evaluation {
            task: task.clone(),
            n_images: 0,
            scopes: Projection::all(task).into_iter().map(scope).collect(),
            age_mae: RunningMetric::new(&AgeMae {}, task.n_classes()),
        }
    }

    /// Adds the prediction for one image.
    pub fn add(&mut self, it: &Prediction<'_>) {
        self.n_images += 1;
        self.age_mae.add(it);
        for scope in &mut self.scopes {
            let it = &scope.projection.of(it);
            scope.confusion.add(it.class, it.predicted, 1);
            scope.totals.iter_mut().for_each(|total| total.add(it));
            scope.macro_f1.add(&MacroF1::DEFAULT, it);
        }
    }

    /// Returns the report; `seed` seeds the bootstrap of the intervals.
    pub fn report(self, seed: Seed) -> Report {
        let Evaluation { task, n_images, scopes, age_mae } = self;
        let mut people = Vec::new();
        let mut reports = Vec::new();
        for ScopeSums { projection, confusion, totals, macro_f1 } in scopes {
            let [macro_f1_value, accuracy, balanced_accuracy, top_2, log_loss, error] =
                totals.map(|it| it.score());
            let scope = projection.scope();
            people.push((macro_f1.people(), projection.n_classes()));
            reports.push(ScopeReport {
                scope,
                name: task.scope_name(scope).to_owned(),
                classes: task.class_names(scope),
                confusion,
                macro_f1: Interval { value: macro_f1_value, low: f64::NAN, high: f64::NAN },
                scores: Scores {
                    macro_f1: macro_f1_value,
                    accuracy,
                    balanced_accuracy,
                    top_2,
                    log_loss,
                    expected_calibration_error: error,
                },
            });
        }
        let n_people = people[0].0.len();
        let resamples = Resamples::new(n_people, N_RESAMPLES, seed);
        let of: Vec<(&People, usize)> = people.iter().map(|(it, n)| (it, *n)).collect();
        for (report, resamples) in reports.iter_mut().zip(resamples.scores(&MacroF1::DEFAULT, &of))
        {
            report.macro_f1 = Bootstrapped { value: report.scores.macro_f1, resamples }.interval();
        }
        Report {
            n_people,
            n_images,
            scopes: reports,
            age_mae: Some(age_mae.score()).filter(|it| it.is_finite()),
        }
    }
}

impl Report {
    /// Creates the report on predictions in memory; `seed` seeds the bootstrap of the intervals.
    pub fn new(predictions: &Predictions, seed: Seed) -> Report {
        let mut evaluation = Evaluation::new(&predictions.task);
        predictions.iter().for_each(|it| evaluation.add(&it));
        evaluation.report(seed)
    }

    /// The report on the joint classes.
    pub fn joint(&self) -> &ScopeReport {
        &self.scopes[0]
    }
}
