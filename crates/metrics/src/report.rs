//! The evaluation report on a set of predictions: over the joint classes, and for each factor.
//!
//! A factor's predicted class is that of the predicted joint class, since that is what is submitted; its log
//! loss and calibration error are those of the marginal probabilities.

use base::{
    Seed, Task,
    task::{Scope, Unit},
};
use serde::{Deserialize, Serialize};

use crate::{
    AttributeReport, Confusion, GroupSums, Interval, MacroF1, N_RESAMPLES, Prediction, Predictions,
    Projection, Resamples, RunningMetric, accuracy::Accuracy, balanced_accuracy::BalancedAccuracy,
    expected_calibration_error::ExpectedCalibrationError, log_loss::LogLoss, mae::Mae, top_k::TopK,
};

/// Scores over the joint classes and for each factor.
#[derive(Clone, Debug)]
pub struct Report {
    /// What a group is.
    pub unit: Unit,
    /// The number of groups in the images.
    pub n_groups: usize,
    /// The number of images.
    pub n_images: usize,
    /// The joint classes first, then each factor.
    pub scopes: Vec<ScopeReport>,
    /// The mean absolute error of the number, if the head predicts one.
    pub mae: Option<f64>,
    /// The scores by attribute; empty without attributes.
    pub attributes: Vec<AttributeReport>,
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
    /// Macro F1 with its confidence interval, bootstrapped over groups.
    pub macro_f1: Interval,
    /// The main scores.
    pub scores: Scores,
}

/// The main scores of one scope; NaN where a probability was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The mean F1 of the classes.
    pub macro_f1: f64,
    /// The share of correct predictions.
    pub accuracy: f64,
    /// The mean recall of the classes that occur.
    pub balanced_accuracy: f64,
    /// The number of most probable classes of [`Scores::top_k`]: see [`Evaluation::top`].
    pub k: usize,
    /// The share of images whose class is among the `k` most probable.
    pub top_k: f64,
    /// The mean of -ln p of the true class.
    pub log_loss: f64,
    /// The mean absolute difference between confidence and accuracy.
    pub expected_calibration_error: f64,
}

/// Accumulates predictions for a report: sums, counts, and what each group adds to macro F1.
///
/// Nothing else is kept of an image, so memory does not grow with the number of classes times images.
pub struct Evaluation {
    task: Task,
    n_images: usize,
    scopes: Vec<ScopeSums>,
    mae: RunningMetric<'static>,
}

/// The sums and counts for one scope.
struct ScopeSums {
    projection: Projection,
    confusion: Confusion,
    macro_f1: GroupSums<'static>,
    /// In the order of [`Scores`].
    totals: [RunningMetric<'static>; 5],
}

impl Evaluation {
    /// The number of most probable classes that count as predicted in top-k accuracy: 5 where every scope of
    /// the task has more than 10 classes, 2 otherwise.
    pub fn top(task: &Task) -> &'static TopK {
        let is_many = task.scopes().into_iter().all(|it| task.n_classes_of(it) > 10);
        if is_many { &TopK { k: 5 } } else { &TopK { k: 2 } }
    }

    /// Creates an evaluation without predictions.
    pub fn new(task: &Task) -> Evaluation {
        let top = Evaluation::top(task);
        let scope = |projection: Projection| {
            let n = projection.n_classes();
            ScopeSums {
                confusion: Confusion::new(n),
                macro_f1: GroupSums::new(&MacroF1::DEFAULT, n),
                totals: [
                    RunningMetric::new(&Accuracy {}, n),
                    RunningMetric::new(&BalancedAccuracy {}, n),
                    RunningMetric::new(top, n),
                    RunningMetric::new(&LogLoss::DEFAULT, n),
                    RunningMetric::new(&ExpectedCalibrationError::DEFAULT, n),
                ],
                projection,
            }
        };
        Evaluation {
            task: task.clone(),
            n_images: 0,
            scopes: Projection::all(task).into_iter().map(scope).collect(),
            mae: RunningMetric::new(&Mae {}, task.n_classes()),
        }
    }

    /// Adds the prediction for one image.
    pub fn add(&mut self, it: &Prediction<'_>) {
        self.n_images += 1;
        self.mae.add(it);
        for scope in &mut self.scopes {
            let it = &scope.projection.of(it);
            scope.confusion.add(it.class, it.predicted, 1);
            scope.totals.iter_mut().for_each(|total| total.add(it));
            scope.macro_f1.add(it);
        }
    }

    /// Returns the report; `seed` seeds the bootstrap of the intervals.
    pub fn report(self, seed: Seed) -> Report {
        let Evaluation { task, n_images, scopes, mae } = self;
        let k = Evaluation::top(&task).k;
        let (mut groups, mut reports) = (Vec::new(), Vec::new());
        for ScopeSums { projection, confusion, macro_f1, totals } in scopes {
            let [accuracy, balanced_accuracy, top_k, log_loss, expected_calibration_error] =
                totals.map(|it| it.score());
            let scope = projection.scope();
            let macro_f1 = macro_f1.groups();
            let value = macro_f1.value;
            groups.push(macro_f1);
            reports.push(ScopeReport {
                scope,
                name: task.scope_name(scope).to_owned(),
                classes: task.class_names(scope),
                confusion,
                macro_f1: Interval { value, low: f64::NAN, high: f64::NAN },
                scores: Scores {
                    macro_f1: value,
                    accuracy,
                    balanced_accuracy,
                    k,
                    top_k,
                    log_loss,
                    expected_calibration_error,
                },
            });
        }
        let n_groups = groups[0].len();
        let intervals = Resamples::new(n_groups, N_RESAMPLES, seed).scores(&groups);
        for (report, bootstrapped) in reports.iter_mut().zip(intervals) {
            report.macro_f1 = bootstrapped.interval();
        }
        Report {
            unit: task.unit,
            n_groups,
            n_images,
            scopes: reports,
            mae: Some(mae.score()).filter(|it| it.is_finite()),
            attributes: Vec::new(),
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
