//! Small predictions for the tests of this crate.

use base::{Task, task::Factor};
use metrics::Prediction;

use crate::collector::{Collected, Collector};

/// An image: its class, its predicted class and its group.
pub(crate) type Image = (usize, usize, usize);

/// A task of two factors with names that need care, and six images of three groups.
pub(crate) fn two_factors() -> (Task, Vec<Image>) {
    let task = Task::new(vec![
        Factor::new("mask", &["<script>", "a, \"b\""]),
        Factor::new("size", &["s", "큰"]),
    ]);
    (task, vec![(0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 3, 1), (2, 2, 2), (3, 3, 2)])
}

/// Collects images as [`add_all`] does.
pub(crate) fn collected((task, images): &(Task, Vec<Image>)) -> Collected {
    let mut collector = Collector::new(task);
    add_all(task, images, &mut |it| collector.add(it));
    collector.finish()
}

/// Adds images whose predicted class has a probability of 0.7, and all others 0.1.
pub(crate) fn add_all(task: &Task, images: &[Image], add: &mut dyn FnMut(&Prediction<'_>)) {
    for &(class, predicted, group) in images {
        let mut probabilities = vec![0.1; task.n_classes()];
        probabilities[predicted] = 0.7;
        add(&Prediction {
            probabilities: &probabilities,
            predicted,
            class,
            group,
            number: None,
            true_number: None,
        });
    }
}
