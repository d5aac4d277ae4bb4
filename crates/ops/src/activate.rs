//! Applies an [`Activation`], as a prologue of the reader.
//!
//! The backward pass saves the input, not the result, and recomputes the derivative from it.

use std::rc::Rc;

use candle::Result;

use crate::{
    Activation, Value, card,
    graph::Op,
    prologue::{Grad, NormBackward, Prologue},
};

/// Applies an activation to every number, lazily: when the result is read.
pub fn activate(xs: &Value, activation: Activation) -> Result<Value> {
    if activation == Activation::None {
        return Ok(xs.clone());
    }
    if let Some(card) = xs.card() {
        return card::activate(card, xs, activation);
    }
    let x = xs.tensor()?;
    let prologue = Prologue { activation, ..Prologue::none(x.dims().last().copied().unwrap_or(1)) };
    let (slot, saved, back) = (xs.slot(), x.clone(), prologue.clone());
    let ys = Value::record(&[xs], x, move |grad, slots| {
        slots.give(slot, || {
            let grad = grad.before_norm()?;
            // The reader's backward pass may have applied the activation's derivative already.
            let norm = grad.before.is_none().then(|| Rc::new(NormBackward::through(saved, back)));
            Ok(Grad { norm, before: None, sums: None, gate_sums: None, ..grad })
        })
    })?;
    ys.through(prologue).recorded(&[xs], || Ok(Op::Activate(activation)))
}

#[cfg(test)]
mod tests {
    use candle::{DType, Device, Result, Tensor, Var};
    use testkit::check_close;

    use super::activate;
    use crate::{Activation, Tape, Value, check::check, real::Real};

    #[test]
    fn agree_with_their_definitions() -> Result<()> {
        let of = |activation, want: [f64; 4]| {
            let xs = Tensor::new(&[-1.0f64, 0.0, 2.0, 7.0], &Device::Cpu)?;
            let ys = activate(&Value::constant(xs), activation)?;
            check_close(&ys.tensor()?, &want, 1e-9);
            Ok::<_, candle::Error>(())
        };
        of(Activation::None, [-1.0, 0.0, 2.0, 7.0])?;
        of(Activation::Relu, [0.0, 0.0, 2.0, 7.0])?;
        of(Activation::Relu6, [0.0, 0.0, 2.0, 6.0])?;
        of(Activation::Sigmoid, [0.268_941_421, 0.5, 0.880_797_078, 0.999_088_949])?;
        of(Activation::Silu, [-0.268_941_421, 0.0, 1.761_594_156, 6.993_622_642])?;
        // Φ(-1) = 0.158655254, Φ(2) = 0.977249868, 1 - Φ(7) = 1.28e-12.
        of(Activation::Gelu, [-0.158_655_254, 0.0, 1.954_499_736, 7.0])
    }

    #[test]
    fn extreme_inputs_give_finite_results() -> Result<()> {
        let xs = Tensor::new(&[-1e4f32, 1e4], &Device::Cpu)?;
        let silu = activate(&Value::constant(xs.clone()), Activation::Silu)?;
        check_close(&silu.tensor()?, &[0.0, 1e4], 1e-30);
        let sigmoid = activate(&Value::constant(xs), Activation::Sigmoid)?;
        check_close(&sigmoid.tensor()?, &[0.0, 1.0], 1e-30);
        Ok(())
    }

    #[test]
    fn gelu_reaches_its_limits_and_propagates_nan() -> Result<()> {
        fn check<T: Real>() -> Result<()> {
            let xs = [f64::NEG_INFINITY, -1e30, -50.0, 50.0, 1e30, f64::INFINITY, f64::NAN];
            let xs = Var::new(&xs.map(T::of), &Device::Cpu)?;
            let tape = Tape::default();
            let ys = tape.export(&activate(&tape.leaf(&xs), Activation::Gelu)?)?;
            let grads = tape.backward(&ys.sum_all()?)?;
            let list = |it: &Tensor| it.to_dtype(DType::F64)?.to_vec1::<f64>();
            let (ys, slopes) = (list(&ys)?, list(grads.get(&xs).expect("a gradient"))?);
            for (y, x) in ys[3..6].iter().zip(&list(&xs)?[3..]) {
                assert_eq!(y, x);
            }
            assert!(ys[..3].iter().all(|it| it.abs() < 1e-30), "{ys:?}");
            // The derivative of a prologue is not defined at an infinite number.
            assert!(slopes[1..3].iter().all(|it| it.abs() < 1e-29), "{slopes:?}");
            assert_eq!(slopes[3..5], [1.0, 1.0]);
            assert!(ys[6].is_nan() && slopes[6].is_nan());
            Ok(())
        }
        check::<f32>()?;
        check::<f64>()
    }

    #[test]
    fn sigmoids_propagate_nan() -> Result<()> {
        for activation in [Activation::Sigmoid, Activation::Silu] {
            let mut xs = [0.5f32; 40];
            (xs[3], xs[39]) = (f32::NAN, f32::NAN);
            let ys = activate(&Value::constant(Tensor::new(&xs, &Device::Cpu)?), activation)?;
            let ys = ys.tensor()?.to_vec1::<f32>()?;
            let odd: Vec<usize> = (0..40).filter(|it| ys[*it].is_nan()).collect();
            assert_eq!(odd, [3, 39], "{activation:?}");
        }
        Ok(())
    }

    #[test]
    fn gradients_are_correct() {
        use Activation::{Gelu, Relu, Relu6, Sigmoid, Silu};
        for it in [Relu, Relu6, Silu, Sigmoid, Gelu] {
            // Inputs scaled by 9 reach beyond the upper kink of relu6 without landing on it.
            check(&[&[31]], |xs| {
                let wide = Value::record(&[&xs[0]], (xs[0].tensor()? * 9.0)?, {
                    let slot = xs[0].slot();
                    move |grad, slots| {
                        slots.give(slot, || {
                            Ok(crate::prologue::Grad::plain((grad.materialise()? * 9.0)?))
                        })
                    }
                })?;
                activate(&wide, it)
            });
        }
    }
}
