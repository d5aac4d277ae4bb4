//! AVX-512 and AVX2 registers, and their exponential.

use std::arch::x86_64::{
    __m256, __m256i, __m512, _CMP_GT_OQ, _CMP_LT_OQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT,
    _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehdup_ps, _mm_movehl_ps, _mm_sfence,
    _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps, _mm256_castps_si256, _mm256_castps256_ps128,
    _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_div_ps, _mm256_extractf128_ps, _mm256_fmadd_ps,
    _mm256_fmsub_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_maskload_ps, _mm256_maskstore_ps,
    _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_permute2f128_ps,
    _mm256_permutevar8x32_epi32, _mm256_set1_ps, _mm256_setr_epi32, _mm256_shuffle_ps,
    _mm256_slli_epi32, _mm256_storeu_ps, _mm256_stream_ps, _mm256_sub_ps, _mm256_unpackhi_ps,
    _mm256_unpacklo_ps, _mm512_add_epi32, _mm512_castps_si512, _mm512_castps512_ps256,
    _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_extractf32x8_ps, _mm512_fmadd_ps,
    _mm512_fmsub_ps, _mm512_fnmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mask_cmp_ps_mask, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_maskz_mov_ps,
    _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_permutex2var_epi32, _mm512_range_ps,
    _mm512_rcp14_ps, _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_ps, _mm512_slli_epi32,
    _mm512_storeu_ps, _mm512_stream_ps, _mm512_sub_ps,
};

use super::Lanes;
use crate::number::{NORMAL_DENSITY, NORMAL_TAIL, NORMAL_TAIL_BEND};

/// An array of `N` values of an expression, one per index: `from_fn` without a closure, which would be
/// compiled for the target's baseline.
macro_rules! each {
    ($idx:ident => $body:expr) => {{
        let $idx = 0;
        let mut made = [$body; N];
        for $idx in 1..N {
            made[$idx] = $body;
        }
        made
    }};
}

macro_rules! lanes {
    (
        $register:ty, $n:literal, $splat:ident, $load:ident, $store:ident, $stream:ident, $mul_add:ident,
        $mul:ident, $across:ident, $max:ident, $min:ident, $within:ident, $limit:ident, $one_and_exp:ident,
        $two_to_the:ident, $inverse:ident,
        $load_some:ident, $store_some:ident
    ) => {
        // SAFETY of each: guaranteed by the caller, who has checked the processor and the pointer.
        impl Lanes for $register {
            type Number = f32;
            const LANES: usize = $n;

            #[inline(always)]
            unsafe fn splat(x: f32) -> Self {
                // SAFETY: as above.
                unsafe { $splat(x) }
            }

            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                // SAFETY: as above.
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                // SAFETY: as above.
                unsafe { $store(to, self) }
            }

            #[inline(always)]
            unsafe fn stream(self, to: *mut f32) {
                // SAFETY: as above.
                unsafe { $stream(to, self) }
            }

            #[inline(always)]
            unsafe fn end_of_stream() {
                // SAFETY: as above.
                unsafe { _mm_sfence() }
            }

            #[inline(always)]
            unsafe fn load_some(from: *const f32, n: usize) -> Self {
                // SAFETY: as above.
                unsafe { if n >= $n { $load(from) } else { $load_some(from, n) } }
            }

            #[inline(always)]
            unsafe fn store_some(self, into: *mut f32, n: usize) {
                // SAFETY: as above.
                unsafe { if n >= $n { $store(into, self) } else { $store_some(into, self, n) } }
            }

            #[inline(always)]
            unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
                // SAFETY: as above.
                unsafe { $mul_add(self, by, plus) }
            }

            #[inline(always)]
            unsafe fn mul(self, by: Self) -> Self {
                // SAFETY: as above.
                unsafe { $mul(self, by) }
            }

            #[inline(always)]
            unsafe fn across(self) -> f32 {
                // SAFETY: as above.
                unsafe { $across(self) }
            }

            #[inline(always)]
            unsafe fn clamp(self, low: Self, high: Self) -> Self {
                // In this order, NaN is propagated.
                // SAFETY: as above.
                unsafe { $min(high, $max(low, self)) }
            }

            #[inline(always)]
            unsafe fn within(self, low: Self, high: Self) -> Self {
                // SAFETY: as above.
                unsafe { $within(self, low, high) }
            }

            #[inline(always)]
            unsafe fn turn(from: *const f32, apart: usize, into: *mut f32, into_apart: usize) {
                // SAFETY: as above.
                unsafe { turn(from, apart, into, into_apart) }
            }

            #[inline(always)]
            unsafe fn sigmoids<const N: usize>(xs: [Self; N]) -> [Self; N] {
                // SAFETY: as above.
                unsafe {
                    let xs = each!(i => $limit(xs[i]));
                    let ds = $one_and_exp(xs);
                    each!(i => $inverse(ds[i]))
                }
            }

            /// See [`NORMAL_TAIL`].
            #[inline(always)]
            unsafe fn normal(self) -> (Self, Self) {
                // SAFETY: as above.
                unsafe {
                    let (one, end) = ($splat(1.0), $splat(12.0));
                    let x = self.clamp($splat(-12.0), end);
                    let e = $two_to_the(x.mul(x), [HIGH / 2.0, LOW / 2.0], SERIES);
                    let size = x.clamp(x.mul($splat(-1.0)), end);
                    let bent = size.mul($splat(NORMAL_TAIL_BEND));
                    let d = bent.mul_add(one, one);
                    let z = bent.mul($inverse(d));
                    let tail = e.mul(polynomial(NORMAL_TAIL, z));
                    // The tail itself, or 1 minus the tail.
                    let is_above = x.within($splat(0.0), $splat(f32::INFINITY));
                    let sign = is_above.mul_add($splat(-2.0), one);
                    (sign.mul_add(tail, is_above), e.mul($splat(NORMAL_DENSITY)))
                }
            }
        }
    };
}

lanes!(
    __m512,
    16,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_stream_ps,
    _mm512_fmadd_ps,
    _mm512_mul_ps,
    across_512,
    _mm512_max_ps,
    _mm512_min_ps,
    within_512,
    limit_512,
    one_and_exp_512,
    two_to_the_512,
    inverse_512,
    load_512,
    store_512
);
lanes!(
    __m256,
    8,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_stream_ps,
    _mm256_fmadd_ps,
    _mm256_mul_ps,
    across_256,
    _mm256_max_ps,
    _mm256_min_ps,
    within_256,
    limit_256,
    one_and_exp_256,
    two_to_the_256,
    inverse_256,
    load_256,
    store_256
);

/// Transposes by interleaving pairs of columns, then pairs of pairs, then their halves.
#[inline(always)]
unsafe fn turn(from: *const f32, apart: usize, into: *mut f32, into_apart: usize) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut fours = [[_mm256_set1_ps(0.0); 4]; 2];
        for (half, fours) in fours.iter_mut().enumerate() {
            let from = from.add(4 * half * apart);
            let a = _mm256_loadu_ps(from);
            let b = _mm256_loadu_ps(from.add(apart));
            let c = _mm256_loadu_ps(from.add(2 * apart));
            let d = _mm256_loadu_ps(from.add(3 * apart));
            // Rows 0, 1, 4 and 5 of two columns; rows 2, 3, 6 and 7.
            let (low_ab, high_ab) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (low_cd, high_cd) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            *fours = [
                _mm256_shuffle_ps::<0x44>(low_ab, low_cd),
                _mm256_shuffle_ps::<0xee>(low_ab, low_cd),
                _mm256_shuffle_ps::<0x44>(high_ab, high_cd),
                _mm256_shuffle_ps::<0xee>(high_ab, high_cd),
            ];
        }
        // A row of four columns, and next to it the row four further down.
        #[expect(clippy::needless_range_loop, reason = "an iterator hands registers to functions")]
        for row in 0..4 {
            let (left, right) = (fours[0][row], fours[1][row]);
            let into = into.add(row * into_apart);
            _mm256_storeu_ps(into, _mm256_permute2f128_ps::<0x20>(left, right));
            let below = _mm256_permute2f128_ps::<0x31>(left, right);
            _mm256_storeu_ps(into.add(4 * into_apart), below);
        }
    }
}

/// Adds the halves, then their halves, and so on.
#[inline(always)]
unsafe fn across_256(register: __m256) -> f32 {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let (low, high) = (_mm256_castps256_ps128(register), _mm256_extractf128_ps::<1>(register));
        let four = _mm_add_ps(low, high);
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }
}

#[inline(always)]
unsafe fn across_512(register: __m512) -> f32 {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let high = _mm512_extractf32x8_ps::<1>(register);
        across_256(_mm256_add_ps(_mm512_castps512_ps256(register), high))
    }
}

#[inline(always)]
unsafe fn load_512(from: *const f32, n: usize) -> __m512 {
    // SAFETY: guaranteed by the caller; masked lanes are not accessed.
    unsafe { _mm512_maskz_loadu_ps((1 << n) - 1, from) }
}

#[inline(always)]
unsafe fn store_512(into: *mut f32, register: __m512, n: usize) {
    // SAFETY: guaranteed by the caller; masked lanes are not accessed.
    unsafe { _mm512_mask_storeu_ps(into, (1 << n) - 1, register) }
}

/// A register whose first `n` numbers have their highest bit set.
#[inline(always)]
unsafe fn mask_256(n: usize) -> __m256i {
    const MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: `n` is at most 8.
    unsafe { _mm256_loadu_si256(MASKS.as_ptr().add(8 - n).cast()) }
}

#[inline(always)]
unsafe fn load_256(from: *const f32, n: usize) -> __m256 {
    // SAFETY: guaranteed by the caller; masked lanes are not accessed.
    unsafe { _mm256_maskload_ps(from, mask_256(n)) }
}

#[inline(always)]
unsafe fn store_256(into: *mut f32, register: __m256, n: usize) {
    // SAFETY: guaranteed by the caller; masked lanes are not accessed.
    unsafe { _mm256_maskstore_ps(into, mask_256(n), register) }
}

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// -log₂ e in two parts.
const HIGH: f32 = -std::f32::consts::LOG2_E;
const LOW: f32 = -1.925_963e-8;

/// The Taylor series of 2ᶠ: (ln 2)ⁱ / i!, the highest power first.
const SERIES: [f32; 7] = [
    1.540_353e-4,
    1.333_355_8e-3,
    9.618_129e-3,
    5.550_411e-2,
    0.240_226_5,
    std::f32::consts::LN_2,
    1.0,
];

/// The polynomial of degree 3 that is 1 at 0 and closest to 2^(f/8): error 2.7e-8.
const THIRD: [f32; 4] = [1.083_910_6e-4, 3.754_025_6e-3, 8.664_340_5e-2, 1.0];

/// The polynomial of degree 2 that is 1 at 0 and closest to 2^(f/32): error 5.3e-8.
const SECOND: [f32; 3] = [2.345_962e-4, 2.166_116_7e-2, 1.0];

/// Evaluates the polynomial with these coefficients, the highest power first, at each of `xs`.
#[inline(always)]
unsafe fn polynomials<V: Lanes<Number = f32>, const K: usize, const N: usize>(
    terms: [f32; K],
    xs: [V; N],
) -> [V; N] {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut ps = [V::splat(terms[0]); N];
        for term in &terms[1..] {
            let term = V::splat(*term);
            ps = each!(i => ps[i].mul_add(xs[i], term));
        }
        ps
    }
}

/// Evaluates the polynomial with these coefficients at `x`.
#[inline(always)]
unsafe fn polynomial<V: Lanes<Number = f32>, const N: usize>(terms: [f32; N], x: V) -> V {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let [p] = polynomials(terms, [x]);
        p
    }
}

/// 2 to the power of x·(high + low), as 2ⁿ·2ᶠ: n the nearest integer, |f| at most 1/2, and 2ᶠ by a
/// polynomial.
#[inline(always)]
unsafe fn two_to_the_512<const K: usize>(
    x: __m512,
    [high, low]: [f32; 2],
    terms: [f32; K],
) -> __m512 {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let (high, low) = (_mm512_set1_ps(high), _mm512_set1_ps(low));
        let n = _mm512_roundscale_ps::<NEAREST>(_mm512_mul_ps(x, high));
        let f = _mm512_fmsub_ps(x, high, n);
        let p = polynomial(terms, _mm512_fmadd_ps(x, low, f));
        _mm512_scalef_ps(p, n)
    }
}

/// Same as [`two_to_the_512`], for results that are not subnormal.
///
/// Adding x·high to a number without fractional bits rounds it, and the last bits are the exponent.
#[inline(always)]
unsafe fn two_to_the_256<const K: usize>(
    x: __m256,
    [high, low]: [f32; 2],
    terms: [f32; K],
) -> __m256 {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let (high, low) = (_mm256_set1_ps(high), _mm256_set1_ps(low));
        let rounder = _mm256_set1_ps(ROUNDER + 127.0);
        let rounded = _mm256_fmadd_ps(x, high, rounder);
        let f = _mm256_fmsub_ps(x, high, _mm256_sub_ps(rounded, rounder));
        let p = polynomial(terms, _mm256_fmadd_ps(x, low, f));
        let bits = _mm256_slli_epi32::<23>(_mm256_castps_si256(rounded));
        _mm256_mul_ps(p, _mm256_castsi256_ps(bits))
    }
}

/// 1.5·2²³: adding an integer to it stores the integer in the last bits.
const ROUNDER: f32 = 12_582_912.0;

/// Beyond ±80 a sigmoid changes by less than 2e-35.
const LIMIT: f32 = 80.0;

/// x, or beyond the limit, the limit with its sign: one instruction, which does not propagate NaN.
#[inline(always)]
unsafe fn limit_512(x: __m512) -> __m512 {
    /// The number of the smaller magnitude, with the sign of the first.
    const SMALLER: i32 = 0b0010;
    // SAFETY: guaranteed by the caller.
    unsafe { _mm512_range_ps::<SMALLER>(x, _mm512_set1_ps(LIMIT)) }
}

#[inline(always)]
unsafe fn limit_256(x: __m256) -> __m256 {
    // SAFETY: guaranteed by the caller.
    unsafe { x.clamp(_mm256_set1_ps(-LIMIT), _mm256_set1_ps(LIMIT)) }
}

/// 1 + e⁻ˣ: with e⁻ˣ as 2ⁿ·2^(j/32)·2^(f/32), n and j integers, j in 0..32, and |f| at most 1/2.
///
/// The second factor is from a table, so that the third needs only two steps.
/// log₂ e is one number instead of two: the relative error of e⁻ˣ is |x|·1.4e-8, a quarter of the error due
/// to the rounding of x.
#[inline(always)]
unsafe fn one_and_exp_512<const N: usize>(xs: [__m512; N]) -> [__m512; N] {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let first = _mm512_loadu_si512(PARTS.as_ptr().cast());
        let second = _mm512_loadu_si512(PARTS.as_ptr().add(16).cast());
        let (high, one) = (_mm512_set1_ps(32.0 * HIGH), _mm512_set1_ps(1.0));
        let rounder = _mm512_set1_ps(ROUNDER + 32.0 * 127.0);
        let rounded = each!(i => _mm512_fmadd_ps(xs[i], high, rounder));
        let ns = each!(i => _mm512_sub_ps(rounded[i], rounder));
        let fs = each!(i => _mm512_fmsub_ps(xs[i], high, ns[i]));
        let ps = polynomials(SECOND, fs);
        let bits = each!(i => _mm512_castps_si512(rounded[i]));
        let parts = each!(i => _mm512_permutex2var_epi32(first, bits[i], second));
        let powers = each!(i => _mm512_add_epi32(_mm512_slli_epi32::<18>(bits[i]), parts[i]));
        each!(i => _mm512_fmadd_ps(ps[i], _mm512_castsi512_ps(powers[i]), one))
    }
}

/// The bits of 2^(j/32) below the exponent, minus those of j after its shift.
const PARTS: [i32; 32] = [
    0, -78457, -152_893, -223_217, -289_342, -351_174, -408_621, -461_584, -509_968, -553_670,
    -592_590, -626_621, -655_657, -679_589, -698_305, -711_690, -719_629, -722_001, -718_684,
    -709_555, -694_486, -673_346, -646_004, -612_322, -572_163, -525_384, -471_841, -411_385,
    -343_865, -269_126, -187_011, -97357,
];

/// 1 + e⁻ˣ: with e⁻ˣ as 2ⁿ·2^(j/8)·2^(f/8), n and j integers, j in 0..8, and |f| at most 1/2.
///
/// The second factor is from a table, so that the third needs two dependent steps less. As above, log₂ e is one
/// number.
#[inline(always)]
unsafe fn one_and_exp_256<const N: usize>(xs: [__m256; N]) -> [__m256; N] {
    // SAFETY: guaranteed by the caller.
    unsafe {
        // The bits of 2^(j/8) below the exponent, minus those of j after its shift.
        let eighths = _mm256_setr_epi32(
            0, -289_342, -509_968, -655_657, -719_629, -694_486, -572_163, -343_865,
        );
        let (high, one) = (_mm256_set1_ps(8.0 * HIGH), _mm256_set1_ps(1.0));
        let rounder = _mm256_set1_ps(ROUNDER + 8.0 * 127.0);
        let rounded = each!(i => _mm256_fmadd_ps(xs[i], high, rounder));
        let ns = each!(i => _mm256_sub_ps(rounded[i], rounder));
        let fs = each!(i => _mm256_fmsub_ps(xs[i], high, ns[i]));
        let ps = polynomials(THIRD, fs);
        let bits = each!(i => _mm256_castps_si256(rounded[i]));
        let eighths = each!(i => _mm256_permutevar8x32_epi32(eighths, bits[i]));
        let powers = each!(i => _mm256_add_epi32(_mm256_slli_epi32::<20>(bits[i]), eighths[i]));
        each!(i => _mm256_fmadd_ps(ps[i], _mm256_castsi256_ps(powers[i]), one))
    }
}

/// 1/d: the processor's estimate of 14 bits, refined, since a division of 16 numbers is slow.
#[inline(always)]
unsafe fn inverse_512(d: __m512) -> __m512 {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let guess = _mm512_rcp14_ps(d);
        let error = _mm512_fnmadd_ps(d, guess, _mm512_set1_ps(1.0));
        _mm512_fmadd_ps(guess, error, guess)
    }
}

/// 1/d: a division of 8 numbers takes as long as refining an estimate once, which has 12 bits here.
#[inline(always)]
unsafe fn inverse_256(d: __m256) -> __m256 {
    // SAFETY: guaranteed by the caller.
    unsafe { _mm256_div_ps(_mm256_set1_ps(1.0), d) }
}

#[inline(always)]
unsafe fn within_512(x: __m512, low: __m512, high: __m512) -> __m512 {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, low);
        let both = _mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(above, x, high);
        _mm512_maskz_mov_ps(both, _mm512_set1_ps(1.0))
    }
}

#[inline(always)]
unsafe fn within_256(x: __m256, low: __m256, high: __m256) -> __m256 {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let (above, below) =
            (_mm256_cmp_ps::<_CMP_GT_OQ>(x, low), _mm256_cmp_ps::<_CMP_LT_OQ>(x, high));
        _mm256_and_ps(_mm256_and_ps(above, below), _mm256_set1_ps(1.0))
    }
}
