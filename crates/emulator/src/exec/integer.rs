//! Integers and bits: sums, products, shifts, fields, comparisons.

use super::registers::{Lanes, binary, compare, lanes, rare_lanes, store_bits, ternary, unary};
use super::registers::{Operands, Registers};
use super::types::Type;

#[inline(always)]
fn compare_to<A: super::registers::Number>(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(A, A) -> bool,
) {
    let bits = compare(r, o, f);
    store_bits(r, o.d, mask, bits);
}

#[inline(always)]
fn bits(r: &mut Registers, o: &Operands, mask: u32, f: impl Fn(u32, u32) -> u32) {
    let value = f(r.bits[o.a as usize], r.bits[o.b as usize]);
    store_bits(r, o.d, mask, value);
}

/// `d = c ? a : b`
#[inline(always)]
fn select<T: super::registers::Number>(r: &mut Registers, o: &Operands, mask: u32) {
    let c = r.bits[o.c as usize];
    let keep = super::registers::expand(c);
    let mut out = *T::row(r, o.b);
    let a = T::row(r, o.a);
    for lane in 0..super::registers::LANES {
        out[lane] = if keep[lane] != 0 { a[lane] } else { out[lane] };
    }
    T::store(r, o.d, mask, &out);
}

/// Any function of three bits: bit `4a + 2b + c` of the table.
#[inline(always)]
fn lop3(r: &mut Registers, o: &Operands, mask: u32) {
    let t: [u32; 8] = std::array::from_fn(|bit| if o.e >> bit & 1 != 0 { u32::MAX } else { 0 });
    ternary(r, o, mask, |a: u32, b: u32, c: u32| {
        let by_c = |lo: u32, hi: u32| (lo & !c) | (hi & c);
        let by_b = |lo: u32, hi: u32| (lo & !b) | (hi & b);
        let (lo, hi) =
            (by_b(by_c(t[0], t[1]), by_c(t[2], t[3])), by_b(by_c(t[4], t[5]), by_c(t[6], t[7])));
        (lo & !a) | (hi & a)
    });
}

/// Bytes chosen from two words by the nibbles of a selector.
#[inline(always)]
fn permute(a: u32, b: u32, c: u32) -> u32 {
    let bytes = u64::from(a) | u64::from(b) << 32;
    let mut out = 0;
    for i in 0..4 {
        let nibble = c >> (4 * i);
        let byte = (bytes >> (8 * (nibble & 7))) as u32 & 0xff;
        // The nibble's high bit asks for copies of the byte's sign.
        let sign = 0u32.wrapping_sub(byte >> 7) & 0xff;
        out |= (if nibble & 8 != 0 { sign } else { byte }) << (8 * i);
    }
    out
}

#[inline(always)]
fn field<const SIGNED: bool>(a: u64, pos: u32, len: u32, bits: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    let a = if SIGNED && bits == 32 { a as u32 as i32 as i64 as u64 } else { a };
    if len == 0 {
        return 0;
    }
    let shifted = if SIGNED {
        ((a as i64) >> pos.min(63)) as u64
    } else if pos > 63 {
        0
    } else {
        a >> pos
    };
    if len >= 64 {
        return shifted;
    }
    let low = shifted & ((1 << len) - 1);
    // The sign is the field's highest bit, or that of `a` where the field goes beyond it.
    let top = (pos + len - 1).min(bits - 1);
    if SIGNED && a >> top & 1 != 0 { low | u64::MAX << len } else { low }
}

#[inline(always)]
fn insert(a: u64, b: u64, pos: u32, len: u32, bits: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    if pos >= bits || len == 0 {
        return b;
    }
    let ones = if len >= 64 { u64::MAX } else { (1 << len) - 1 };
    (b & !(ones << pos)) | ((a & ones) << pos)
}

#[inline(always)]
fn insert_field<T: super::registers::Number>(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(T, T, u32, u32) -> T,
) {
    let mut out = [T::Bits::default(); 32];
    let (a, b) = (T::row(r, o.a), T::row(r, o.b));
    let (pos, len) = (&r.words[o.c as usize], &r.words[o.e as usize]);
    for lane in 0..32 {
        out[lane] = f(T::of(a[lane]), T::of(b[lane]), pos[lane], len[lane]).bits();
    }
    T::store(r, o.d, mask, &out);
}

#[inline(always)]
fn funnel(a: u32, b: u32) -> u64 {
    u64::from(a) | u64::from(b) << 32
}

lanes! {
    AND_16 = binary(|a: u16, b: u16| a & b);
    OR_16 = binary(|a: u16, b: u16| a | b);
    SHL_16 = binary(|a: u16, b: u32| if b < 16 { a << (b & 15) } else { 0 });
    MOVE_16 = unary(|a: u16| a);
    SELECT_16 = select::<u16>();
    ADD_32 = binary(|a: u32, b: u32| a.wrapping_add(b));
    SUB_32 = binary(|a: u32, b: u32| a.wrapping_sub(b));
    MUL_32 = binary(|a: u32, b: u32| a.wrapping_mul(b));
    MAD_32 = ternary(|a: u32, b: u32, c: u32| a.wrapping_mul(b).wrapping_add(c));
    AND_32 = binary(|a: u32, b: u32| a & b);
    OR_32 = binary(|a: u32, b: u32| a | b);
    XOR_32 = binary(|a: u32, b: u32| a ^ b);
    NOT_32 = unary(|a: u32| !a);
    SHL_32 = binary(|a: u32, b: u32| if b < 32 { a << (b & 31) } else { 0 });
    MOVE_32 = unary(|a: u32| a);
    SELECT_32 = select::<u32>();
    ADD_64 = binary(|a: u64, b: u64| a.wrapping_add(b));
    SUB_64 = binary(|a: u64, b: u64| a.wrapping_sub(b));
    MUL_64 = binary(|a: u64, b: u64| a.wrapping_mul(b));
    MAD_64 = ternary(|a: u64, b: u64, c: u64| a.wrapping_mul(b).wrapping_add(c));
    AND_64 = binary(|a: u64, b: u64| a & b);
    OR_64 = binary(|a: u64, b: u64| a | b);
    XOR_64 = binary(|a: u64, b: u64| a ^ b);
    NOT_64 = unary(|a: u64| !a);
    SHL_64 = binary(|a: u64, b: u32| if b < 64 { a << (b & 63) } else { 0 });
    MOVE_64 = unary(|a: u64| a);
    SELECT_64 = select::<u64>();
    MUL_HI_S32 = binary(|a: i32, b: i32| ((i64::from(a) * i64::from(b)) >> 32) as i32);
    MUL_WIDE_S32 = binary(|a: i32, b: i32| i64::from(a) * i64::from(b));
    MAD_WIDE_S32 = ternary(|a: i32, b: i32, c: i64| (i64::from(a) * i64::from(b)).wrapping_add(c));
    DIV_S32 = binary(|a: i32, b: i32| if b == 0 { !0 } else { a.wrapping_div(b) });
    MIN_S32 = binary(|a: i32, b: i32| a.min(b));
    MAX_S32 = binary(|a: i32, b: i32| a.max(b));
    SHR_S32 = binary(|a: i32, b: u32| a >> b.min(31));
    NEG_S32 = unary(|a: i32| a.wrapping_neg());
    ABS_S32 = unary(|a: i32| a.wrapping_abs());
    SET_LT_S32 = compare_to(|a: i32, b: i32| a < b);
    SET_LE_S32 = compare_to(|a: i32, b: i32| a <= b);
    SET_GT_S32 = compare_to(|a: i32, b: i32| a > b);
    SET_GE_S32 = compare_to(|a: i32, b: i32| a >= b);
    MIN_S64 = binary(|a: i64, b: i64| a.min(b));
    MAX_S64 = binary(|a: i64, b: i64| a.max(b));
    SHR_S64 = binary(|a: i64, b: u32| a >> b.min(63));
    NEG_S64 = unary(|a: i64| a.wrapping_neg());
    ABS_S64 = unary(|a: i64| a.wrapping_abs());
    SET_LT_S64 = compare_to(|a: i64, b: i64| a < b);
    SET_LE_S64 = compare_to(|a: i64, b: i64| a <= b);
    SET_GT_S64 = compare_to(|a: i64, b: i64| a > b);
    SET_GE_S64 = compare_to(|a: i64, b: i64| a >= b);
    SET_EQ_16 = compare_to(|a: u16, b: u16| a == b);
    SET_NE_16 = compare_to(|a: u16, b: u16| a != b);
    MUL_HI_U32 = binary(|a: u32, b: u32| ((u64::from(a) * u64::from(b)) >> 32) as u32);
    MUL_WIDE_U32 = binary(|a: u32, b: u32| u64::from(a) * u64::from(b));
    MAD_WIDE_U32 = ternary(|a: u32, b: u32, c: u64| (u64::from(a) * u64::from(b)).wrapping_add(c));
    DIV_U32 = binary(|a: u32, b: u32| if b == 0 { !0 } else { a.wrapping_div(b) });
    MIN_U32 = binary(|a: u32, b: u32| a.min(b));
    MAX_U32 = binary(|a: u32, b: u32| a.max(b));
    SHR_U32 = binary(|a: u32, b: u32| if b < 32 { a >> (b & 31) } else { 0 });
    SET_LT_U32 = compare_to(|a: u32, b: u32| a < b);
    SET_LE_U32 = compare_to(|a: u32, b: u32| a <= b);
    SET_GT_U32 = compare_to(|a: u32, b: u32| a > b);
    SET_GE_U32 = compare_to(|a: u32, b: u32| a >= b);
    SET_EQ_32 = compare_to(|a: u32, b: u32| a == b);
    SET_NE_32 = compare_to(|a: u32, b: u32| a != b);
    MIN_U64 = binary(|a: u64, b: u64| a.min(b));
    MAX_U64 = binary(|a: u64, b: u64| a.max(b));
    SHR_U64 = binary(|a: u64, b: u32| if b < 64 { a >> (b & 63) } else { 0 });
    SET_LT_U64 = compare_to(|a: u64, b: u64| a < b);
    SET_LE_U64 = compare_to(|a: u64, b: u64| a <= b);
    SET_GT_U64 = compare_to(|a: u64, b: u64| a > b);
    SET_GE_U64 = compare_to(|a: u64, b: u64| a >= b);
    SET_EQ_64 = compare_to(|a: u64, b: u64| a == b);
    SET_NE_64 = compare_to(|a: u64, b: u64| a != b);
    AND_PRED = bits(|a, b| a & b);
    OR_PRED = bits(|a, b| a | b);
    XOR_PRED = bits(|a, b| a ^ b);
    NOT_PRED = bits(|a, _| !a);
    MOVE_PRED = bits(|a, _| a);
    LOP3 = lop3();
    BFE_U32 = ternary(|a: u32, pos: u32, len: u32| field::<false>(u64::from(a), pos, len, 32) as u32);
    BFE_S32 = ternary(|a: u32, pos: u32, len: u32| field::<true>(u64::from(a), pos, len, 32) as u32);
    BFI_32 = insert_field(|a: u32, b: u32, pos, len| insert(u64::from(a), u64::from(b), pos, len, 32) as u32);
}

rare_lanes! {
    ADD_16 = binary(|a: u16, b: u16| a.wrapping_add(b));
    SUB_16 = binary(|a: u16, b: u16| a.wrapping_sub(b));
    MUL_16 = binary(|a: u16, b: u16| a.wrapping_mul(b));
    MAD_16 = ternary(|a: u16, b: u16, c: u16| a.wrapping_mul(b).wrapping_add(c));
    XOR_16 = binary(|a: u16, b: u16| a ^ b);
    NOT_16 = unary(|a: u16| !a);
    CNOT_16 = unary(|a: u16| u16::from(a == 0));
    CNOT_32 = unary(|a: u32| u32::from(a == 0));
    CNOT_64 = unary(|a: u64| u64::from(a == 0));
    MUL_HI_S16 = binary(|a: i16, b: i16| ((i32::from(a) * i32::from(b)) >> 16) as i16);
    MAD_HI_S16 = ternary(|a: i16, b: i16, c: i16| (((i32::from(a) * i32::from(b)) >> 16) as i16).wrapping_add(c));
    MUL_WIDE_S16 = binary(|a: i16, b: i16| i32::from(a) * i32::from(b));
    MAD_WIDE_S16 = ternary(|a: i16, b: i16, c: i32| (i32::from(a) * i32::from(b)).wrapping_add(c));
    DIV_S16 = binary(|a: i16, b: i16| if b == 0 { !0 } else { a.wrapping_div(b) });
    REM_S16 = binary(|a: i16, b: i16| if b == 0 { !0 } else { a.wrapping_rem(b) });
    MIN_S16 = binary(|a: i16, b: i16| a.min(b));
    MAX_S16 = binary(|a: i16, b: i16| a.max(b));
    SHR_S16 = binary(|a: i16, b: u32| a >> b.min(15));
    NEG_S16 = unary(|a: i16| a.wrapping_neg());
    ABS_S16 = unary(|a: i16| a.wrapping_abs());
    SET_LT_S16 = compare_to(|a: i16, b: i16| a < b);
    SET_LE_S16 = compare_to(|a: i16, b: i16| a <= b);
    SET_GT_S16 = compare_to(|a: i16, b: i16| a > b);
    SET_GE_S16 = compare_to(|a: i16, b: i16| a >= b);
    MAD_HI_S32 = ternary(|a: i32, b: i32, c: i32| (((i64::from(a) * i64::from(b)) >> 32) as i32).wrapping_add(c));
    REM_S32 = binary(|a: i32, b: i32| if b == 0 { !0 } else { a.wrapping_rem(b) });
    MUL_HI_S64 = binary(|a: i64, b: i64| ((i128::from(a) * i128::from(b)) >> 64) as i64);
    MAD_HI_S64 = ternary(|a: i64, b: i64, c: i64| (((i128::from(a) * i128::from(b)) >> 64) as i64).wrapping_add(c));
    DIV_S64 = binary(|a: i64, b: i64| if b == 0 { !0 } else { a.wrapping_div(b) });
    REM_S64 = binary(|a: i64, b: i64| if b == 0 { !0 } else { a.wrapping_rem(b) });
    MUL_HI_U16 = binary(|a: u16, b: u16| ((u32::from(a) * u32::from(b)) >> 16) as u16);
    MAD_HI_U16 = ternary(|a: u16, b: u16, c: u16| (((u32::from(a) * u32::from(b)) >> 16) as u16).wrapping_add(c));
    MUL_WIDE_U16 = binary(|a: u16, b: u16| u32::from(a) * u32::from(b));
    MAD_WIDE_U16 = ternary(|a: u16, b: u16, c: u32| (u32::from(a) * u32::from(b)).wrapping_add(c));
    DIV_U16 = binary(|a: u16, b: u16| if b == 0 { !0 } else { a.wrapping_div(b) });
    REM_U16 = binary(|a: u16, b: u16| if b == 0 { !0 } else { a.wrapping_rem(b) });
    MIN_U16 = binary(|a: u16, b: u16| a.min(b));
    MAX_U16 = binary(|a: u16, b: u16| a.max(b));
    SHR_U16 = binary(|a: u16, b: u32| if b < 16 { a >> (b & 15) } else { 0 });
    SET_LT_U16 = compare_to(|a: u16, b: u16| a < b);
    SET_LE_U16 = compare_to(|a: u16, b: u16| a <= b);
    SET_GT_U16 = compare_to(|a: u16, b: u16| a > b);
    SET_GE_U16 = compare_to(|a: u16, b: u16| a >= b);
    MAD_HI_U32 = ternary(|a: u32, b: u32, c: u32| (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c));
    REM_U32 = binary(|a: u32, b: u32| if b == 0 { !0 } else { a.wrapping_rem(b) });
    MUL_HI_U64 = binary(|a: u64, b: u64| ((u128::from(a) * u128::from(b)) >> 64) as u64);
    MAD_HI_U64 = ternary(|a: u64, b: u64, c: u64| (((u128::from(a) * u128::from(b)) >> 64) as u64).wrapping_add(c));
    DIV_U64 = binary(|a: u64, b: u64| if b == 0 { !0 } else { a.wrapping_div(b) });
    REM_U64 = binary(|a: u64, b: u64| if b == 0 { !0 } else { a.wrapping_rem(b) });
    ADD_SAT_S32 = binary(|a: i32, b: i32| a.saturating_add(b));
    SUB_SAT_S32 = binary(|a: i32, b: i32| a.saturating_sub(b));
    SAD_S32 = ternary(|a: i32, b: i32, c: u32| a.abs_diff(b).wrapping_add(c));
    SAD_U32 = ternary(|a: u32, b: u32, c: u32| a.abs_diff(b).wrapping_add(c));
    POPC_32 = unary(|a: u32| a.count_ones());
    POPC_64 = unary(|a: u64| a.count_ones());
    CLZ_32 = unary(|a: u32| a.leading_zeros());
    CLZ_64 = unary(|a: u64| a.leading_zeros());
    BREV_32 = unary(|a: u32| a.reverse_bits());
    BREV_64 = unary(|a: u64| a.reverse_bits());
    BFIND_U32 = unary(|a: u32| 31u32.wrapping_sub(a.leading_zeros()));
    BFIND_S32 = unary(|a: i32| 31u32.wrapping_sub((a ^ (a >> 31)).leading_zeros()));
    BFIND_U64 = unary(|a: u64| 63u32.wrapping_sub(a.leading_zeros()));
    PRMT = ternary(permute);
    BFE_U64 = ternary(|a: u64, pos: u32, len: u32| field::<false>(a, pos, len, 64));
    BFE_S64 = ternary(|a: u64, pos: u32, len: u32| field::<true>(a, pos, len, 64));
    BFI_64 = insert_field(|a: u64, b: u64, pos, len| insert(a, b, pos, len, 64));
    SHF_L_WRAP = ternary(|a: u32, b: u32, c: u32| ((funnel(a, b) << (c & 31)) >> 32) as u32);
    SHF_L_CLAMP = ternary(|a: u32, b: u32, c: u32| ((funnel(a, b) << c.min(32)) >> 32) as u32);
    SHF_R_WRAP = ternary(|a: u32, b: u32, c: u32| (funnel(a, b) >> (c & 31)) as u32);
    SHF_R_CLAMP = ternary(|a: u32, b: u32, c: u32| (funnel(a, b) >> c.min(32)) as u32);
}

/// The computation of an instruction of integers or bits, by its name, its type and what modifies it.
pub(crate) fn find(name: &str, t: Type, has: &dyn Fn(&str) -> bool) -> Option<Lanes> {
    let n = t.bits();
    let by_width = |it: [Lanes; 3]| match n {
        16 => Some(it[0]),
        32 => Some(it[1]),
        64 => Some(it[2]),
        _ => None,
    };
    let by_sign = |unsigned: [Lanes; 3], signed: [Lanes; 3]| {
        by_width(if t.is_signed() { signed } else { unsigned })
    };
    if t == Type::Pred {
        return Some(match name {
            "and" => AND_PRED,
            "or" => OR_PRED,
            "xor" => XOR_PRED,
            "not" => NOT_PRED,
            "mov" => MOVE_PRED,
            _ => return None,
        });
    }
    match name {
        // Bits move and are selected whatever they mean.
        "mov" => return by_width([MOVE_16, MOVE_32, MOVE_64]),
        "selp" => return by_width([SELECT_16, SELECT_32, SELECT_64]),
        _ if !t.is_integer() => return None,
        "add" if has("sat") && t == Type::Signed(32) => return Some(ADD_SAT_S32),
        "sub" if has("sat") && t == Type::Signed(32) => return Some(SUB_SAT_S32),
        _ if has("sat") || has("cc") => return None,
        _ => {}
    }
    match name {
        "add" => by_width([ADD_16, ADD_32, ADD_64]),
        "sub" => by_width([SUB_16, SUB_32, SUB_64]),
        "mul" if has("hi") => {
            by_sign([MUL_HI_U16, MUL_HI_U32, MUL_HI_U64], [MUL_HI_S16, MUL_HI_S32, MUL_HI_S64])
        }
        "mad" if has("hi") => {
            by_sign([MAD_HI_U16, MAD_HI_U32, MAD_HI_U64], [MAD_HI_S16, MAD_HI_S32, MAD_HI_S64])
        }
        "mul" if has("wide") => Some(match t {
            Type::Unsigned(16) => MUL_WIDE_U16,
            Type::Unsigned(32) => MUL_WIDE_U32,
            Type::Signed(16) => MUL_WIDE_S16,
            Type::Signed(32) => MUL_WIDE_S32,
            _ => return None,
        }),
        "mad" if has("wide") => Some(match t {
            Type::Unsigned(16) => MAD_WIDE_U16,
            Type::Unsigned(32) => MAD_WIDE_U32,
            Type::Signed(16) => MAD_WIDE_S16,
            Type::Signed(32) => MAD_WIDE_S32,
            _ => return None,
        }),
        "mul" => by_width([MUL_16, MUL_32, MUL_64]),
        "mad" => by_width([MAD_16, MAD_32, MAD_64]),
        "div" => by_sign([DIV_U16, DIV_U32, DIV_U64], [DIV_S16, DIV_S32, DIV_S64]),
        "rem" => by_sign([REM_U16, REM_U32, REM_U64], [REM_S16, REM_S32, REM_S64]),
        "min" => by_sign([MIN_U16, MIN_U32, MIN_U64], [MIN_S16, MIN_S32, MIN_S64]),
        "max" => by_sign([MAX_U16, MAX_U32, MAX_U64], [MAX_S16, MAX_S32, MAX_S64]),
        "neg" => by_width([NEG_S16, NEG_S32, NEG_S64]),
        "abs" => by_width([ABS_S16, ABS_S32, ABS_S64]),
        "sad" if n == 32 => Some(if t.is_signed() { SAD_S32 } else { SAD_U32 }),
        "and" => by_width([AND_16, AND_32, AND_64]),
        "or" => by_width([OR_16, OR_32, OR_64]),
        "xor" => by_width([XOR_16, XOR_32, XOR_64]),
        "not" => by_width([NOT_16, NOT_32, NOT_64]),
        "cnot" => by_width([CNOT_16, CNOT_32, CNOT_64]),
        "shl" => by_width([SHL_16, SHL_32, SHL_64]),
        "shr" => by_sign([SHR_U16, SHR_U32, SHR_U64], [SHR_S16, SHR_S32, SHR_S64]),
        "lop3" if n == 32 => Some(LOP3),
        "prmt" if n == 32 && !["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"].into_iter().any(has) => {
            Some(PRMT)
        }
        "popc" => by_width([POPC_32, POPC_32, POPC_64]),
        "clz" => by_width([CLZ_32, CLZ_32, CLZ_64]),
        "brev" => by_width([BREV_32, BREV_32, BREV_64]),
        "bfind" if !has("shiftamt") => Some(match t {
            Type::Unsigned(32) => BFIND_U32,
            Type::Signed(32) => BFIND_S32,
            Type::Unsigned(64) => BFIND_U64,
            _ => return None,
        }),
        "bfe" => by_sign([BFE_U32, BFE_U32, BFE_U64], [BFE_S32, BFE_S32, BFE_S64]),
        "bfi" => by_width([BFI_32, BFI_32, BFI_64]),
        "shf" if n == 32 => match (has("l"), has("r"), has("wrap"), has("clamp")) {
            (true, _, true, _) => Some(SHF_L_WRAP),
            (true, _, _, true) => Some(SHF_L_CLAMP),
            (_, true, true, _) => Some(SHF_R_WRAP),
            (_, true, _, true) => Some(SHF_R_CLAMP),
            _ => None,
        },
        _ => None,
    }
}

/// The comparison of integers or bits.
pub(crate) fn find_compare(operation: &str, t: Type) -> Option<Lanes> {
    if !t.is_integer() {
        return None;
    }
    let idx = match t.bits() {
        16 => 0,
        32 => 1,
        64 => 2,
        _ => return None,
    };
    let unsigned = matches!(operation, "lo" | "ls" | "hi" | "hs") || !t.is_signed();
    let by = |u: [Lanes; 3], s: [Lanes; 3]| if unsigned { u[idx] } else { s[idx] };
    Some(match operation {
        "eq" => [SET_EQ_16, SET_EQ_32, SET_EQ_64][idx],
        "ne" => [SET_NE_16, SET_NE_32, SET_NE_64][idx],
        "lt" | "lo" => {
            by([SET_LT_U16, SET_LT_U32, SET_LT_U64], [SET_LT_S16, SET_LT_S32, SET_LT_S64])
        }
        "le" | "ls" => {
            by([SET_LE_U16, SET_LE_U32, SET_LE_U64], [SET_LE_S16, SET_LE_S32, SET_LE_S64])
        }
        "gt" | "hi" => {
            by([SET_GT_U16, SET_GT_U32, SET_GT_U64], [SET_GT_S16, SET_GT_S32, SET_GT_S64])
        }
        "ge" | "hs" => {
            by([SET_GE_U16, SET_GE_U32, SET_GE_U64], [SET_GE_S16, SET_GE_S32, SET_GE_S64])
        }
        _ => return None,
    })
}
