//! The learning-rate finder as a whole.

use std::sync::Mutex;

use trainer::{Callback, Range, StepReport, lr_find};

use crate::small::{StopsAt, experiment, plan};

/// The epoch of each step.
#[derive(Default)]
struct Seen(Mutex<Vec<f64>>);

impl Callback for Seen {
    fn step(&self, report: &StepReport) {
        self.0.lock().unwrap().push(report.epoch);
    }
}

#[test]
fn the_epochs_of_a_range_test_that_is_longer_than_the_run_go_on() {
    let plan = plan(&experiment(&["train.total=2 steps", "train.warmup=0 steps"]));
    let seen = Seen::default();
    let range = Range { from: 1e-7, to: 1e-6, n_steps: 5 };
    lr_find(&plan, None, range, &seen).unwrap();
    let epochs = seen.0.into_inner().unwrap();
    assert_eq!(epochs.len(), 5);
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
}

#[test]
fn a_stopped_range_test_has_no_curve() {
    let plan = plan(&experiment(&[]));
    let range = Range { n_steps: 6, ..Range::default() };
    let curve = |callback: &StopsAt| lr_find(&plan, None, range, callback).unwrap();
    assert!(curve(&StopsAt::after(3)).is_none());
    // Stopped at its end, it is complete.
    assert_eq!(curve(&StopsAt::after(6)).unwrap().rates.len(), 6);
}
