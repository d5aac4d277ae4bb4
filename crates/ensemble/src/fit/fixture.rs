//! Held-out predictions for the tests of fits.

use base::{Task, task::Factor};

use crate::HeldOut;

/// Images of class 0 of two, to which the members give these probabilities.
pub(super) fn held_out(members: &[&[f64]]) -> HeldOut {
    let n = members[0].len();
    let of_member = |it: &&[f64]| it.iter().flat_map(|&p| [p, 1.0 - p]).collect();
    HeldOut {
        task: Task::new(vec![Factor::new("class", &["a", "b"])]),
        classes: vec![0; n],
        groups: (0..n).collect(),
        folds: vec![0; n],
        members: members.iter().map(of_member).collect(),
    }
}
