//! Arithmetic of f16 and bf16, alone and in pairs: formed in f64, rounded once.

use super::registers::{Lanes, binary, compare, rare_lanes, store_bits, ternary, unary};
use super::registers::{Operands, Registers};
use super::rounding::{
    BF16, Direction, F16, Format, add_odd, bf16_of, f16_of, fma_odd, of_bf16, of_f16, round,
};
use super::types::Type;

/// A format of 16 bits.
trait Half {
    const FORMAT: Format;
    fn wide(bits: u32) -> f32;
    fn narrow(x: f32) -> u32;
}

struct Binary16;
struct Brain16;

impl Half for Binary16 {
    const FORMAT: Format = F16;
    #[inline(always)]
    fn wide(bits: u32) -> f32 {
        of_f16(bits & 0xffff)
    }
    #[inline(always)]
    fn narrow(x: f32) -> u32 {
        f16_of(x)
    }
}

impl Half for Brain16 {
    const FORMAT: Format = BF16;
    #[inline(always)]
    fn wide(bits: u32) -> f32 {
        of_bf16(bits & 0xffff)
    }
    #[inline(always)]
    fn narrow(x: f32) -> u32 {
        bf16_of(x)
    }
}

#[inline(never)]
fn exact<H: Half>(x: f64) -> u32 {
    round(x, H::FORMAT, Direction::Nearest)
}

fn one<H: Half, const OPERATION: u8>(a: u32) -> u32 {
    let is_nan = H::wide(a).is_nan();
    match OPERATION {
        0 if is_nan => 0x7fff,
        1 if is_nan => 0x7fff,
        0 => a ^ 0x8000,
        1 => a & 0x7fff,
        2 => exact::<H>(f64::from(H::wide(a)).exp2()),
        3 => exact::<H>(f64::from(H::wide(a)).tanh()),
        _ => {
            let x = H::wide(a);
            H::narrow(if x > 0.0 { x.min(1.0) } else { 0.0 })
        }
    }
}

fn two<H: Half, const OPERATION: u8>(a: u32, b: u32) -> u32 {
    let (x, y) = (H::wide(a), H::wide(b));
    match OPERATION {
        0 => exact::<H>(add_odd(x.into(), y.into())),
        1 => exact::<H>(add_odd(x.into(), (-y).into())),
        2 => exact::<H>(f64::from(x) * f64::from(y)),
        3 | 4 if x.is_nan() && y.is_nan() => 0x7fff,
        3 | 4 if x.is_nan() => b,
        3 | 4 if y.is_nan() => a,
        5 | 6 if x.is_nan() || y.is_nan() => 0x7fff,
        3 | 5 if x == y => a | b,
        3 | 5 => {
            if x < y {
                a
            } else {
                b
            }
        }
        _ if x == y => a & b,
        _ => {
            if x > y {
                a
            } else {
                b
            }
        }
    }
}

fn three<H: Half>(a: u32, b: u32, c: u32) -> u32 {
    exact::<H>(fma_odd(H::wide(a).into(), H::wide(b).into(), H::wide(c).into()))
}

fn relu<H: Half>(x: u32) -> u32 {
    let value = H::wide(x);
    if value.is_nan() {
        0x7fff
    } else if value > 0.0 {
        x
    } else {
        0
    }
}

fn pair(f: impl Fn(u32) -> u32, a: u32) -> u32 {
    f(a & 0xffff) | f(a >> 16) << 16
}

fn compare_to<H: Half>(r: &mut Registers, o: &Operands, mask: u32, f: impl Fn(f32, f32) -> bool) {
    let bits = compare(r, o, |a: u32, b: u32| f(H::wide(a), H::wide(b)));
    store_bits(r, o.d, mask, bits);
}

macro_rules! family {
    ($file:ident, $half:ty) => {
        mod $file {
            use super::*;
            rare_lanes! {
                NEG = unary(|a: u32| one::<$half, 0>(a & 0xffff));
                ABS = unary(|a: u32| one::<$half, 1>(a & 0xffff));
                EX2 = unary(|a: u32| one::<$half, 2>(a & 0xffff));
                TANH = unary(|a: u32| one::<$half, 3>(a & 0xffff));
                SATURATE = unary(|a: u32| one::<$half, 4>(a & 0xffff));
                RELU = unary(|a: u32| relu::<$half>(a & 0xffff));
                ADD = binary(|a: u32, b: u32| two::<$half, 0>(a & 0xffff, b & 0xffff));
                SUB = binary(|a: u32, b: u32| two::<$half, 1>(a & 0xffff, b & 0xffff));
                MUL = binary(|a: u32, b: u32| two::<$half, 2>(a & 0xffff, b & 0xffff));
                MIN = binary(|a: u32, b: u32| two::<$half, 3>(a & 0xffff, b & 0xffff));
                MAX = binary(|a: u32, b: u32| two::<$half, 4>(a & 0xffff, b & 0xffff));
                MIN_NAN = binary(|a: u32, b: u32| two::<$half, 5>(a & 0xffff, b & 0xffff));
                MAX_NAN = binary(|a: u32, b: u32| two::<$half, 6>(a & 0xffff, b & 0xffff));
                FMA = ternary(|a: u32, b: u32, c: u32| three::<$half>(a, b, c));
                NEG_2 = unary(|a: u32| pair(one::<$half, 0>, a));
                ABS_2 = unary(|a: u32| pair(one::<$half, 1>, a));
                EX2_2 = unary(|a: u32| pair(one::<$half, 2>, a));
                TANH_2 = unary(|a: u32| pair(one::<$half, 3>, a));
                SATURATE_2 = unary(|a: u32| pair(one::<$half, 4>, a));
                RELU_2 = unary(|a: u32| pair(relu::<$half>, a));
                ADD_2 = binary(|a: u32, b: u32| two::<$half, 0>(a & 0xffff, b & 0xffff) | two::<$half, 0>(a >> 16, b >> 16) << 16);
                SUB_2 = binary(|a: u32, b: u32| two::<$half, 1>(a & 0xffff, b & 0xffff) | two::<$half, 1>(a >> 16, b >> 16) << 16);
                MUL_2 = binary(|a: u32, b: u32| two::<$half, 2>(a & 0xffff, b & 0xffff) | two::<$half, 2>(a >> 16, b >> 16) << 16);
                MIN_2 = binary(|a: u32, b: u32| two::<$half, 3>(a & 0xffff, b & 0xffff) | two::<$half, 3>(a >> 16, b >> 16) << 16);
                MAX_2 = binary(|a: u32, b: u32| two::<$half, 4>(a & 0xffff, b & 0xffff) | two::<$half, 4>(a >> 16, b >> 16) << 16);
                MIN_NAN_2 = binary(|a: u32, b: u32| two::<$half, 5>(a & 0xffff, b & 0xffff) | two::<$half, 5>(a >> 16, b >> 16) << 16);
                MAX_NAN_2 = binary(|a: u32, b: u32| two::<$half, 6>(a & 0xffff, b & 0xffff) | two::<$half, 6>(a >> 16, b >> 16) << 16);
                FMA_2 = ternary(|a: u32, b: u32, c: u32| three::<$half>(a, b, c) | three::<$half>(a >> 16, b >> 16, c >> 16) << 16);
                SET_EQ = compare_to::<$half>(|a, b| a == b);
                SET_NE = compare_to::<$half>(|a, b| (a < b) | (a > b));
                SET_LT = compare_to::<$half>(|a, b| a < b);
                SET_LE = compare_to::<$half>(|a, b| a <= b);
                SET_GT = compare_to::<$half>(|a, b| a > b);
                SET_GE = compare_to::<$half>(|a, b| a >= b);
                SET_NAN = compare_to::<$half>(|a, b| a.is_nan() || b.is_nan());
            }

            pub(super) fn find(name: &str, is_pair: bool, has: &dyn Fn(&str) -> bool) -> Option<Lanes> {
                let [single, double] = match name {
                    "neg" => [NEG, NEG_2],
                    "abs" => [ABS, ABS_2],
                    "ex2" => [EX2, EX2_2],
                    "tanh" => [TANH, TANH_2],
                    "saturate" => [SATURATE, SATURATE_2],
                    "relu" => [RELU, RELU_2],
                    "add" => [ADD, ADD_2],
                    "sub" => [SUB, SUB_2],
                    "mul" => [MUL, MUL_2],
                    "min" if has("NaN") => [MIN_NAN, MIN_NAN_2],
                    "max" if has("NaN") => [MAX_NAN, MAX_NAN_2],
                    "min" => [MIN, MIN_2],
                    "max" => [MAX, MAX_2],
                    "fma" => [FMA, FMA_2],
                    _ => return None,
                };
                Some(if is_pair { double } else { single })
            }

            pub(super) fn find_compare(operation: &str) -> Option<(Lanes, bool)> {
                Some(match operation {
                    "eq" => (SET_EQ, false),
                    "ne" => (SET_NE, false),
                    "lt" => (SET_LT, false),
                    "le" => (SET_LE, false),
                    "gt" => (SET_GT, false),
                    "ge" => (SET_GE, false),
                    "nan" => (SET_NAN, false),
                    "num" => (SET_NAN, true),
                    "equ" => (SET_NE, true),
                    "neu" => (SET_EQ, true),
                    "ltu" => (SET_GE, true),
                    "leu" => (SET_GT, true),
                    "gtu" => (SET_LE, true),
                    "geu" => (SET_LT, true),
                    _ => return None,
                })
            }
        }
    };
}
family!(binary16, Binary16);
family!(brain16, Brain16);

/// The computation of an instruction of f16, bf16 or pairs of them; `saturate` and `relu` are what `.sat` and
/// `.relu` do to a result.
pub(crate) fn find(name: &str, t: Type, has: &dyn Fn(&str) -> bool) -> Option<Lanes> {
    match t {
        _ if has("xorsign") || has("oob") => None,
        Type::F16 => binary16::find(name, false, has),
        Type::F16x2 => binary16::find(name, true, has),
        Type::Bf16 => brain16::find(name, false, has),
        Type::Bf16x2 => brain16::find(name, true, has),
        _ => None,
    }
}

/// The comparison, and whether its result is to be inverted.
pub(crate) fn find_compare(operation: &str, t: Type) -> Option<(Lanes, bool)> {
    match t {
        Type::F16 => binary16::find_compare(operation),
        Type::Bf16 => brain16::find_compare(operation),
        _ => None,
    }
}
