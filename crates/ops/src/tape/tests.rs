use candle::{Device, Result, Tensor, Var};

use super::{Tape, Value};
use crate::add;

fn var(xs: &[f64]) -> Result<Var> {
    Var::from_slice(xs, xs.len(), &Device::Cpu)
}

#[test]
fn a_value_used_twice_gets_both_gradients() -> Result<()> {
    let (tape, x) = (Tape::default(), var(&[2.0, 3.0])?);
    let twice = add(&tape.leaf(&x), &tape.leaf(&x))?;
    let loss = tape.export(&twice)?.sqr()?.sum_all()?;
    // d/dx Σ (2x)² = 8x.
    let grads = tape.backward(&loss)?;
    assert_eq!(grads.get(&x).unwrap().to_vec1::<f64>()?, [16.0, 24.0]);
    Ok(())
}

#[test]
fn an_unused_value_has_no_gradient() -> Result<()> {
    let (tape, x, y) = (Tape::default(), var(&[1.0])?, var(&[1.0])?);
    let used = add(&tape.leaf(&x), &Value::constant(y.as_tensor().clone()))?;
    add(&tape.leaf(&y), &tape.leaf(&y))?;
    let loss = tape.export(&used)?.sum_all()?;
    let grads = tape.backward(&loss)?;
    assert!(grads.get(&x).is_some() && grads.get(&y).is_none());
    Ok(())
}

#[test]
fn nothing_is_recorded_without_a_leaf() -> Result<()> {
    let tape = Tape::default();
    let x = Value::constant(Tensor::new(&[1f64], &Device::Cpu)?);
    assert!(!tape.export(&add(&x, &x)?)?.is_variable());
    assert!(tape.0.borrow().steps.is_empty());
    Ok(())
}

#[test]
fn the_backward_pass_frees_the_tape() -> Result<()> {
    let (tape, x) = (Tape::default(), var(&[1.0])?);
    let loss = tape.export(&add(&tape.leaf(&x), &tape.leaf(&x))?)?.sum_all()?;
    tape.backward(&loss)?;
    assert!(tape.0.borrow().steps.is_empty() && tape.0.borrow().exports.is_empty());
    Ok(())
}
