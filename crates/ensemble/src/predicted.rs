//! Predictions for held-out images, with their scores.

use base::Seed;
use metrics::{
    Comparison, Evaluation, GroupSums, Groups, Metric, N_RESAMPLES, Prediction, Report, Resamples,
    RunningMetric, argmax, compare,
};
use rayon::prelude::*;

use crate::{CombineConfig, HeldOut};

/// One prediction for each held-out image.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicted<'a> {
    /// The images, with the predictions that these were made of.
    pub held_out: &'a HeldOut,
    /// The probabilities of the joint classes, `[image * n_classes + class]`.
    pub probabilities: Vec<f64>,
    /// The predicted class of each image.
    pub predicted: Vec<usize>,
}

impl<'a> Predicted<'a> {
    /// Returns what `f` makes of the probabilities of all members for each image: probabilities, and the predicted
    /// class.
    pub fn new(
        held_out: &'a HeldOut,
        f: impl Fn(&[&[f64]]) -> (Vec<f64>, usize) + Sync,
    ) -> Predicted<'a> {
        let images: Vec<usize> = (0..held_out.n_images()).collect();
        let mut predicted = Predicted::none(held_out);
        predicted.fill(&images, &f);
        predicted
    }

    /// Returns the predictions of a combination of the members; the most probable class is predicted.
    pub fn combined(held_out: &'a HeldOut, combine: &CombineConfig) -> Predicted<'a> {
        Predicted::new(held_out, |rows| {
            let probabilities = combine.get().combine(rows);
            let predicted = argmax(&probabilities);
            (probabilities, predicted)
        })
    }

    /// Returns the predictions of one member; the most probable class is predicted.
    pub fn member(held_out: &'a HeldOut, member: usize) -> Predicted<'a> {
        Predicted::new(held_out, |rows| (rows[member].to_vec(), argmax(rows[member])))
    }

    /// Returns predictions that are all zero.
    pub(crate) fn none(held_out: &'a HeldOut) -> Predicted<'a> {
        let n = held_out.n_images();
        let probabilities = vec![0.0; n * held_out.task.n_classes()];
        Predicted { held_out, probabilities, predicted: vec![0; n] }
    }

    /// Sets the predictions for some images, given rising.
    pub(crate) fn fill(
        &mut self,
        images: &[usize],
        f: &(impl Fn(&[&[f64]]) -> (Vec<f64>, usize) + Sync + ?Sized),
    ) {
        let (held_out, n_classes) = (self.held_out, self.held_out.task.n_classes());
        // A piece of the images at a time, so that the rows are not in memory twice.
        for images in images.chunks(4096) {
            let rows: Vec<(Vec<f64>, usize)> =
                images.par_iter().map(|&image| f(&held_out.rows(image))).collect();
            for (&image, (probabilities, predicted)) in images.iter().zip(rows) {
                self.probabilities[image * n_classes..][..n_classes]
                    .copy_from_slice(&probabilities);
                self.predicted[image] = predicted;
            }
        }
    }

    /// Returns the probabilities of one image.
    pub fn row(&self, image: usize) -> &[f64] {
        let n = self.held_out.task.n_classes();
        &self.probabilities[image * n..][..n]
    }

    /// Iterates over the predictions for single images, with their true classes and groups.
    pub fn iter(&self) -> impl Iterator<Item = Prediction<'_>> {
        (0..self.predicted.len()).map(|image| Prediction {
            probabilities: self.row(image),
            predicted: self.predicted[image],
            class: self.held_out.classes[image],
            group: self.held_out.groups[image],
            number: None,
            true_number: None,
        })
    }

    /// Returns the evaluation of all images, to which others can be added.
    pub fn evaluation(&self) -> Evaluation {
        let mut evaluation = Evaluation::new(&self.held_out.task);
        self.iter().for_each(|it| evaluation.add(&it));
        evaluation
    }

    /// Returns the report, with intervals over groups; `seed` seeds their bootstrap.
    pub fn report(&self, seed: Seed) -> Report {
        self.evaluation().report(seed)
    }

    /// Returns the score of a metric.
    pub fn score(&self, metric: &dyn Metric) -> f64 {
        let mut running = RunningMetric::new(metric, self.held_out.task.n_classes());
        self.iter().for_each(|it| running.add(&it));
        running.score()
    }

    /// Returns a score, and what each group adds to it.
    pub fn groups<'m>(&self, metric: &'m dyn Metric) -> Groups<'m> {
        let mut sums = GroupSums::new(metric, self.held_out.task.n_classes());
        self.iter().for_each(|it| sums.add(&it));
        sums.groups()
    }

    /// Returns the paired comparison with other predictions for the same images, `other` being side B.
    ///
    /// # Panics
    /// If the groups differ.
    pub fn compare(&self, other: &Predicted<'_>, metric: &dyn Metric, seed: Seed) -> Comparison {
        let sides = [self.groups(metric), other.groups(metric)];
        let scores = Resamples::new(sides[0].len(), N_RESAMPLES, seed).scores(&sides);
        compare(metric, &scores[0], &scores[1])
    }
}

#[cfg(test)]
mod tests {
    use base::{Seed, Task, task::Factor};
    use metrics::MacroF1;
    use testkit::check_close_slices;

    use super::Predicted;
    use crate::{CombineConfig, HeldOut};

    /// Two members for four images of two groups.
    fn held_out() -> HeldOut {
        HeldOut {
            task: Task::new(vec![Factor::new("class", &["a", "b"])]),
            classes: vec![0, 1, 0, 1],
            groups: vec![0, 0, 1, 1],
            folds: vec![0; 4],
            members: vec![
                vec![0.9, 0.1, 0.6, 0.4, 0.8, 0.2, 0.3, 0.7],
                vec![0.6, 0.4, 0.2, 0.8, 0.4, 0.6, 0.4, 0.6],
            ],
        }
    }

    #[test]
    fn all_images_are_predicted_in_their_order() {
        let held_out = held_out();
        let it = Predicted::combined(&held_out, &CombineConfig::default());
        assert_eq!(it.predicted, [0, 1, 0, 1]);
        check_close_slices(it.row(3), &[0.35, 0.65], 1e-12);
        assert_eq!(Predicted::member(&held_out, 0).predicted, [0, 0, 0, 1]);
        let report = it.report(Seed(0));
        assert_eq!((report.n_images, report.n_groups), (4, 2));
        assert_eq!(report.joint().macro_f1.value, 1.0);
    }

    #[test]
    fn the_better_side_of_a_comparison_is_found() {
        let held_out = held_out();
        let (one, both) = (
            Predicted::member(&held_out, 0),
            Predicted::combined(&held_out, &CombineConfig::default()),
        );
        let it = one.compare(&both, &MacroF1::DEFAULT, Seed(0));
        assert_eq!(it.b.value, 1.0);
        assert!(it.difference.value > 0.0 && it.b_is_better >= 0.5, "{it:?}");
    }

    #[test]
    fn no_images_have_a_report() {
        let nothing = held_out().subset(&[]);
        let it = Predicted::combined(&nothing, &CombineConfig::default());
        assert_eq!(it.report(Seed(0)).n_images, 0);
    }
}
