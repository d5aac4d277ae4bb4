//! Labels that are likely wrong: confident learning on predictions of models that were not trained on them.
//!
//! A *label* is the given level of one factor. If the images of most groups share one level, the factor is a
//! property of groups, and predictions are pooled per group: p_l ∝ exp(mean over the images of ln p_l). The
//! label is then the group's, one for all their images; for groups whose images are given different levels,
//! each image has its own label. Other factors are properties of images: each image has its own prediction
//! and label.
//!
//! The threshold of a level is its mean predicted probability over the labels of that level:
//! t_l = mean of p_l over the labels l. A label is an error if some level passes its own threshold, and the
//! most probable of the levels that do is not the given one; that level is suggested. Thresholds compensate
//! for levels of which models are never confident.
//!
//! Errors come first, then the other labels, both by ascending score. The score of probabilities p and the
//! given level l is the self-confidence p_l, or the normalised margin (p_l - max_{k ≠ l} p_k + 1) / 2.
//!
//! Northcutt, Jiang, Chuang, "Confident Learning", 2021. They have one label per example; ours is a product
//! of factors, each examined separately, and pooled per group. On synthetic people with 5 % of the images'
//! labels exchanged, self-confidence finds more errors than the margin, and pooled predictions more than
//! those of single images.

use std::collections::BTreeMap;

use base::task::Scope;
use serde::{Deserialize, Serialize};

use crate::{Predictions, argmax};

/// A label, with the evidence that it is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelIssue {
    /// The index of the factor in the task.
    pub factor: usize,
    /// The group, as predictions number them.
    pub group: usize,
    /// The images that have this label.
    pub images: Vec<usize>,
    /// Whether it is the group's label, shared by all their images.
    pub is_of_group: bool,
    /// The level given in the data.
    pub given: usize,
    /// The predicted level: differs from `given` if the label is an error.
    pub suggested: usize,
    /// Its probability, pooled as that of the given level.
    pub probability: f64,
    /// The quality of the given label, from 0 (certainly wrong) to 1.
    pub score: f64,
    /// Whether the label is an error by the thresholds.
    pub is_error: bool,
}

/// The score by which labels are ranked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelScore {
    /// The probability of the given level.
    #[default]
    SelfConfidence,
    /// Its margin over the most probable other level.
    NormalisedMargin,
}

/// Probabilities are clipped below at this value, so that one confident image does not outweigh the others.
const LEAST: f64 = 1e-9;

/// Returns every label of the predictions' images, the likeliest errors first.
pub fn label_issues(predictions: &Predictions, by: LabelScore) -> Vec<LabelIssue> {
    let task = &predictions.task;
    let mut issues: Vec<LabelIssue> =
        (0..task.factors.len()).flat_map(|it| issues_of(predictions, it, by)).collect();
    let rank = |it: &LabelIssue| (!it.is_error, it.score);
    issues.sort_by(|a, b| {
        let ((a_class, a_score), (b_class, b_score)) = (rank(a), rank(b));
        a_class.cmp(&b_class).then(a_score.total_cmp(&b_score))
    });
    issues
}

/// A label of one factor.
struct Label {
    group: usize,
    is_of_group: bool,
    images: Vec<usize>,
    given: usize,
    /// The predicted probabilities of the factor's levels.
    probabilities: Vec<f64>,
}

/// The labels of one factor.
fn issues_of(predictions: &Predictions, factor: usize, by: LabelScore) -> Vec<LabelIssue> {
    let scope = Scope::Factor(factor);
    let it = predictions.project(scope);
    let n_levels = it.task.n_classes();
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (image, &group) in it.groups.iter().enumerate() {
        groups.entry(group).or_default().push(image);
    }
    let agree =
        |images: &Vec<usize>| images.iter().all(|&at| it.classes[at] == it.classes[images[0]]);
    let is_per_group = 2 * groups.values().filter(|it| agree(it)).count() > groups.len();
    let mut labels = Vec::new();
    for (group, images) in groups {
        let is_of_group = is_per_group && agree(&images);
        let pooled_over_images = is_per_group.then(|| pooled(&it.probabilities, &images));
        let label = |images: Vec<usize>| Label {
            group,
            is_of_group,
            given: it.classes[images[0]],
            probabilities: pooled_over_images
                .clone()
                .unwrap_or_else(|| it.probabilities[images[0]].clone()),
            images,
        };
        match is_of_group {
            true => labels.push(label(images)),
            false => labels.extend(images.into_iter().map(|at| label(vec![at]))),
        }
    }

    let mut sums = vec![(0.0, 0.0); n_levels];
    for Label { given, probabilities, .. } in &labels {
        sums[*given] = (sums[*given].0 + probabilities[*given], sums[*given].1 + 1.0);
    }
    // A level that occurs in no label is never suggested.
    let threshold = |level: usize| match sums[level] {
        (_, 0.0) => f64::INFINITY,
        (sum, n) => sum / n,
    };
    let thresholds: Vec<f64> = (0..n_levels).map(threshold).collect();

    let issue = |Label { group, is_of_group, images, given, probabilities: p }| {
        let confident: Vec<f64> = p
            .iter()
            .zip(&thresholds)
            .map(|(&p, &least)| if p >= least { p } else { f64::NEG_INFINITY })
            .collect();
        let likeliest = argmax(&confident);
        let is_error = confident[likeliest].is_finite() && likeliest != given;
        let others = (0..n_levels).filter(|&it| it != given).map(|it| p[it]).fold(0.0, f64::max);
        let score = match by {
            LabelScore::SelfConfidence => p[given],
            LabelScore::NormalisedMargin => (p[given] - others + 1.0) / 2.0,
        };
        let suggested = if is_error { likeliest } else { argmax(&p) };
        LabelIssue {
            factor,
            group,
            images,
            is_of_group,
            given,
            suggested,
            probability: p[suggested],
            score,
            is_error,
        }
    };
    labels.into_iter().map(issue).collect()
}

/// Pools the predictions for several images: the normalised geometric mean.
fn pooled(probabilities: &[Vec<f64>], images: &[usize]) -> Vec<f64> {
    let n = images.len() as f64;
    let mean = |level: usize| {
        let logs = images.iter().map(|&at| probabilities[at][level].max(LEAST).ln());
        (logs.sum::<f64>() / n).exp()
    };
    let means: Vec<f64> = (0..probabilities[images[0]].len()).map(mean).collect();
    let sum: f64 = means.iter().sum();
    means.into_iter().map(|it| it / sum).collect()
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};

    use super::{LabelScore, label_issues};
    use crate::Predictions;

    fn predictions(p: &[[f64; 2]], classes: &[usize], groups: &[usize]) -> Predictions {
        let task = Task::new(vec![Factor::new("class", &["a", "b"])]);
        let p = p.iter().map(|it| it.to_vec()).collect();
        Predictions::new(task, p, classes.to_vec(), groups.to_vec())
    }

    #[test]
    fn a_level_is_suggested_where_it_passes_its_own_threshold() {
        // The labels a have p_a of 0.9, 0.9 and 0.3: t_a = 0.7. The labels b have p_b of 0.6 and 0.4: t_b =
        // 0.5.
        let p = [[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.4, 0.6], [0.6, 0.4]];
        // Both groups are given both levels: the factor is a property of images.
        let it = predictions(&p, &[0, 0, 0, 1, 1], &[0, 1, 1, 0, 1]);
        let issues = label_issues(&it, LabelScore::SelfConfidence);
        assert!(issues.iter().all(|it| !it.is_of_group));
        // The last is more likely a, but 0.6 is below the threshold of a: no error.
        let errors: Vec<_> = issues.iter().filter(|it| it.is_error).collect();
        assert_eq!(errors.len(), 1);
        assert_eq!((errors[0].images[0], errors[0].given, errors[0].suggested), (2, 0, 1));
        let order: Vec<usize> = issues.iter().map(|it| it.images[0]).collect();
        assert_eq!(order, [2, 4, 3, 0, 1]);
        assert!((issues[1].score - 0.4).abs() < 1e-12);
        let by_margin = label_issues(&it, LabelScore::NormalisedMargin);
        assert!((by_margin[0].score - (0.3 - 0.7 + 1.0) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn predictions_are_pooled_per_group() {
        // One image of the first group is predicted as b, the others as a: pooled, as a.
        let p = [[0.1, 0.9], [0.9, 0.1], [0.99, 0.01], [0.1, 0.9], [0.2, 0.8], [0.8, 0.2]];
        let it = predictions(&p, &[1, 1, 1, 1, 1, 0], &[0, 0, 0, 1, 1, 2]);
        let issues = label_issues(&it, LabelScore::default());
        assert_eq!(issues.len(), 3);
        let first = &issues[0];
        assert_eq!((first.group, first.images.len(), first.is_of_group), (0, 3, true));
        assert_eq!((first.given, first.suggested, first.is_error), (1, 0, true));
        // (0.9 · 0.1 · 0.01)^⅓ against (0.1 · 0.9 · 0.99)^⅓.
        let (b, a) = (0.0009f64.cbrt(), 0.0891f64.cbrt());
        assert!((first.score - b / (a + b)).abs() < 1e-12);
        assert!(!issues[1].is_error && !issues[2].is_error);
    }

    #[test]
    fn a_label_that_contradicts_the_persons_others_is_per_image_with_pooled_predictions() {
        let p = [[0.9, 0.1], [0.5, 0.5], [0.8, 0.2], [0.6, 0.4], [0.2, 0.8]];
        let it = predictions(&p, &[0, 1, 0, 0, 1], &[0, 0, 1, 2, 3]);
        let issues = label_issues(&it, LabelScore::default());
        assert_eq!(issues.len(), 5);
        let first = &issues[0];
        assert_eq!((first.images.as_slice(), first.is_of_group), ([1].as_slice(), false));
        assert_eq!((first.given, first.suggested, first.is_error), (1, 0, true));
        // The threshold is (0.75 + 0.8 + 0.6) / 3 = 0.72. The image alone has p = 0.5; pooled with the other
        // image, √(0.5 · 0.1) against √(0.5 · 0.9).
        assert!((first.score - 0.25).abs() < 1e-12, "{}", first.score);
    }

    #[test]
    fn a_level_that_occurs_in_no_label_is_never_suggested() {
        let it = predictions(&[[0.1, 0.9], [0.2, 0.8]], &[0, 0], &[0, 1]);
        assert!(label_issues(&it, LabelScore::default()).iter().all(|it| !it.is_error));
        assert!(label_issues(&predictions(&[], &[], &[]), LabelScore::default()).is_empty());
    }
}
