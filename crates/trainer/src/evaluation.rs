//! Evaluation during training: three scores of each scope, and the score that selects the best model.
//!
//! They are accumulated as predictions arrive. No confidence interval is shown, so none is computed.

use base::Task;
use metrics::{Accuracy, LogLoss, MacroF1, Metric, Prediction, Projection, RunningMetric};

/// The scores of one scope that are reported during training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MainScores {
    /// Macro F1: the mean F1 of the classes.
    pub macro_f1: f64,
    /// Accuracy: the share of correct predictions.
    pub accuracy: f64,
    /// Log loss: the mean of -ln p of the true class.
    pub log_loss: f64,
}

/// An evaluation in progress.
pub(crate) struct Evaluation<'a> {
    scopes: Vec<(Projection, [RunningMetric<'static>; 3])>,
    best_by: RunningMetric<'a>,
    /// The predicted joint class of each image.
    predicted: Vec<usize>,
}

/// A finished evaluation.
pub(crate) struct Evaluated {
    /// The joint classes first, then each factor.
    pub(crate) scores: Vec<MainScores>,
    /// The score that selects the best model.
    pub(crate) best_by: f64,
    /// The predicted joint class of each image of the validation set.
    pub(crate) predicted: Vec<usize>,
}

impl<'a> Evaluation<'a> {
    /// Creates an evaluation without predictions.
    pub(crate) fn new(task: &Task, best_by: &'a dyn Metric) -> Evaluation<'a> {
        let totals = |projection: Projection| {
            let n = projection.n_classes();
            let totals = [
                RunningMetric::new(&MacroF1::DEFAULT, n),
                RunningMetric::new(&Accuracy {}, n),
                RunningMetric::new(&LogLoss::DEFAULT, n),
            ];
            (projection, totals)
        };
        Evaluation {
            scopes: Projection::all(task).into_iter().map(totals).collect(),
            best_by: RunningMetric::new(best_by, task.n_classes()),
            predicted: Vec::new(),
        }
    }

    /// Adds a prediction.
    pub(crate) fn add(&mut self, it: &Prediction<'_>) {
        self.best_by.add(it);
        self.predicted.push(it.predicted);
        for (projection, totals) in &mut self.scopes {
            let it = &projection.of(it);
            totals.iter_mut().for_each(|total| total.add(it));
        }
    }

    /// Returns the scores.
    pub(crate) fn finish(self) -> Evaluated {
        let scores = |(_, totals): &(Projection, [RunningMetric<'static>; 3])| {
            let [macro_f1, accuracy, log_loss] = totals.each_ref().map(RunningMetric::score);
            MainScores { macro_f1, accuracy, log_loss }
        };
        Evaluated {
            scores: self.scopes.iter().map(scores).collect(),
            best_by: self.best_by.score(),
            predicted: self.predicted,
        }
    }
}

#[cfg(test)]
mod tests {
    use base::{Seed, Task};
    use metrics::{MetricConfig, Predictions, Report};

    use super::{Evaluation, MainScores};

    #[test]
    fn evaluation_scores_match_the_report() {
        let task = Task::mask_gender_age();
        let p = |image: usize| {
            let mut p: Vec<f64> =
                (0..18).map(|it| ((it * 7 + image * 5) % 11 + 1) as f64).collect();
            let sum: f64 = p.iter().sum();
            p.iter_mut().for_each(|it| *it /= sum);
            p
        };
        let classes = (0..60).map(|it| it * 5 % 18).collect();
        let groups = (0..60).map(|it| it / 4).collect();
        let all = Predictions::new(task.clone(), (0..60).map(p).collect(), classes, groups);
        let top = MetricConfig::zoo().into_iter().find(|it| it.0 == "top_k").unwrap().1;
        let mut evaluation = Evaluation::new(&task, top.get());
        all.iter().for_each(|it| evaluation.add(&it));
        let it = evaluation.finish();
        let report = Report::new(&all, Seed(0));
        let want = report.scopes.iter().map(|it| it.scores).map(|it| MainScores {
            macro_f1: it.macro_f1,
            accuracy: it.accuracy,
            log_loss: it.log_loss,
        });
        assert!(it.scores.iter().copied().eq(want));
        assert_eq!((it.best_by, it.predicted), (report.joint().scores.top_k, all.predicted));
    }
}
