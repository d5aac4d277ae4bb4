//! Likely label errors, by confident learning (`metrics::label_issues`), as `maskfit labels` finds them.

use base::task::Scope;
use metrics::{LabelIssue, LabelScore, Predictions, label_issues};

use crate::contents::{FactorLabels, LabelError, LabelErrors};

/// Returns the likely label errors, and of each that is listed the image to show: of a group's label the one with the
/// lowest probability of the given level.
///
/// - `images`, `groups`: the name of each image of the predictions, and of each group.
/// - `n_shown`: how many to list.
pub fn label_errors(
    predictions: &Predictions,
    images: &[String],
    groups: &[String],
    n_shown: usize,
) -> (LabelErrors, Vec<usize>) {
    let issues = label_issues(predictions, LabelScore::default());
    let task = &predictions.task;
    let factors = task.factors.iter().enumerate().map(|(idx, factor)| {
        let own = issues.iter().filter(|it| it.factor == idx);
        let n_errors = own.clone().filter(|it| it.is_error).count();
        FactorLabels { factor: factor.name.clone(), n_labels: own.count(), n_errors }
    });
    let image = |issue: &LabelIssue| {
        let of_given = |at: &usize| {
            let p = predictions.probabilities.get(*at).map_or(&[][..], Vec::as_slice);
            task.marginal(p, Scope::Factor(issue.factor))[issue.given]
        };
        let against = issue.images.iter().copied();
        against.min_by(|a, b| of_given(a).total_cmp(&of_given(b)))
    };
    let name = |of: &[String], at: usize| of.get(at).cloned().unwrap_or_default();
    let (mut rows, mut shown) = (Vec::new(), Vec::new());
    for issue in issues.iter().filter(|it| it.is_error).take(n_shown) {
        let Some(at) = image(issue) else { continue };
        let factor = &task.factors[issue.factor];
        shown.push(at);
        rows.push(LabelError {
            factor: factor.name.clone(),
            group: name(groups, issue.group),
            image_name: name(images, at),
            n_images: issue.images.len(),
            given: factor.levels[issue.given].clone(),
            suggested: factor.levels[issue.suggested].clone(),
            probability: issue.probability,
            score: issue.score,
            image: None,
        });
    }
    (LabelErrors { factors: factors.collect(), rows }, shown)
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};
    use metrics::Predictions;

    use super::label_errors;

    #[test]
    fn the_image_that_disagrees_most_is_shown() {
        // Three groups of one label each; the images of the last are predicted as b, the second more so.
        let task = Task::new(vec![Factor::new("class", &["<a>", "b"])]);
        let p = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]];
        let p = p.iter().map(|it| it.to_vec()).collect();
        let it = Predictions::new(task, p, vec![0, 0, 1, 0, 0], vec![0, 0, 1, 2, 2]);
        let images: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        let groups: Vec<String> = ["김", "이", "박, <i>"].map(str::to_owned).to_vec();
        let (found, shown) = label_errors(&it, &images, &groups, 10);
        assert_eq!(shown, [4]);
        let row = &found.rows[0];
        assert_eq!(
            (row.group.as_str(), row.image_name.as_str(), row.n_images),
            ("박, <i>", "e", 2)
        );
        assert_eq!((row.given.as_str(), row.suggested.as_str()), ("<a>", "b"));
        // The geometric means of 0.3, 0.1 and of 0.7, 0.9, normalised.
        let [given, suggested] = [0.03_f64.sqrt(), 0.63_f64.sqrt()];
        assert!((row.probability - suggested / (given + suggested)).abs() < 1e-6, "{row:?}");
        assert!((row.score - given / (given + suggested)).abs() < 1e-6, "{row:?}");
        assert_eq!((found.factors[0].n_labels, found.factors[0].n_errors), (3, 1));
        assert!(label_errors(&it, &[], &[], 0).1.is_empty());
    }
}
