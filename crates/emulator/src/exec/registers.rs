//! Registers of a warp: for each register the values of 32 lanes side by side, so that one loop over the
//! lanes becomes a few vector instructions.

use std::ops::{BitAnd, BitOr, Not};
use std::sync::LazyLock;

/// The lanes of a warp.
pub(crate) const LANES: usize = 32;
/// All lanes.
pub(crate) const ALL: u32 = u32::MAX;

/// The registers of a warp.
#[derive(Clone, Default)]
pub(crate) struct Registers {
    /// Registers of up to 32 bits.
    pub(crate) words: Vec<[u32; LANES]>,
    /// Registers of 64 bits.
    pub(crate) doubles: Vec<[u64; LANES]>,
    /// Predicates: a bit for each lane.
    pub(crate) bits: Vec<u32>,
}

/// Where an instruction's operands are: rows of the registers, by the instruction's types.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Operands {
    pub(crate) d: u32,
    pub(crate) a: u32,
    pub(crate) b: u32,
    pub(crate) c: u32,
    /// A second result, a rounding mode, a table's row: by the instruction.
    pub(crate) e: u32,
}

/// A computation of all lanes, stored to those of the mask.
pub(crate) type Run = unsafe fn(&mut Registers, &Operands, u32);

/// A computation, compiled for the target's baseline and for AVX2.
#[derive(Clone, Copy)]
pub(crate) struct Lanes {
    pub(crate) plain: Run,
    pub(crate) wide: Run,
}

impl Lanes {
    /// The one for this machine.
    pub(crate) fn choose(self) -> Run {
        if has_wide() { self.wide } else { self.plain }
    }
}

/// Whether the machine has the instructions that `wide` is compiled for.
pub(crate) fn has_wide() -> bool {
    static HAS: LazyLock<bool> = LazyLock::new(|| {
        #[cfg(target_arch = "x86_64")]
        return is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    });
    *HAS
}

/// Defines computations as constants of type [`Lanes`].
macro_rules! lanes {
    ($($name:ident = $call:ident $(::<$generic:ty>)? ($($argument:expr),*);)*) => {$(
        pub(crate) const $name: $crate::exec::registers::Lanes = {
            use $crate::exec::registers::{Lanes, Operands, Registers};
            fn plain(r: &mut Registers, o: &Operands, mask: u32) {
                $call$(::<$generic>)?(r, o, mask $(, $argument)*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,bmi2")]
            fn wide(r: &mut Registers, o: &Operands, mask: u32) {
                $call$(::<$generic>)?(r, o, mask $(, $argument)*);
            }
            #[cfg(target_arch = "x86_64")]
            {
                Lanes { plain, wide }
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                Lanes { plain, wide: plain }
            }
        };
    )*};
}
pub(crate) use lanes;

/// The same for rare computations: compiled once, for the baseline.
macro_rules! rare_lanes {
    ($($name:ident = $call:ident $(::<$generic:ty>)? ($($argument:expr),*);)*) => {$(
        pub(crate) const $name: $crate::exec::registers::Lanes = {
            use $crate::exec::registers::{Lanes, Operands, Registers};
            fn plain(r: &mut Registers, o: &Operands, mask: u32) {
                $call$(::<$generic>)?(r, o, mask $(, $argument)*);
            }
            Lanes { plain, wide: plain }
        };
    )*};
}
pub(crate) use rare_lanes;

/// A number in a register.
pub(crate) trait Number: Copy {
    /// What registers hold.
    type Bits: Copy + Default;
    /// From a register.
    fn of(bits: Self::Bits) -> Self;
    /// To a register.
    fn bits(self) -> Self::Bits;
    /// The values of all lanes.
    fn row(r: &Registers, idx: u32) -> &[Self::Bits; LANES];
    /// Stores to the lanes of the mask.
    fn store(r: &mut Registers, idx: u32, mask: u32, values: &[Self::Bits; LANES]);
}

macro_rules! number {
    ($t:ty, $bits:ty, $file:ident, $of:expr, $to:expr) => {
        impl Number for $t {
            type Bits = $bits;
            #[inline(always)]
            fn of(bits: $bits) -> Self {
                let f: fn($bits) -> $t = $of;
                f(bits)
            }
            #[inline(always)]
            fn bits(self) -> $bits {
                let f: fn($t) -> $bits = $to;
                f(self)
            }
            #[inline(always)]
            fn row(r: &Registers, idx: u32) -> &[$bits; LANES] {
                &r.$file[idx as usize]
            }
            #[inline(always)]
            fn store(r: &mut Registers, idx: u32, mask: u32, values: &[$bits; LANES]) {
                let row = &mut r.$file[idx as usize];
                if mask == ALL {
                    *row = *values;
                } else {
                    blend_here(row, mask, values, |it| it as i32 as $bits);
                }
            }
        }
    };
}
number!(u32, u32, words, |it| it, |it| it);
number!(i32, u32, words, |it| it as i32, |it| it as u32);
number!(f32, u32, words, f32::from_bits, f32::to_bits);
number!(u16, u32, words, |it| it as u16, u32::from);
number!(i16, u32, words, |it| it as i16, |it| u32::from(it as u16));
number!(u64, u64, doubles, |it| it, |it| it);
number!(i64, u64, doubles, |it| it as i64, |it| it as u64);
number!(f64, u64, doubles, f64::from_bits, f64::to_bits);

/// Replaces the lanes of a mask. Functions of their own, as they are needed everywhere and not most of the time.
fn blend_here<T: Held>(
    row: &mut [T; LANES],
    mask: u32,
    values: &[T; LANES],
    widen: impl Fn(u32) -> T,
) {
    #[cfg(target_arch = "x86_64")]
    if has_wide() {
        // SAFETY: the machine has these instructions.
        #[expect(unsafe_code, reason = "a function compiled for the machine's instructions")]
        return unsafe { blend_wide(row, mask, values, widen) };
    }
    blend_plain(row, mask, values, widen);
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
#[target_feature(enable = "avx2")]
fn blend_wide<T: Held>(
    row: &mut [T; LANES],
    mask: u32,
    values: &[T; LANES],
    widen: impl Fn(u32) -> T,
) {
    blend(row, mask, values, widen);
}

#[inline(never)]
fn blend_plain<T: Held>(
    row: &mut [T; LANES],
    mask: u32,
    values: &[T; LANES],
    widen: impl Fn(u32) -> T,
) {
    blend(row, mask, values, widen);
}

#[inline(always)]
fn blend<T: Held>(row: &mut [T; LANES], mask: u32, values: &[T; LANES], widen: impl Fn(u32) -> T) {
    let keep = expand(mask);
    for lane in 0..LANES {
        let keep = widen(keep[lane]);
        row[lane] = (row[lane] & !keep) | (values[lane] & keep);
    }
}

/// What a lane of a register holds.
trait Held: Copy + BitAnd<Output = Self> + BitOr<Output = Self> + Not<Output = Self> {}
impl Held for u32 {}
impl Held for u64 {}

/// All bits of a lane's word where its bit is set.
#[inline(always)]
pub(crate) fn expand(mask: u32) -> [u32; LANES] {
    let mut words = [0; LANES];
    for (lane, word) in words.iter_mut().enumerate() {
        *word = if mask & (1 << lane) == 0 { 0 } else { u32::MAX };
    }
    words
}

/// A bit for each lane that is not 0.
#[inline(always)]
pub(crate) fn gather(words: &[u32; LANES]) -> u32 {
    let mut bits = 0;
    for (lane, word) in words.iter().enumerate() {
        bits |= u32::from(*word != 0) << lane;
    }
    bits
}

/// `d = f(a)`
#[inline(always)]
pub(crate) fn unary<A: Number, D: Number>(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(A) -> D,
) {
    let mut out = [D::Bits::default(); LANES];
    let a = A::row(r, o.a);
    for lane in 0..LANES {
        out[lane] = f(A::of(a[lane])).bits();
    }
    D::store(r, o.d, mask, &out);
}

/// `d = f(a, b)`
#[inline(always)]
pub(crate) fn binary<A: Number, B: Number, D: Number>(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(A, B) -> D,
) {
    let mut out = [D::Bits::default(); LANES];
    let (a, b) = (A::row(r, o.a), B::row(r, o.b));
    for lane in 0..LANES {
        out[lane] = f(A::of(a[lane]), B::of(b[lane])).bits();
    }
    D::store(r, o.d, mask, &out);
}

/// `d = f(a, b, c)`
#[inline(always)]
pub(crate) fn ternary<A: Number, B: Number, C: Number, D: Number>(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(A, B, C) -> D,
) {
    let mut out = [D::Bits::default(); LANES];
    let (a, b, c) = (A::row(r, o.a), B::row(r, o.b), C::row(r, o.c));
    for lane in 0..LANES {
        out[lane] = f(A::of(a[lane]), B::of(b[lane]), C::of(c[lane])).bits();
    }
    D::store(r, o.d, mask, &out);
}

/// The bits of `f(a, b)`.
#[inline(always)]
pub(crate) fn compare<A: Number>(r: &Registers, o: &Operands, f: impl Fn(A, A) -> bool) -> u32 {
    let mut out = [0; LANES];
    let (a, b) = (A::row(r, o.a), A::row(r, o.b));
    for lane in 0..LANES {
        out[lane] = if f(A::of(a[lane]), A::of(b[lane])) { u32::MAX } else { 0 };
    }
    gather(&out)
}

/// Stores a predicate to the lanes of the mask.
#[inline(always)]
pub(crate) fn store_bits(r: &mut Registers, idx: u32, mask: u32, bits: u32) {
    let row = &mut r.bits[idx as usize];
    *row = (*row & !mask) | (bits & mask);
}
