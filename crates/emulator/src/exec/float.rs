//! f32 and f64: sums, products, fused ones, roots, approximations, comparisons.
//!
//! `.rn` is IEEE's rounding. Results of `.approx` are rounded from more exact ones, where a GPU may be off by an ulp or
//! two: numbers are compared by tolerance. A NaN has one form, as on a GPU.

use super::registers::{Lanes, binary, compare, lanes, rare_lanes, store_bits, ternary, unary};
use super::registers::{Number, Operands, Registers};
use super::rounding::{Direction, NAN, add_odd, canon, canon64, fma_odd, to_f32};
use super::types::Type;

/// The lesser; of a NaN and a number the number; -0 is less than 0.
#[inline(always)]
fn min(a: f32, b: f32) -> f32 {
    let lesser = if a < b { a } else { b };
    let tied = if a == b { f32::from_bits(a.to_bits() | b.to_bits()) } else { lesser };
    let tied = if b.is_nan() { a } else { tied };
    canon(if a.is_nan() { b } else { tied })
}

#[inline(always)]
fn max(a: f32, b: f32) -> f32 {
    let greater = if a > b { a } else { b };
    let tied = if a == b { f32::from_bits(a.to_bits() & b.to_bits()) } else { greater };
    let tied = if b.is_nan() { a } else { tied };
    canon(if a.is_nan() { b } else { tied })
}

#[inline(always)]
fn or_nan(a: f32, b: f32, value: f32) -> f32 {
    canon(if a.is_nan() || b.is_nan() { NAN } else { value })
}

/// `2^x`, to about 1e-10 before it is rounded: the Taylor polynomial of `exp(f ln 2)`, |f| <= 1/2.
#[inline(always)]
fn exp2(x: f32) -> f32 {
    let x64 = f64::from(x);
    let clamped = if x64 > 200.0 { 200.0 } else { x64 };
    let clamped = if clamped < -200.0 { -200.0 } else { clamped };
    // Adding this leaves the integer in the low bits.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    let shifted = clamped + MAGIC;
    let f = (clamped - (shifted - MAGIC)) * std::f64::consts::LN_2;
    let mut p = 1.0 / 362_880.0;
    for c in [40_320.0, 5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
        p = p * f + 1.0 / c;
    }
    let power = f64::from_bits((shifted.to_bits().wrapping_add(1023)) << 52);
    let value = (p * power) as f32;
    canon(if x.is_nan() { x } else { value })
}

/// A quotient that may be off by 2 ulp, and is 0 where the divisor is 2^126 or more.
#[inline(always)]
fn div_approx(a: f32, b: f32) -> f32 {
    let large = b.abs() >= f32::from_bits(0x7e80_0000) && b.abs() < f32::INFINITY;
    let quotient = a / b;
    let zero = if a.abs() == f32::INFINITY { NAN } else { 0.0 * a * b.signum() };
    canon(if large { zero } else { quotient })
}

#[inline(always)]
fn fused(a: f32, b: f32, c: f32) -> f32 {
    canon(a.mul_add(b, c))
}

#[inline(always)]
fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { f32::from_bits(x.to_bits() & 0x8000_0000) } else { x }
}

#[inline(always)]
fn saturate(x: f32) -> f32 {
    if x > 0.0 { if x < 1.0 { x } else { 1.0 } } else { 0.0 }
}

#[inline(always)]
fn through<const OPERATION: u8>(x: f32) -> f32 {
    let x = f64::from(x);
    canon(match OPERATION {
        0 => x.log2(),
        1 => x.sin(),
        2 => x.cos(),
        3 => x.tanh(),
        _ => 1.0 / x.sqrt(),
    } as f32)
}

#[inline(always)]
fn directed<const DIRECTION: u8>(x: f64) -> f32 {
    to_f32(
        x,
        match DIRECTION {
            0 => Direction::Zero,
            1 => Direction::Down,
            _ => Direction::Up,
        },
    )
}

#[inline(always)]
fn compare_to<A: Number>(r: &mut Registers, o: &Operands, mask: u32, f: impl Fn(A, A) -> bool) {
    let bits = compare(r, o, f);
    store_bits(r, o.d, mask, bits);
}

/// The high half of f64 alone, as `.approx.ftz.f64` gives it.
fn high_half(x: f64) -> f64 {
    canon64(f64::from_bits(x.to_bits() & !0xffff_ffff))
}

lanes! {
    ADD = binary(|a: f32, b: f32| canon(a + b));
    SUB = binary(|a: f32, b: f32| canon(a - b));
    MUL = binary(|a: f32, b: f32| canon(a * b));
    FMA = ternary(fused);
    DIV = binary(|a: f32, b: f32| canon(a / b));
    DIV_APPROX = binary(div_approx);
    RCP = unary(|a: f32| canon(1.0 / a));
    SQRT = unary(|a: f32| canon(a.sqrt()));
    RSQRT = unary(through::<4>);
    EX2 = unary(exp2);
    NEG = unary(|a: f32| canon(-a));
    ABS = unary(|a: f32| canon(a.abs()));
    MIN = binary(min);
    MAX = binary(max);
    FLUSH = unary(flush);
    SATURATE = unary(saturate);
    SET_EQ = compare_to(|a: f32, b: f32| a == b);
    SET_NE = compare_to(|a: f32, b: f32| (a < b) | (a > b));
    SET_LT = compare_to(|a: f32, b: f32| a < b);
    SET_LE = compare_to(|a: f32, b: f32| a <= b);
    SET_GT = compare_to(|a: f32, b: f32| a > b);
    SET_GE = compare_to(|a: f32, b: f32| a >= b);
    SET_NAN = compare_to(|a: f32, b: f32| a.is_nan() || b.is_nan());
    ADD_64 = binary(|a: f64, b: f64| canon64(a + b));
    SUB_64 = binary(|a: f64, b: f64| canon64(a - b));
    MUL_64 = binary(|a: f64, b: f64| canon64(a * b));
    FMA_64 = ternary(|a: f64, b: f64, c: f64| canon64(a.mul_add(b, c)));
    DIV_64 = binary(|a: f64, b: f64| canon64(a / b));
    SQRT_64 = unary(|a: f64| canon64(a.sqrt()));
}

rare_lanes! {
    LG2 = unary(through::<0>);
    SIN = unary(through::<1>);
    COS = unary(through::<2>);
    TANH = unary(through::<3>);
    MIN_NAN = binary(|a, b| or_nan(a, b, min(a, b)));
    MAX_NAN = binary(|a, b| or_nan(a, b, max(a, b)));
    COPYSIGN = binary(|a: f32, b: f32| b.copysign(a));
    ADD_RZ = binary(|a: f32, b: f32| directed::<0>(add_odd(a.into(), b.into())));
    ADD_RM = binary(|a: f32, b: f32| directed::<1>(add_odd(a.into(), b.into())));
    ADD_RP = binary(|a: f32, b: f32| directed::<2>(add_odd(a.into(), b.into())));
    MUL_RZ = binary(|a: f32, b: f32| directed::<0>(f64::from(a) * f64::from(b)));
    MUL_RM = binary(|a: f32, b: f32| directed::<1>(f64::from(a) * f64::from(b)));
    MUL_RP = binary(|a: f32, b: f32| directed::<2>(f64::from(a) * f64::from(b)));
    FMA_RZ = ternary(|a: f32, b: f32, c: f32| directed::<0>(fma_odd(a.into(), b.into(), c.into())));
    FMA_RM = ternary(|a: f32, b: f32, c: f32| directed::<1>(fma_odd(a.into(), b.into(), c.into())));
    FMA_RP = ternary(|a: f32, b: f32, c: f32| directed::<2>(fma_odd(a.into(), b.into(), c.into())));
    RCP_64 = unary(|a: f64| canon64(1.0 / a));
    RCP_APPROX_64 = unary(|a: f64| high_half(1.0 / a));
    RSQRT_APPROX_64 = unary(|a: f64| high_half(1.0 / a.sqrt()));
    NEG_64 = unary(|a: f64| canon64(-a));
    ABS_64 = unary(|a: f64| canon64(a.abs()));
    MIN_64 = binary(|a: f64, b: f64| canon64(if a == 0.0 && b == 0.0 { f64::from_bits(a.to_bits() | b.to_bits()) } else { a.min(b) }));
    MAX_64 = binary(|a: f64, b: f64| canon64(if a == 0.0 && b == 0.0 { f64::from_bits(a.to_bits() & b.to_bits()) } else { a.max(b) }));
    COPYSIGN_64 = binary(|a: f64, b: f64| b.copysign(a));
    SET_EQ_64 = compare_to(|a: f64, b: f64| a == b);
    SET_NE_64 = compare_to(|a: f64, b: f64| (a < b) | (a > b));
    SET_LT_64 = compare_to(|a: f64, b: f64| a < b);
    SET_LE_64 = compare_to(|a: f64, b: f64| a <= b);
    SET_GT_64 = compare_to(|a: f64, b: f64| a > b);
    SET_GE_64 = compare_to(|a: f64, b: f64| a >= b);
    SET_NAN_64 = compare_to(|a: f64, b: f64| a.is_nan() || b.is_nan());
}

/// The computation of an instruction of f32 or f64. `.ftz` and `.sat` are left to [`FLUSH`] and [`SATURATE`].
pub(crate) fn find(name: &str, t: Type, has: &dyn Fn(&str) -> bool) -> Option<Lanes> {
    match t {
        Type::F32 => find_f32(name, has),
        Type::F64 if !["rz", "rm", "rp"].into_iter().any(has) => find_f64(name, has),
        _ => None,
    }
}

fn find_f32(name: &str, has: &dyn Fn(&str) -> bool) -> Option<Lanes> {
    let directed = ["rz", "rm", "rp"].into_iter().position(has);
    if let Some(idx) = directed {
        return Some(match name {
            "add" => [ADD_RZ, ADD_RM, ADD_RP][idx],
            "mul" => [MUL_RZ, MUL_RM, MUL_RP][idx],
            "fma" | "mad" => [FMA_RZ, FMA_RM, FMA_RP][idx],
            _ => return None,
        });
    }
    Some(match name {
        _ if has("xorsign") => return None,
        "add" => ADD,
        "sub" => SUB,
        "mul" => MUL,
        "fma" | "mad" => FMA,
        "div" if has("approx") => DIV_APPROX,
        "div" => DIV,
        "rcp" => RCP,
        "sqrt" => SQRT,
        "rsqrt" => RSQRT,
        "ex2" => EX2,
        "lg2" => LG2,
        "sin" => SIN,
        "cos" => COS,
        "tanh" => TANH,
        "neg" => NEG,
        "abs" => ABS,
        "min" if has("NaN") => MIN_NAN,
        "max" if has("NaN") => MAX_NAN,
        "min" => MIN,
        "max" => MAX,
        "copysign" => COPYSIGN,
        _ => return None,
    })
}

fn find_f64(name: &str, has: &dyn Fn(&str) -> bool) -> Option<Lanes> {
    Some(match name {
        "add" => ADD_64,
        "sub" => SUB_64,
        "mul" => MUL_64,
        "fma" | "mad" => FMA_64,
        "div" => DIV_64,
        "rcp" if has("approx") => RCP_APPROX_64,
        "rcp" => RCP_64,
        "rsqrt" => RSQRT_APPROX_64,
        "sqrt" => SQRT_64,
        "neg" => NEG_64,
        "abs" => ABS_64,
        "min" => MIN_64,
        "max" => MAX_64,
        "copysign" => COPYSIGN_64,
        _ => return None,
    })
}

/// The comparison of f32 or f64, and whether its result is to be inverted: `.ltu` is not `.ge`.
pub(crate) fn find_compare(operation: &str, t: Type) -> Option<(Lanes, bool)> {
    let idx = match t {
        Type::F32 => 0,
        Type::F64 => 1,
        _ => return None,
    };
    let (pair, inverted) = match operation {
        "eq" => ([SET_EQ, SET_EQ_64], false),
        "ne" => ([SET_NE, SET_NE_64], false),
        "lt" => ([SET_LT, SET_LT_64], false),
        "le" => ([SET_LE, SET_LE_64], false),
        "gt" => ([SET_GT, SET_GT_64], false),
        "ge" => ([SET_GE, SET_GE_64], false),
        "nan" => ([SET_NAN, SET_NAN_64], false),
        "num" => ([SET_NAN, SET_NAN_64], true),
        "equ" => ([SET_NE, SET_NE_64], true),
        "neu" => ([SET_EQ, SET_EQ_64], true),
        "ltu" => ([SET_GE, SET_GE_64], true),
        "leu" => ([SET_GT, SET_GT_64], true),
        "gtu" => ([SET_LE, SET_LE_64], true),
        "geu" => ([SET_LT, SET_LT_64], true),
        _ => return None,
    };
    Some((pair[idx], inverted))
}
