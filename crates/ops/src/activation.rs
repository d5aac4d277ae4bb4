//! Elementwise activation functions.
//!
//! relu(x) = max(x, 0), relu6(x) = min(max(x, 0), 6), sigmoid(x) = 1 / (1 + e⁻ˣ),
//! silu(x) = x·sigmoid(x), gelu(x) = x·Φ(x) with Φ the normal CDF. The derivatives at the
//! kinks are 0, as in PyTorch.

use serde::{Deserialize, Serialize};

use crate::{lanes::Lanes, real::Real};

/// The elementwise function after a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// The identity.
    None,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6): Krizhevsky, 2010; used by networks designed for 8-bit inference on phones.
    Relu6,
    /// x·sigmoid(x): Elfwing et al., 2017; also called swish.
    Silu,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// x·Φ(x), exact, without the tanh approximation: Hendrycks & Gimpel, 2016,
    /// <https://arxiv.org/abs/1606.08415>.
    Gelu,
}

/// The activations as compile-time constants, so that each is a loop of its own.
pub(crate) const NONE: u8 = Activation::None as u8;
pub(crate) const RELU: u8 = Activation::Relu as u8;
pub(crate) const RELU6: u8 = Activation::Relu6 as u8;
pub(crate) const SILU: u8 = Activation::Silu as u8;
pub(crate) const SIGMOID: u8 = Activation::Sigmoid as u8;
pub(crate) const GELU: u8 = Activation::Gelu as u8;

/// Evaluates an expression with the constant `A` bound to an activation.
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
            crate::Activation::Gelu => {
                const $A: u8 = crate::activation::GELU;
                $body
            }
        }
    };
}
pub(crate) use by_activation;

/// The activation `A` of a register of numbers, and its derivative: they share one exponential.
///
/// # Safety
/// Same as [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn both_of<T: Real, V: Lanes<Number = T>, const A: u8>(x: V) -> (V, V) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let (zero, one, infinite) =
            (V::splat(T::ZERO), V::splat(T::ONE), V::splat(T::of(f64::INFINITY)));
        let one_minus = |s: V| s.mul_add(V::splat(-T::ONE), one);
        match A {
            RELU => (x.clamp(zero, infinite), x.within(zero, infinite)),
            RELU6 => {
                let six = V::splat(T::of(6.0));
                (x.clamp(zero, six), x.within(zero, six))
            }
            SILU => {
                let [s] = V::sigmoids([x]);
                let y = x.mul(s);
                (y, y.mul_add(one_minus(s), s))
            }
            SIGMOID => {
                let [s] = V::sigmoids([x]);
                // Of NaN it may be any number.
                let s = x.clamp(V::splat(-T::ONE), one).mul_add(zero, s);
                (s, s.mul(one_minus(s)))
            }
            GELU => {
                let (below, density) = x.normal();
                // Where Φ and φ underflow to 0, x may be infinite.
                let (low, high) = (V::splat(T::of(-40.0)), V::splat(T::of(40.0)));
                let x = x.clamp(low, infinite);
                (x.mul(below), x.clamp(low, high).mul_add(density, below))
            }
            _ => (x, one),
        }
    }
}
