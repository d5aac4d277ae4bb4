//! `cvt`: between integers and floating-point numbers of all widths, with rounding and saturation.

use super::registers::{LANES, Lanes, Operands, Registers, binary, lanes, unary};
use super::rounding::{BF16, Direction, F16, bf16_of, f16_of, of_bf16, of_f16, round, to_f32};
use super::types::Type;

/// A conversion in general.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conversion {
    pub(crate) from: Type,
    pub(crate) to: Type,
    pub(crate) direction: Direction,
    /// To an integral value, also where the type stays (`.rni` and its like).
    pub(crate) is_integral: bool,
    pub(crate) saturates: bool,
    pub(crate) relu: bool,
    pub(crate) flushes: bool,
}

enum Value {
    Integer(i128),
    Real(f64),
}

impl Conversion {
    /// The bits of a converted number.
    pub(crate) fn apply(&self, bits: u64) -> u64 {
        let value = match self.from {
            Type::F32 => Value::Real(f32::from_bits(bits as u32).into()),
            Type::F64 => Value::Real(f64::from_bits(bits)),
            Type::F16 => Value::Real(of_f16(bits as u32 & 0xffff).into()),
            Type::Bf16 => Value::Real(of_bf16(bits as u32 & 0xffff).into()),
            Type::Signed(n) => Value::Integer(i128::from((bits as i64) << (64 - n) >> (64 - n))),
            it => Value::Integer(i128::from(bits << (64 - it.bits()) >> (64 - it.bits()))),
        };
        match (value, self.to) {
            (Value::Integer(x), to) if to.is_integer() => self.fit(x, self.saturates),
            (Value::Real(x), to) if to.is_integer() => {
                // Floating-point numbers always saturate; NaN becomes 0.
                let x =
                    if self.flushes && x.abs() < f64::from(f32::MIN_POSITIVE) { 0.0 } else { x };
                self.fit(self.integral(x) as i128, true)
            }
            (Value::Integer(x), _) => self.real_of_integer(x),
            (Value::Real(x), _) => {
                let x = if self.is_integral { self.integral(x) } else { x };
                self.real(x)
            }
        }
    }

    fn integral(&self, x: f64) -> f64 {
        match self.direction {
            Direction::Nearest => x.round_ties_even(),
            Direction::Zero => x.trunc(),
            Direction::Down => x.floor(),
            Direction::Up => x.ceil(),
        }
    }

    fn fit(&self, x: i128, saturates: bool) -> u64 {
        let n = self.to.bits();
        let (low, high) = if self.to.is_signed() {
            (-(1i128 << (n - 1)), (1i128 << (n - 1)) - 1)
        } else {
            (0, (1i128 << n) - 1)
        };
        let x = if saturates { x.clamp(low, high) } else { x };
        // Narrow results fill the register by their sign.
        if self.to.is_signed() {
            ((x as i64) << (64 - n) >> (64 - n)) as u64
        } else {
            (x as u64) << (64 - n) >> (64 - n)
        }
    }

    /// 64 bits do not fit into f64: what is lost is kept as an odd last bit.
    fn real_of_integer(&self, x: i128) -> u64 {
        if self.to == Type::F64 {
            return to_f64(x, self.direction).to_bits();
        }
        let magnitude = x.unsigned_abs();
        let excess = (128 - magnitude.leading_zeros()).saturating_sub(53);
        let lost = magnitude & ((1 << excess) - 1) != 0;
        let odd = ((magnitude >> excess) | u128::from(lost)) << excess;
        let x = if x < 0 { -(odd as f64) } else { odd as f64 };
        self.real(x)
    }

    fn real(&self, x: f64) -> u64 {
        let x = if self.saturates { if x > 0.0 { x.min(1.0) } else { 0.0 } } else { x };
        let x = if self.relu && x <= 0.0 { 0.0 } else { x };
        match self.to {
            Type::F64 if x.is_nan() => super::rounding::NAN_64.to_bits(),
            Type::F64 => x.to_bits(),
            Type::F16 => round(x, F16, self.direction).into(),
            Type::Bf16 => round(x, BF16, self.direction).into(),
            _ => {
                let y = to_f32(x, self.direction);
                let y = if self.flushes && y.abs() < f32::MIN_POSITIVE {
                    0.0f32.copysign(y)
                } else {
                    y
                };
                y.to_bits().into()
            }
        }
    }
}

fn to_f64(x: i128, direction: Direction) -> f64 {
    // Rust rounds to the nearest, ties to even.
    let nearest = x as f64;
    let back = nearest as i128;
    let down = if back > x { nearest.next_down() } else { nearest };
    let up = if back < x { nearest.next_up() } else { nearest };
    match direction {
        Direction::Nearest => nearest,
        Direction::Down => down,
        Direction::Up => up,
        Direction::Zero => {
            if x < 0 {
                up
            } else {
                down
            }
        }
    }
}

/// Converts lane by lane.
pub(crate) fn run(r: &mut Registers, o: &Operands, mask: u32, conversion: &Conversion) {
    for lane in (0..LANES).filter(|it| mask >> it & 1 != 0) {
        let bits = if conversion.from.bits() == 64 {
            r.doubles[o.a as usize][lane]
        } else {
            r.words[o.a as usize][lane].into()
        };
        let value = conversion.apply(bits);
        if conversion.to.bits() == 64 {
            r.doubles[o.d as usize][lane] = value;
        } else {
            r.words[o.d as usize][lane] = value as u32;
        }
    }
}

#[inline(always)]
fn truncate(x: f32) -> i32 {
    // Saturates, and NaN becomes 0, as on a GPU.
    x as i32
}

#[inline(always)]
fn low<const BITS: u32, const SIGNED: bool>(x: u32) -> u32 {
    if SIGNED {
        ((x << (32 - BITS)) as i32 >> (32 - BITS)) as u32
    } else {
        x << (32 - BITS) >> (32 - BITS)
    }
}

/// Two numbers to a pair: the first operand is the high half.
#[inline(always)]
fn pair<const IS_BF16: bool>(high: f32, low: f32) -> u32 {
    if IS_BF16 { bf16_of(low) | bf16_of(high) << 16 } else { f16_of(low) | f16_of(high) << 16 }
}

lanes! {
    U8 = unary(low::<8, false>);
    S8 = unary(low::<8, true>);
    U16 = unary(low::<16, false>);
    S16 = unary(low::<16, true>);
    SAME = unary(|a: u32| a);
    SAME_64 = unary(|a: u64| a);
    U32_TO_64 = unary(|a: u32| u64::from(a));
    S32_TO_64 = unary(|a: i32| i64::from(a));
    U16_TO_64 = unary(|a: u16| u64::from(a));
    S16_TO_64 = unary(|a: i16| i64::from(a));
    LOW_OF_64 = unary(|a: u64| a as u32);
    LOW_16_OF_64 = unary(|a: u64| a as u16);
    S32_TO_F32 = unary(|a: i32| a as f32);
    U32_TO_F32 = unary(|a: u32| a as f32);
    S16_TO_F32 = unary(|a: i16| f32::from(a));
    U16_TO_F32 = unary(|a: u16| f32::from(a));
    U8_TO_F32 = unary(|a: u32| (a & 0xff) as f32);
    F32_TO_S32 = unary(truncate);
    F32_TO_U32 = unary(|a: f32| a as u32);
    F16_TO_F32 = unary(|a: u32| of_f16(a & 0xffff));
    BF16_TO_F32 = unary(|a: u32| of_bf16(a));
    F32_TO_F16 = unary(|a: f32| f16_of(a));
    F32_TO_BF16 = unary(|a: f32| bf16_of(a));
    F32_TO_F64 = unary(|a: f32| super::rounding::canon64(f64::from(a)));
    F64_TO_F32 = unary(|a: f64| super::rounding::canon(a as f32));
    F32_TO_F16X2 = binary(pair::<false>);
    F32_TO_BF16X2 = binary(pair::<true>);
}

/// The computation of a frequent conversion, of types whose widths say where their registers are.
pub(crate) fn find(c: &Conversion) -> Option<Lanes> {
    use Type::{Bf16, Bits, F16, F32, F64, Signed, Unsigned};
    if c.saturates || c.relu || c.flushes {
        return None;
    }
    let nearest = c.direction == Direction::Nearest && !c.is_integral;
    let truncates = c.direction == Direction::Zero && c.is_integral;
    Some(match (c.from, c.to) {
        (from, to) if from.is_integer() && to.is_integer() => {
            let narrow = from.bits().min(to.bits());
            match (from.bits(), to.bits()) {
                (64, 64) => SAME_64,
                (64, 32) => LOW_OF_64,
                (64, 16) => LOW_16_OF_64,
                (64, _) => return None,
                (32, 64) => {
                    if from.is_signed() {
                        S32_TO_64
                    } else {
                        U32_TO_64
                    }
                }
                (16, 64) => {
                    if from.is_signed() {
                        S16_TO_64
                    } else {
                        U16_TO_64
                    }
                }
                (_, 64) => return None,
                // The narrower of both; widening by the sign of the source, narrowing by that of the result.
                (a, b) => {
                    let signed = if a <= b { from.is_signed() } else { to.is_signed() };
                    // 16-bit registers hold nothing above their 16 bits.
                    if b == 16 && narrow == 8 && signed {
                        return None;
                    }
                    match (narrow, signed && b != 16) {
                        (32, _) => SAME,
                        (16, true) => S16,
                        (16, false) => U16,
                        (_, true) => S8,
                        (_, false) => U8,
                    }
                }
            }
        }
        (Signed(32), F32) if nearest => S32_TO_F32,
        (Unsigned(32) | Bits(32), F32) if nearest => U32_TO_F32,
        (Signed(16), F32) if nearest => S16_TO_F32,
        (Unsigned(16), F32) if nearest => U16_TO_F32,
        (Unsigned(8), F32) if nearest => U8_TO_F32,
        (F32, Signed(32)) if truncates => F32_TO_S32,
        (F32, Unsigned(32)) if truncates => F32_TO_U32,
        (F16, F32) if !c.is_integral => F16_TO_F32,
        (Bf16, F32) if !c.is_integral => BF16_TO_F32,
        (F32, F16) if nearest => F32_TO_F16,
        (F32, Bf16) if nearest => F32_TO_BF16,
        (F32, F64) if !c.is_integral => F32_TO_F64,
        (F64, F32) if nearest => F64_TO_F32,
        _ => return None,
    })
}
