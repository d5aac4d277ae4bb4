//! The learning-rate finder as a whole.

use trainer::{Range, lr_find};

use crate::small::{StopsAt, experiment, plan};

#[test]
fn a_stopped_range_test_has_no_curve() {
    let plan = plan(&experiment(&[]));
    let range = Range { n_steps: 6, ..Range::default() };
    let curve = |callback: &StopsAt| lr_find(&plan, None, range, callback).unwrap();
    assert!(curve(&StopsAt::after(3)).is_none());
    // Stopped at its end, it is complete.
    assert_eq!(curve(&StopsAt::after(6)).unwrap().rates.len(), 6);
}
