//! Activations: functions of each number alone.
//!
//! relu(x) = max(x, 0), relu6(x) = min(max(x, 0), 6), sigmoid(x) = 1 / (1 + e⁻ˣ),
//! silu(x) = x·sigmoid(x). At their kinks the derivatives are 0, as in PyTorch.
//!
//! The result is not kept for the way back: the input is, and the slope is computed again from it.

use std::rc::Rc;

use candle::Result;
use serde::{Deserialize, Serialize};

use crate::{
    Value,
    lanes::Lanes,
    lens::{Grad, Lens, NormBack},
    real::Real,
};

/// What is done to each number after a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Nothing.
    None,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6): Krizhevsky, 2010; used by networks made for 8-bit phones.
    Relu6,
    /// x·sigmoid(x): Elfwing et al., 2017; also called swish.
    Silu,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
}

/// The activation as a constant of the compiler's, so that each is a loop of its own.
pub(crate) const NONE: u8 = Activation::None as u8;
pub(crate) const RELU: u8 = Activation::Relu as u8;
pub(crate) const RELU6: u8 = Activation::Relu6 as u8;
pub(crate) const SILU: u8 = Activation::Silu as u8;
pub(crate) const SIGMOID: u8 = Activation::Sigmoid as u8;

/// Runs an expression with the constant `A` standing for an activation.
macro_rules! by_activation {
    ($activation:expr, $A:ident => $body:expr) => {
        match $activation {
            crate::Activation::None => {
                const $A: u8 = crate::activation::NONE;
                $body
            }
            crate::Activation::Relu => {
                const $A: u8 = crate::activation::RELU;
                $body
            }
            crate::Activation::Relu6 => {
                const $A: u8 = crate::activation::RELU6;
                $body
            }
            crate::Activation::Silu => {
                const $A: u8 = crate::activation::SILU;
                $body
            }
            crate::Activation::Sigmoid => {
                const $A: u8 = crate::activation::SIGMOID;
                $body
            }
        }
    };
}
pub(crate) use by_activation;

/// The activation `A` of a register of numbers, and its derivative there: they share their
/// exponential.
///
/// # Safety
/// As of [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn both_of<T: Real, V: Lanes<Number = T>, const A: u8>(x: V) -> (V, V) {
    // SAFETY: the caller's.
    unsafe {
        let (zero, one, infinite) =
            (V::splat(T::ZERO), V::splat(T::ONE), V::splat(T::of(f64::INFINITY)));
        let rest = |s: V| s.mul_add(V::splat(-T::ONE), one);
        match A {
            RELU => (x.clamp(zero, infinite), x.within(zero, infinite)),
            RELU6 => {
                let six = V::splat(T::of(6.0));
                (x.clamp(zero, six), x.within(zero, six))
            }
            SILU => {
                let s = x.sigmoid();
                let y = x.mul(s);
                (y, y.mul_add(rest(s), s))
            }
            SIGMOID => {
                let s = x.sigmoid();
                (s, s.mul(rest(s)))
            }
            _ => (x, one),
        }
    }
}

/// Applies an activation to every number, when it is read: see [`lens`](crate::lens).
pub fn activate(xs: &Value, activation: Activation) -> Result<Value> {
    if activation == Activation::None {
        return Ok(xs.clone());
    }
    let x = xs.tensor()?;
    let lens = Lens { activation, ..Lens::none(x.dims().last().copied().unwrap_or(1)) };
    let (slot, seen, back) = (xs.slot(), x.clone(), lens.clone());
    let ys = Value::record(&[xs], x, move |grad, slots| {
        slots.give(slot, || {
            let grad = grad.before_norm()?;
            // Who has read it may have gone back through the activation already.
            let norm = grad.before.is_none().then(|| Rc::new(NormBack::through(seen, back)));
            Ok(Grad { norm, before: None, sums: None, gate_sums: None, ..grad })
        })
    })?;
    Ok(ys.through(lens))
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::check_close;

    use super::{Activation, activate};
    use crate::{Value, check::check};

    #[test]
    fn are_what_the_textbooks_say() -> Result<()> {
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
        of(Activation::Silu, [-0.268_941_421, 0.0, 1.761_594_156, 6.993_622_642])
    }

    #[test]
    fn extreme_numbers_stay_numbers() -> Result<()> {
        let xs = Tensor::new(&[-1e4f32, 1e4], &Device::Cpu)?;
        let silu = activate(&Value::constant(xs.clone()), Activation::Silu)?;
        check_close(&silu.tensor()?, &[0.0, 1e4], 1e-30);
        let sigmoid = activate(&Value::constant(xs), Activation::Sigmoid)?;
        check_close(&sigmoid.tensor()?, &[0.0, 1.0], 1e-30);
        Ok(())
    }

    #[test]
    fn have_the_right_gradients() {
        for it in [Activation::Relu, Activation::Relu6, Activation::Silu, Activation::Sigmoid] {
            // Nine halves reach the upper kink of relu6 without landing on it.
            check(&[&[31]], |xs| {
                let wide = Value::record(&[&xs[0]], (xs[0].tensor()? * 9.0)?, {
                    let slot = xs[0].slot();
                    move |grad, slots| {
                        slots.give(slot, || Ok(crate::lens::Grad::plain((grad.settle()? * 9.0)?)))
                    }
                })?;
                activate(&wide, it)
            });
        }
    }
}
