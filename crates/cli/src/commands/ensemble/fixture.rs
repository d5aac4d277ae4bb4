//! Held-out predictions for the tests of fits.

use base::{Task, task::Factor};
use ensemble::{By, CombineConfig, Fit, HeldOut, Weights};

use super::recipe::Recipe;

/// Two members that are right about different images, of 12 groups.
pub(super) fn held_out() -> HeldOut {
    let n = 36;
    let classes: Vec<usize> = (0..n).map(|it| it * 7 % 11 % 2).collect();
    let p = |image: usize, member: usize| {
        let sure = 0.55 + 0.4 * ((image * (5 + member) % 13) as f64 / 13.0);
        let is_right = !usize::is_multiple_of(image + member, 3);
        let of_truth = if is_right { sure } else { 1.0 - sure };
        if classes[image] == 0 { [of_truth, 1.0 - of_truth] } else { [1.0 - of_truth, of_truth] }
    };
    HeldOut {
        task: Task::new(vec![Factor::new("class", &["a", "b"])]),
        members: (0..2).map(|m| (0..n).flat_map(|it| p(it, m)).collect()).collect(),
        groups: (0..n).map(|it| it / 3).collect(),
        folds: vec![0; n],
        classes,
    }
}

/// A soft vote.
pub(super) fn recipe(weights: Weights) -> Recipe {
    Recipe {
        combine: CombineConfig::default(),
        fit: Fit { weights, by: By::LogLoss },
        calibrate: "none",
        tune: Vec::new(),
    }
}
