//! Rounding to narrower types in any direction, from numbers that carry enough bits.
//!
//! Sums and products of narrow types are formed in f64 and rounded to odd: if bits are lost, the last bit is
//! set. A second rounding to a type of at least two bits less is then the only one that shows (Boldo and
//! Melquiond, 2008).

/// The direction of a rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the nearest, ties to even: `.rn`.
    Nearest,
    /// Towards zero: `.rz`.
    Zero,
    /// Down: `.rm`.
    Down,
    /// Up: `.rp`.
    Up,
}

/// NaN as GPUs write it.
pub(crate) const NAN: f32 = f32::from_bits(0x7fff_ffff);
pub(crate) const NAN_64: f64 = f64::from_bits(0x7fff_ffff_ffff_ffff);

/// A number, or the one NaN; by its bits, as the compiler may give any NaN for a NaN.
#[inline(always)]
pub(crate) fn canon(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fff_ffff } else { bits })
}

/// The same of f64.
#[inline(always)]
pub(crate) fn canon64(x: f64) -> f64 {
    let bits = x.to_bits();
    f64::from_bits(if bits & (u64::MAX >> 1) > 0x7ff0_0000_0000_0000 {
        u64::MAX >> 1
    } else {
        bits
    })
}

/// A format of floating-point numbers: bits of the mantissa without the leading one, and of the exponent.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    mantissa: u32,
    exponent: u32,
}

pub(crate) const F16: Format = Format { mantissa: 10, exponent: 5 };
pub(crate) const BF16: Format = Format { mantissa: 7, exponent: 8 };
pub(crate) const F32: Format = Format { mantissa: 23, exponent: 8 };

/// `a + b`, rounded to odd.
#[inline(always)]
pub(crate) fn add_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let rest = sum - a;
    let error = (a - (sum - rest)) + (b - rest);
    to_odd(sum, error)
}

/// `a * b + c` of numbers whose product fits into f64, rounded to odd.
#[inline(always)]
pub(crate) fn fma_odd(a: f64, b: f64, c: f64) -> f64 {
    add_odd(a * b, c)
}

#[inline(always)]
fn to_odd(sum: f64, error: f64) -> f64 {
    let bits = sum.to_bits();
    if error == 0.0 || !error.is_finite() || bits & 1 == 1 {
        return sum;
    }
    let outwards = (error > 0.0) == (sum > 0.0);
    f64::from_bits(if outwards { bits + 1 } else { bits - 1 })
}

/// The bits of a number in a format.
pub(crate) fn round(x: f64, format: Format, direction: Direction) -> u32 {
    let Format { mantissa, exponent } = format;
    let sign = u32::from(x.is_sign_negative()) << (mantissa + exponent);
    let infinity = ((1 << exponent) - 1) << mantissa;
    if x.is_nan() {
        // Without a sign, all other bits set.
        return infinity | ((1 << mantissa) - 1);
    }
    let bits = x.abs().to_bits();
    if bits == 0 {
        return sign;
    }
    if x.is_infinite() {
        return sign | infinity;
    }
    let bias = (1i32 << (exponent - 1)) - 1;
    // Numbers of f64 that are subnormal vanish in every format here: as the smallest one, they round alike.
    let unbiased = ((bits >> 52) as i32 - 1023).max(-1022);
    let significand = (bits & ((1 << 52) - 1)) | 1 << 52;
    let shift = (52 - mantissa as i32 + (1 - bias - unbiased).max(0)) as u32;
    let (kept, lost, half) = if shift > 63 {
        (0, 1, 2)
    } else {
        (significand >> shift, significand & ((1 << shift) - 1), 1u64 << (shift - 1))
    };
    let up = match direction {
        Direction::Nearest => lost > half || (lost == half && kept & 1 == 1),
        Direction::Zero => false,
        Direction::Down => sign != 0 && lost != 0,
        Direction::Up => sign == 0 && lost != 0,
    };
    // The leading one adds to the exponent; a carry does so once more.
    let base = ((unbiased + bias - 1).clamp(0, 2 * bias) as u32) << mantissa;
    let value = base + kept as u32 + u32::from(up);
    if unbiased > bias || value >= infinity {
        let largest = match direction {
            Direction::Nearest => false,
            Direction::Zero => true,
            Direction::Down => sign == 0,
            Direction::Up => sign != 0,
        };
        return sign | (infinity - u32::from(largest));
    }
    sign | value
}

/// f32 from f64.
pub(crate) fn to_f32(x: f64, direction: Direction) -> f32 {
    if x.is_nan() { NAN } else { f32::from_bits(round(x, F32, direction)) }
}

/// f16 from f32, to the nearest (Giesen, 2012).
#[inline(always)]
pub(crate) fn f16_of(x: f32) -> u32 {
    let sign = (x.to_bits() >> 16) & 0x8000;
    let bits = x.to_bits() & 0x7fff_ffff;
    let normal = bits.wrapping_sub(112 << 23).wrapping_add(0xfff + (bits >> 13 & 1)) >> 13;
    // Adding a number whose last bit is the smallest subnormal rounds as is needed.
    let magic = f32::from_bits(126 << 23);
    let subnormal = (f32::from_bits(bits) + magic).to_bits().wrapping_sub(126 << 23);
    let finite = if bits < 113 << 23 { subnormal } else { normal };
    let value = if bits >= 143 << 23 { 0x7c00 } else { finite };
    if bits > 0x7f80_0000 { 0x7fff } else { sign | value }
}

/// f32 from f16.
#[inline(always)]
pub(crate) fn of_f16(x: u32) -> f32 {
    let sign = (x & 0x8000) << 16;
    let bits = (x & 0x7fff) << 13;
    let normal = bits + (112 << 23);
    let subnormal = (f32::from_bits(bits + (113 << 23)) - f32::from_bits(113 << 23)).to_bits();
    let finite = if bits < 1 << 23 { subnormal } else { normal };
    let value = if bits >= 31 << 23 { bits | 0x7f80_0000 } else { finite };
    f32::from_bits(if bits > 31 << 23 { 0x7fff_ffff } else { sign | value })
}

/// bf16 from f32, to the nearest.
#[inline(always)]
pub(crate) fn bf16_of(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fff } else { rounded }
}

/// f32 from bf16.
#[inline(always)]
pub(crate) fn of_bf16(x: u32) -> f32 {
    f32::from_bits(x << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn all_of_f16_and_bf16_survive() {
        for bits in 0..=0xffffu16 {
            let (x, y) = (f16::from_bits(bits), bf16::from_bits(bits));
            if !x.is_nan() {
                assert_eq!(of_f16(bits.into()).to_bits(), x.to_f32().to_bits());
                assert_eq!(f16_of(x.to_f32()), bits.into());
                assert_eq!(round(x.to_f64(), F16, Direction::Up), bits.into());
            } else {
                assert!(of_f16(bits.into()).is_nan() && f16_of(x.to_f32()) == 0x7fff);
            }
            if !y.is_nan() {
                assert_eq!(bf16_of(y.to_f32()), bits.into());
                assert_eq!(round(y.to_f64(), BF16, Direction::Down), bits.into());
            }
        }
    }

    #[test]
    fn rounding_to_the_nearest_is_that_of_half() {
        // Every exponent, and mantissas about the ties of both formats.
        for top in 0..0x1_0000u32 {
            for low in [0, 1, 0xfff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(top << 16 | low);
                if x.is_nan() {
                    continue;
                }
                let (a, b) =
                    (u32::from(f16::from_f32(x).to_bits()), u32::from(bf16::from_f32(x).to_bits()));
                assert_eq!((f16_of(x), bf16_of(x)), (a, b), "{x:e}");
                assert_eq!(round(x.into(), F16, Direction::Nearest), a, "{x:e}");
                assert_eq!(round(x.into(), BF16, Direction::Nearest), b, "{x:e}");
                assert_eq!(round(x.into(), F32, Direction::Zero), x.to_bits(), "{x:e}");
            }
        }
    }

    #[test]
    fn directions_are_those_of_their_names() {
        // 1 + 2^-11 lies between 1 and 1 + 2^-10 in f16.
        let x = 1.0 + 2f64.powi(-11);
        let all = |x| {
            [Direction::Nearest, Direction::Zero, Direction::Down, Direction::Up]
                .map(|it| round(x, F16, it))
        };
        assert_eq!(all(x), [0x3c00, 0x3c00, 0x3c00, 0x3c01]);
        assert_eq!(all(-x), [0xbc00, 0xbc00, 0xbc01, 0xbc00]);
        // 65520 and more is infinite to the nearest; towards zero it is the largest, 65504.
        assert_eq!(all(65520.0), [0x7c00, 0x7bff, 0x7bff, 0x7c00]);
        // Less than half of the smallest subnormal.
        assert_eq!(all(1e-9), [0, 0, 0, 1]);
        assert_eq!(all(f64::NAN), [0x7fff; 4]);
    }

    #[test]
    fn odd_rounding_keeps_what_was_lost() {
        // 1 + 2^-60 is 1 in f64; to odd it is 1 + 2^-52.
        assert_eq!(add_odd(1.0, 2f64.powi(-60)), 1.0 + 2f64.powi(-52));
        assert_eq!(add_odd(1.0, -2f64.powi(-60)), 1.0 - 2f64.powi(-53));
        assert_eq!(add_odd(1.0, 2.0), 3.0);
        assert_eq!(add_odd(f64::INFINITY, 2.0), f64::INFINITY);
    }
}
