//! The state of an optimizer, as checkpoints restore it.

use std::sync::Arc;

use gpu::{
    Storage,
    update::{Clip, Control, Parameter, Rows, Rule, Updates},
};

use crate::harness::Test;

#[test]
fn a_state_is_restored() {
    let test = Test::new();
    let betas = [0.9, 0.99];
    let rule = Rule::AdamW { betas, eps: 1e-6 };
    let parameter = |len: usize| {
        let (master, rows) = (Arc::new(test.alloc(Storage::F32, len)), Rows::One);
        Parameter { master, copy: None, len, rows, is_clipped: false }
    };
    let parameters = [35, 171, 13, 5100, 600, 4096, 1].map(parameter).into();
    let mut updates = Updates::new(test.device(), parameters, &rule, None).unwrap();
    updates.set_counts(&[5, 0, 1, 2, 3, 4, 6]).unwrap();
    assert_eq!(updates.counts().unwrap(), [5, 0, 1, 2, 3, 4, 6]);
    updates.set_state(2, 1, &[0.5; 13]).unwrap();
    assert_eq!(test.get(updates.state(2, 1).unwrap(), Storage::F32), [0.5; 13]);
    let control = Control { scale: 32.0, skipped_steps: 7, ..Control::default() };
    updates.set_control(&control).unwrap();
    assert_eq!(updates.control().unwrap(), control);
    assert!(updates.set_state(2, 2, &[0.5; 13]).is_err());
    assert!(updates.set_parameter(2, &[0.5; 12]).is_err());
    assert!(updates.set_counts(&[1]).is_err());
    assert!(updates.step(&rule, &[], Clip::Off, false).is_err());
    let err = updates.step(&Rule::Lion { betas }, &[], Clip::Off, false).unwrap_err();
    assert!(err.to_string().contains("1 states for 7 parameters with 2 states"), "{err}");
}
