//! The arithmetic of the two element types: `f32` for computation, `f64` for gradient checks.

use std::{
    cell::RefCell,
    ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub},
    thread::LocalKey,
};

use candle::WithDType;

use crate::isa::Fma;

/// A floating-point number that kernels compute with.
pub(crate) trait Number:
    WithDType
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + MulAssign
    + Div<Output = Self>
    + Neg<Output = Self>
{
    const ZERO: Self;
    const ONE: Self;

    /// Calls `f` with scratch memory of this thread, of `len` numbers with arbitrary content.
    fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R;

    /// Converts a constant or a sum computed in `f64`.
    fn of(x: f64) -> Self;

    /// a·b + c.
    fn fma<F: Fma>(a: Self, b: Self, c: Self) -> Self;

    /// eˣ: vectorisable, within 2 units in the last place in `f32`.
    fn exponential<F: Fma>(self) -> Self;

    /// 1 / (1 + e⁻ˣ): vectorisable, in `f32` without a division.
    fn sigmoid<F: Fma>(self) -> Self;

    /// Φ(x), the normal CDF, and φ(x), the density: vectorisable in `f32`.
    fn normal<F: Fma>(self) -> (Self, Self);

    fn larger(self, other: Self) -> Self;
    fn smaller(self, other: Self) -> Self;

    /// Whether this is NaN.
    fn is_nan(self) -> bool;
}

/// Φ(-|x|) = e^(-x²/2)·P(z) where z = b|x| / (1 + b|x|): the coefficients of P, the highest power first.
///
/// Fitted for the minimum relative error up to 12, 3.3e-8, with [b](NORMAL_TAIL_BEND) chosen for it.
pub(crate) const NORMAL_TAIL: [f32; 9] = [
    0.039_932_094,
    -0.123_305_54,
    0.058_938_812,
    0.160_926_73,
    0.025_463_259,
    -0.883_262_04,
    1.597_001_1,
    -1.375_662_4,
    0.5,
];
pub(crate) const NORMAL_TAIL_BEND: f32 = 0.29;

/// φ(0) = 1 / √(2π).
pub(crate) const NORMAL_DENSITY: f32 = 0.398_942_3;

/// Lends per-thread scratch memory, so that blocks of work neither allocate nor zero memory.
fn lend<T: Number, R>(
    kept: &'static LocalKey<RefCell<Vec<Vec<T>>>>,
    len: usize,
    f: impl FnOnce(&mut [T]) -> R,
) -> R {
    let mut memory = kept.with_borrow_mut(Vec::pop).unwrap_or_default();
    if memory.len() < len {
        memory.resize(len, T::ZERO);
    }
    let result = f(&mut memory[..len]);
    kept.with_borrow_mut(|it| it.push(memory));
    result
}

thread_local! {
    static KEPT_F32: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
    static KEPT_F64: RefCell<Vec<Vec<f64>>> = const { RefCell::new(Vec::new()) };
}

/// Newton's 1/d ← (1/d)(2 - d·(1/d)), from an initial estimate by bit manipulation: d's exponent negated.
/// Each step squares the relative error, which starts below 6 %.
#[inline(always)]
fn inverse<F: Fma>(d: f32) -> f32 {
    let mut inverse = f32::from_bits(0x7ef3_11c7_u32.wrapping_sub(d.to_bits()));
    for _ in 0..3 {
        let error = f32::fma::<F>(-d, inverse, 1.0);
        inverse = f32::fma::<F>(inverse, error, inverse);
    }
    inverse
}

impl Number for f32 {
    fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
        lend(&KEPT_F32, len, f)
    }

    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;

    #[inline(always)]
    fn of(x: f64) -> f32 {
        x as f32
    }

    #[inline(always)]
    fn fma<F: Fma>(a: f32, b: f32, c: f32) -> f32 {
        if F::FUSED { a.mul_add(b, c) } else { a * b + c }
    }

    /// Cody and Waite: x = k ln 2 + r with |r| <= ln 2 / 2, eˣ = 2ᵏ Σ rⁱ / i! up to the 7th power.
    #[inline(always)]
    fn exponential<F: Fma>(self) -> f32 {
        // ln 2 in two parts, the first with so few digits that its product with k is exact.
        const LN_2_HIGH: f32 = 0.693_359_4;
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        // Adding and subtracting 1.5 · 2^23 rounds to the nearest integer.
        const ROUND: f32 = 12_582_912.0;
        // Outside of this range the result is 0 or infinite in all but the last binade.
        let x = self.clamp(-87.3, 88.3);
        let shifted = Self::fma::<F>(x, std::f32::consts::LOG2_E, ROUND);
        let k = shifted - ROUND;
        let r = Self::fma::<F>(k, -LN_2_HIGH, x);
        let r = Self::fma::<F>(k, -LN_2_LOW, r);
        let mut p = 1.0 / 5040.0;
        for inverse in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = Self::fma::<F>(p, r, inverse);
        }
        // The low bits of `shifted` contain k: shifted up, they are the exponent.
        p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
    }

    #[inline(always)]
    fn sigmoid<F: Fma>(self) -> f32 {
        // Beyond 80 the inverse would overflow the exponent; the result is below 2e-35.
        // In this order, NaN is propagated.
        inverse::<F>(1.0 + 80.0_f32.smaller(-self).exponential::<F>())
    }

    /// See [`NORMAL_TAIL`].
    #[inline(always)]
    fn normal<F: Fma>(self) -> (f32, f32) {
        // In this order, NaN is propagated.
        let x = 12.0_f32.smaller((-12.0_f32).larger(self));
        let e = (-0.5 * x * x).exponential::<F>();
        let bent = x.abs() * NORMAL_TAIL_BEND;
        let z = bent * inverse::<F>(1.0 + bent);
        let mut p = NORMAL_TAIL[0];
        for term in &NORMAL_TAIL[1..] {
            p = Self::fma::<F>(p, z, *term);
        }
        let tail = e * p;
        (if x > 0.0 { 1.0 - tail } else { tail }, e * NORMAL_DENSITY)
    }

    #[inline(always)]
    fn larger(self, other: f32) -> f32 {
        if self > other { self } else { other }
    }

    #[inline(always)]
    fn smaller(self, other: f32) -> f32 {
        if self < other { self } else { other }
    }

    #[inline(always)]
    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }
}

impl Number for f64 {
    fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f64]) -> R) -> R {
        lend(&KEPT_F64, len, f)
    }

    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;

    #[inline(always)]
    fn of(x: f64) -> f64 {
        x
    }

    #[inline(always)]
    fn fma<F: Fma>(a: f64, b: f64, c: f64) -> f64 {
        if F::FUSED { a.mul_add(b, c) } else { a * b + c }
    }

    #[inline(always)]
    fn exponential<F: Fma>(self) -> f64 {
        f64::exp(self)
    }

    #[inline(always)]
    fn sigmoid<F: Fma>(self) -> f64 {
        1.0 / (1.0 + f64::exp(-self))
    }

    #[inline(always)]
    fn normal<F: Fma>(self) -> (f64, f64) {
        use std::f64::consts::{FRAC_1_SQRT_2, TAU};
        let density = f64::exp(-0.5 * self * self) / TAU.sqrt();
        (0.5 * libm::erfc(-self * FRAC_1_SQRT_2), density)
    }

    #[inline(always)]
    fn larger(self, other: f64) -> f64 {
        if self > other { self } else { other }
    }

    #[inline(always)]
    fn smaller(self, other: f64) -> f64 {
        if self < other { self } else { other }
    }

    #[inline(always)]
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Number as _;
    use crate::isa::{Fused, Separate};

    #[test]
    fn the_vector_exponential_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0_f64;
        for idx in -87_000..=88_000 {
            let x = idx as f32 / 1000.0;
            let want = f64::from(x).exp();
            for got in [x.exponential::<Fused>(), x.exponential::<Separate>()] {
                worst = worst.max((f64::from(got) - want).abs() / want);
            }
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "relative error {worst:e}");
    }

    #[test]
    fn the_vector_sigmoid_is_within_three_units_in_the_last_place() {
        let mut worst = 0.0_f64;
        for idx in -79_000..=120_000 {
            let x = idx as f32 / 1000.0;
            let want = 1.0 / (1.0 + (-f64::from(x)).exp());
            for got in [x.sigmoid::<Fused>(), x.sigmoid::<Separate>()] {
                worst = worst.max((f64::from(got) - want).abs() / want);
            }
        }
        assert!(worst < 3.0 * f64::from(f32::EPSILON), "relative error {worst:e}");
        assert!((0.0..1e-34).contains(&f32::NEG_INFINITY.sigmoid::<Fused>()));
        assert_eq!(f32::INFINITY.sigmoid::<Fused>(), 1.0);
        assert!(f32::NAN.sigmoid::<Fused>().is_nan());
    }

    #[test]
    fn the_vector_exponential_saturates() {
        for (x, lo, hi) in [(-1e4, 0.0, 1.3e-38), (1e4, 1e38, f32::INFINITY)] {
            let y = x.exponential::<Separate>();
            assert!((lo..=hi).contains(&y), "{y}");
        }
        assert!(f32::NAN.exponential::<Separate>().is_nan());
    }
}
