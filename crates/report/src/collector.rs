//! Collects predictions one by one: sums for the scores, and a few numbers of each image, from which everything else
//! on the page follows. Probabilities are not kept, so memory does not grow with the number of classes times images.

use base::{Seed, Task, task::Scope};
use ensemble::{Reliability, ReliabilityReport};
use metrics::{
    Accuracy, Evaluation, ExpectedCalibrationError, GroupSums, Interval, N_RESAMPLES, Prediction,
    Projection, Report, Resamples, ScopeReport,
};

use crate::contents::{
    ClassCalibration, ConfusionMatrix, Estimate, MOST_CLASSES, PairCount, ReliabilityBin,
    ReliabilityOf, ScopeScores, defined,
};

/// The seed of every interval, that of the other reports.
pub(crate) const SEED: Seed = Seed(0);
/// The number of confusions that are listed.
const N_PAIRS: usize = 15;

/// What is kept of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// The true joint class.
    pub class: usize,
    /// The predicted joint class.
    pub predicted: usize,
    /// The group, from 0.
    pub group: usize,
    /// The probability of the predicted class.
    pub probability: f64,
    /// The probability of the true class.
    pub of_actual: f64,
}

impl Record {
    /// Whether the joint class is predicted correctly.
    pub fn is_correct(&self) -> bool {
        self.class == self.predicted
    }
}

/// Collects predictions.
pub struct Collector {
    task: Task,
    evaluation: Evaluation,
    scopes: Vec<ScopeSums>,
    records: Vec<Record>,
}

/// The sums of a scope.
struct ScopeSums {
    projection: Projection,
    accuracy: GroupSums<'static>,
    reliability: Reliability,
}

/// Everything that follows from the predictions.
pub struct Collected {
    /// The task.
    pub task: Task,
    /// The images, in the order in which they were added.
    pub records: Vec<Record>,
    /// The number of groups.
    pub n_groups: usize,
    pub(crate) report: Report,
    accuracies: Vec<Interval>,
    reliability: Vec<ReliabilityReport>,
    pub(crate) resamples: Resamples,
}

impl Collector {
    /// Creates a collector of no images.
    pub fn new(task: &Task) -> Collector {
        let scope = |projection: Projection| {
            let own = match projection.scope() {
                Scope::Joint => task.clone(),
                Scope::Factor(idx) => {
                    Task { factors: vec![task.factors[idx].clone()], unit: task.unit }
                }
            };
            let accuracy = GroupSums::new(&Accuracy {}, projection.n_classes());
            ScopeSums { projection, accuracy, reliability: Reliability::new(&own) }
        };
        Collector {
            task: task.clone(),
            evaluation: Evaluation::new(task),
            scopes: Projection::all(task).into_iter().map(scope).collect(),
            records: Vec::new(),
        }
    }

    /// Adds the prediction for an image; groups are numbered from 0, and in the end each has images.
    ///
    /// # Panics
    /// If it has not as many probabilities as the task has classes.
    pub fn add(&mut self, it: &Prediction<'_>) {
        self.evaluation.add(it);
        for scope in &mut self.scopes {
            let it = &scope.projection.of(it);
            scope.accuracy.add(it);
            scope.reliability.add(it);
        }
        let Prediction { class, predicted, group, probabilities, .. } = *it;
        let (probability, of_actual) = (probabilities[predicted], probabilities[class]);
        self.records.push(Record { class, predicted, group, probability, of_actual });
    }

    /// Returns what follows from the predictions.
    pub fn finish(self) -> Collected {
        let Collector { task, evaluation, scopes, records } = self;
        let (mut accuracies, mut reliability) = (Vec::new(), Vec::new());
        for it in scopes {
            accuracies.push(it.accuracy.groups());
            reliability.push(it.reliability.report(SEED));
        }
        let n_groups = accuracies.first().map_or(0, metrics::Groups::len);
        let resamples = Resamples::new(n_groups, N_RESAMPLES, SEED);
        let accuracies = resamples.scores(&accuracies).iter().map(|it| it.interval()).collect();
        let report = evaluation.report(SEED);
        Collected { task, records, n_groups, report, accuracies, reliability, resamples }
    }
}

impl Collected {
    /// Returns an interval; that of a single group is none, since all of its resamples are the same.
    pub(crate) fn estimate(&self, it: Interval) -> Estimate {
        match self.n_groups {
            0 | 1 => Estimate::of(it.value),
            _ => it.into(),
        }
    }

    /// Returns the scores of each scope.
    pub fn scores(&self) -> Vec<ScopeScores> {
        let scores = |(scope, accuracy): (&ScopeReport, &Interval)| ScopeScores {
            name: scope.name.clone(),
            n_classes: scope.classes.len(),
            macro_f1: self.estimate(scope.macro_f1),
            accuracy: self.estimate(*accuracy),
            balanced_accuracy: defined(scope.scores.balanced_accuracy),
            k: scope.scores.k,
            top_k: defined(scope.scores.top_k),
            log_loss: defined(scope.scores.log_loss),
            ece: defined(scope.scores.expected_calibration_error),
        };
        self.report.scopes.iter().zip(&self.accuracies).map(scores).collect()
    }

    /// Returns the confusion matrix of each scope.
    pub fn confusions(&self) -> Vec<ConfusionMatrix> {
        self.report.scopes.iter().map(confusion).collect()
    }

    /// Returns the reliability of each scope.
    pub fn reliability(&self) -> Vec<ReliabilityOf> {
        self.report
            .scopes
            .iter()
            .zip(&self.reliability)
            .map(|it| self.of_scope(it.0, it.1))
            .collect()
    }

    fn of_scope(&self, scope: &ScopeReport, it: &ReliabilityReport) -> ReliabilityOf {
        let n_bins = ExpectedCalibrationError::DEFAULT.bins as f64;
        let bin = |(idx, it): (usize, &ensemble::Bin)| ReliabilityBin {
            low: idx as f64 / n_bins,
            high: (idx + 1) as f64 / n_bins,
            n_images: it.n_images,
            confidence: it.confidence,
            accuracy: it.accuracy,
        };
        let n = self.records.len().max(1) as f64;
        let mut classes: Vec<ClassCalibration> = it
            .classes
            .iter()
            .map(|it| ClassCalibration {
                name: it.class.clone(),
                n_images: it.n_images,
                ece: it.ece,
                mean_probability: it
                    .bins
                    .iter()
                    .map(|bin| bin.confidence * bin.n_images as f64)
                    .sum::<f64>()
                    / n,
                share: it.n_images as f64 / n,
            })
            .collect();
        classes.sort_by(|a, b| b.ece.total_cmp(&a.ece));
        classes.truncate(MOST_CLASSES);
        ReliabilityOf {
            name: scope.name.clone(),
            ece: self.estimate(it.ece),
            bins: it.bins.iter().enumerate().map(bin).collect(),
            classes,
        }
    }

    /// Returns the number of wrong images, and of these how many have each factor wrong.
    pub fn wrong_factors(&self) -> (usize, Vec<usize>) {
        let mut n_wrong = vec![0; self.task.factors.len()];
        let wrong = self.records.iter().filter(|it| !it.is_correct());
        let mut n = 0;
        for it in wrong {
            n += 1;
            let [actual, predicted] = [it.class, it.predicted].map(|it| self.task.levels_of(it));
            let levels = actual.into_iter().zip(predicted);
            n_wrong.iter_mut().zip(levels).for_each(|(n, it)| *n += usize::from(it.0 != it.1));
        }
        (n, n_wrong)
    }

    /// Returns the class that has images here with the fewest training images, the first of equals, and their number;
    /// `None` if they are more than half of those of the median class.
    ///
    /// - `n_trained`: the number of training images of each joint class.
    pub fn rarest(&self, n_trained: &[usize]) -> Option<(String, usize)> {
        let mut occurs = vec![false; self.task.n_classes()];
        self.records.iter().for_each(|it| occurs[it.class] = true);
        let counts = n_trained.iter().enumerate().filter(|it| occurs.get(it.0) == Some(&true));
        let mut sorted: Vec<usize> = counts.clone().map(|it| *it.1).collect();
        sorted.sort_unstable();
        let (class, &n) = counts.min_by_key(|it| it.1)?;
        // The median is the mean of the two middle ones, which are the same of an odd number.
        let middle = |at: usize| sorted.get(at).copied().unwrap_or_default();
        let twice_median = middle((sorted.len() - 1) / 2) + middle(sorted.len() / 2);
        (4 * n <= twice_median).then(|| (self.task.class_name(class, Scope::Joint), n))
    }
}

fn confusion(scope: &ScopeReport) -> ConfusionMatrix {
    let n = scope.classes.len();
    let row = |actual| (0..n).map(|predicted| scope.confusion.count(actual, predicted)).collect();
    let all = scope.confusion.confusions();
    ConfusionMatrix {
        name: scope.name.clone(),
        classes: scope.classes.clone(),
        counts: if n > MOST_CLASSES { Vec::new() } else { (0..n).map(row).collect() },
        pairs: all.iter().take(N_PAIRS).map(|&it| pair(scope, it)).collect(),
        n_pairs: all.len(),
    }
}

/// Returns a confusion as `(true class, predicted class, number of images)` with its shares.
pub(crate) fn pair(scope: &ScopeReport, of: (usize, usize, usize)) -> PairCount {
    let (actual, predicted, n_images) = of;
    let n_errors: usize = scope.confusion.confusions().iter().map(|it| it.2).sum();
    let share = |of: usize| n_images as f64 / of.max(1) as f64;
    PairCount {
        actual: scope.classes[actual].clone(),
        predicted: scope.classes[predicted].clone(),
        n_images,
        of_class: share(scope.confusion.class(actual).support),
        of_errors: share(n_errors),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{collected, two_factors};

    #[test]
    fn scores_confusions_and_reliability_follow_from_the_predictions() {
        let it = collected(&two_factors());
        // 4 of 6 images are right; of the two wrong ones one has a wrong mask and both a wrong size.
        let scores = it.scores();
        let names: Vec<&str> = scores.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["joint", "mask", "size"]);
        let accuracies: Vec<f64> = scores.iter().map(|it| it.accuracy.value.unwrap()).collect();
        assert_eq!(accuracies, [4.0 / 6.0, 5.0 / 6.0, 4.0 / 6.0]);
        assert!(scores[0].accuracy.low.unwrap() < scores[0].accuracy.high.unwrap());
        assert_eq!(it.wrong_factors(), (2, vec![1, 2]));
        // Class 1 has no images here.
        assert_eq!(it.rarest(&[30, 1, 10, 20]), Some(("a, \"b\" s".to_owned(), 10)));
        // More than half of the median, 20.
        assert_eq!(it.rarest(&[30, 1, 11, 20]), None);
        assert_eq!(it.rarest(&[20, 20, 20, 20]), None);
        assert_eq!(it.rarest(&[]), None);
        let joint = &it.confusions()[0];
        assert_eq!(joint.counts[0], [2, 1, 0, 1]);
        assert_eq!((joint.n_pairs, joint.pairs.len()), (2, 2));
        let first = &joint.pairs[0];
        assert_eq!(
            (first.actual.as_str(), first.predicted.as_str()),
            ("<script> s", "<script> 큰")
        );
        assert_eq!((first.n_images, first.of_class, first.of_errors), (1, 0.25, 0.5));
        // Confidence 0.7 of all six images is in the bin (10/15, 11/15].
        let reliability = &it.reliability()[0];
        assert_eq!(reliability.bins.len(), 15);
        let bin = reliability.bins[10];
        assert_eq!((bin.n_images, bin.accuracy), (6, 4.0 / 6.0));
        assert!((bin.confidence - 0.7).abs() < 1e-12 && bin.low < 0.7 && bin.high > 0.7);
        assert!((reliability.ece.value.unwrap() - (0.7 - 4.0 / 6.0)).abs() < 1e-12);
        // Class 0 has 4 of 6 images, and a mean probability of (2 * 0.7 + 4 * 0.1) / 6.
        let class = reliability.classes.iter().find(|it| it.name == "<script> s").unwrap();
        assert!((class.share - 4.0 / 6.0).abs() < 1e-12);
        assert!((class.mean_probability - 0.3).abs() < 1e-12);
        assert!(reliability.classes.windows(2).all(|it| it[0].ece >= it[1].ece));
    }
}
