//! Scores a cross-validation on the test set of its data: the mean of the probabilities of its folds' models, and the
//! folds' models one by one, whose scores are averaged.
//!
//! All intervals are over the same resamples of groups. That of a mean is the interval of the folds' mean score in each
//! resample: it contains the chance of the test set, not that of training.

use base::{Task, task::Scope};
use metrics::{
    Accuracy, Bootstrapped, GroupSums, Groups, MacroF1, N_RESAMPLES, Prediction, Projection,
    Resamples,
};

use crate::{
    collector::SEED,
    contents::{Estimate, ModelScores, TestScope, TestScores},
};

/// The scores of a scope: macro F1, then accuracy.
const N_SCORES: usize = 2;

/// The sums of a table of predictions in each scope.
pub struct TestSums {
    scopes: Vec<(Projection, [GroupSums<'static>; N_SCORES])>,
    n_images: usize,
}

impl TestSums {
    /// Creates the sums of no images.
    pub fn new(task: &Task) -> TestSums {
        let scope = |it: Projection| {
            let n = it.n_classes();
            (it, [GroupSums::new(&MacroF1::DEFAULT, n), GroupSums::new(&Accuracy {}, n)])
        };
        TestSums { scopes: Projection::all(task).into_iter().map(scope).collect(), n_images: 0 }
    }

    /// Adds the prediction for an image; groups are numbered from 0, and in the end each has images.
    ///
    /// # Panics
    /// If it has not as many probabilities as the task has classes.
    pub fn add(&mut self, it: &Prediction<'_>) {
        for (projection, sums) in &mut self.scopes {
            let it = projection.of(it);
            sums.iter_mut().for_each(|sum| sum.add(&it));
        }
        self.n_images += 1;
    }

    fn groups(self) -> Vec<Groups<'static>> {
        self.scopes.into_iter().flat_map(|it| it.1.map(GroupSums::groups)).collect()
    }
}

/// Returns the scores; `None` without tables.
///
/// - `folds`: the predictions of each fold's model.
/// - `ensemble`: the mean of their probabilities.
///
/// # Panics
/// If the tables have different groups.
pub fn test_scores(
    task: &Task,
    folds: Vec<TestSums>,
    ensemble: Option<TestSums>,
) -> Option<TestScores> {
    let n_images = folds.iter().chain(&ensemble).next()?.n_images;
    let (n_folds, has_ensemble) = (folds.len(), ensemble.is_some());
    let tables = folds.into_iter().chain(ensemble);
    let groups: Vec<Groups<'_>> = tables.flat_map(TestSums::groups).collect();
    let n_groups = groups.first().map_or(0, Groups::len);
    let scores = Resamples::new(n_groups, N_RESAMPLES, SEED).scores(&groups);
    // The folds, then the ensemble.
    let by_table: Vec<&[Bootstrapped]> = scores.chunks(N_SCORES * task.scopes().len()).collect();
    let (of_folds, of_ensemble) = by_table.split_at(n_folds);
    // The interval of a single group is none, since all of its resamples are the same.
    let estimate = |of: &[&[Bootstrapped]], at: usize| {
        let all: Vec<Bootstrapped> = of.iter().map(|it| it[at].clone()).collect();
        match (all.is_empty(), n_groups) {
            (true, _) => Estimate::default(),
            (_, 0 | 1) => Estimate::of(Bootstrapped::mean(&all).value),
            _ => Bootstrapped::mean(&all).interval().into(),
        }
    };
    let model = |of: &[&[Bootstrapped]], scope: usize| ModelScores {
        macro_f1: estimate(of, N_SCORES * scope),
        accuracy: estimate(of, N_SCORES * scope + 1),
    };
    let scope = |(idx, it): (usize, Scope)| TestScope {
        name: task.scope_name(it).to_owned(),
        ensemble: model(of_ensemble, idx),
        folds: model(of_folds, idx),
    };
    let scopes = task.scopes().into_iter().enumerate().map(scope).collect();
    Some(TestScores { n_images, n_groups, n_folds, has_ensemble, scopes })
}

#[cfg(test)]
mod tests {
    use super::{TestSums, test_scores};
    use crate::{
        contents::Estimate,
        testing::{Image, add_all, two_factors},
    };

    #[test]
    fn folds_are_averaged_and_the_ensemble_is_scored_by_itself() {
        let (task, images) = two_factors();
        let sums = |images: &[Image]| {
            let mut sums = TestSums::new(&task);
            add_all(&task, images, &mut |it| sums.add(it));
            sums
        };
        let right: Vec<Image> = images.iter().map(|&(class, _, it)| (class, class, it)).collect();
        // 4 of 6 images are right in one fold, of the factors 5 and 4; all in the other and in the ensemble.
        let folds = || vec![sums(&images), sums(&right)];
        let it = test_scores(&task, folds(), Some(sums(&right))).unwrap();
        assert_eq!((it.n_images, it.n_groups, it.n_folds, it.has_ensemble), (6, 3, 2, true));
        let names: Vec<&str> = it.scopes.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["joint", "mask", "size"]);
        for (scope, right) in it.scopes.iter().zip([4.0, 5.0, 4.0]) {
            let mean = scope.folds.accuracy;
            assert!((mean.value.unwrap() - (right + 6.0) / 12.0).abs() < 1e-12, "{scope:?}");
            assert!(mean.low.unwrap() < mean.value.unwrap() && mean.high > mean.value);
            let ensemble = scope.ensemble.accuracy;
            assert_eq!([ensemble.value, ensemble.low, ensemble.high], [Some(1.0); 3]);
        }
        // F1 of the four classes in the first fold: 2 of 4 images of class 0, so 2 * 2 / (2 + 4); class 1 is only
        // predicted; class 2 is right; class 3 is predicted twice, right once.
        let first = (2.0 / 3.0 + 0.0 + 1.0 + 2.0 / 3.0) / 4.0;
        let macro_f1 = it.scopes[0].folds.macro_f1.value.unwrap();
        assert!((macro_f1 - (first + 1.0) / 2.0).abs() < 1e-12, "{macro_f1}");

        let it = test_scores(&task, folds(), None).unwrap();
        assert_eq!((it.has_ensemble, it.scopes[0].ensemble.macro_f1), (false, Estimate::default()));
        let it = test_scores(&task, Vec::new(), Some(sums(&right))).unwrap();
        assert_eq!((it.n_folds, it.scopes[0].folds.accuracy), (0, Estimate::default()));
        assert_eq!(test_scores(&task, Vec::new(), None), None);
        // A single group has no interval.
        let one: Vec<Image> = images.iter().map(|it| (it.0, it.1, 0)).collect();
        let it = test_scores(&task, vec![sums(&one)], None).unwrap();
        assert_eq!(it.scopes[0].folds.accuracy, Estimate::of(4.0 / 6.0));
    }
}
