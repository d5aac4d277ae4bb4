//! Registers of several numbers, and kernels that name them.
//!
//! Most kernels leave it to the compiler to find its registers ([`kernel!`](crate::isa::kernel)).
//! The few that spend most of the time, products and depthwise convolutions, say which numbers stay
//! in which register.

use std::marker::PhantomData;

use crate::{
    isa::{Fma, Fused, Separate},
    real::Real,
};

/// A register of [`LANES`](Lanes::LANES) numbers.
///
/// # Safety
/// Functions may only be called where the processor has the instructions, and with pointers to as
/// many numbers as there are lanes.
pub(crate) trait Lanes: Copy {
    type Number: Real;
    const LANES: usize;

    unsafe fn splat(x: Self::Number) -> Self;
    unsafe fn load(from: *const Self::Number) -> Self;
    unsafe fn store(self, to: *mut Self::Number);

    /// Loads `n` numbers, at most a register, and zeros.
    #[inline(always)]
    unsafe fn load_some(from: *const Self::Number, n: usize) -> Self {
        // SAFETY: the caller's.
        unsafe {
            if n >= Self::LANES {
                return Self::load(from);
            }
            let mut line = [Self::Number::ZERO; WIDEST];
            std::ptr::copy_nonoverlapping(from, line.as_mut_ptr(), n);
            Self::load(line.as_ptr())
        }
    }

    /// Stores the first `n` numbers, at most all.
    #[inline(always)]
    unsafe fn store_some(self, into: *mut Self::Number, n: usize) {
        // SAFETY: the caller's.
        unsafe {
            if n >= Self::LANES {
                return self.store(into);
            }
            let mut line = [Self::Number::ZERO; WIDEST];
            self.store(line.as_mut_ptr());
            std::ptr::copy_nonoverlapping(line.as_ptr(), into, n);
        }
    }

    /// self·by + plus.
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self;
    unsafe fn mul(self, by: Self) -> Self;
    /// The sum of all lanes.
    unsafe fn across(self) -> Self::Number;
    /// Between `low` and `high`.
    unsafe fn clamp(self, low: Self, high: Self) -> Self;
    /// 1 strictly between `low` and `high`, else 0.
    unsafe fn within(self, low: Self, high: Self) -> Self;
    /// 1 / (1 + e⁻ˣ), within 3 units in the last place in `f32`.
    unsafe fn sigmoid(self) -> Self;
    /// Φ(x), the normal distribution, and φ(x), its density. In `f32` Φ is within 1e-7, and within
    /// 1e-5 of itself down to -8; beyond 12 both stay as they are there.
    unsafe fn normal(self) -> (Self, Self);
}

/// Asks for the memory at a place, which need not be anyone's, to be in cache soon.
#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: this is a hint that touches nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// The most lanes of any register.
const WIDEST: usize = 16;

/// A register that the compiler finds itself.
#[derive(Clone, Copy)]
pub(crate) struct Plain<T, F, const N: usize>([T; N], PhantomData<F>);

pub(crate) type Wide<T, const N: usize> = Plain<T, Fused, N>;
pub(crate) type Portable<T, const N: usize> = Plain<T, Separate, N>;

impl<T: Real, F, const N: usize> Plain<T, F, N> {
    #[inline(always)]
    fn map(self, f: impl Fn(usize, T) -> T) -> Self {
        Plain(std::array::from_fn(|idx| f(idx, self.0[idx])), PhantomData)
    }
}

impl<T: Real, F: Fma + Copy, const N: usize> Lanes for Plain<T, F, N> {
    type Number = T;
    const LANES: usize = N;

    #[inline(always)]
    unsafe fn splat(x: T) -> Self {
        Plain([x; N], PhantomData)
    }

    #[inline(always)]
    unsafe fn load(from: *const T) -> Self {
        // SAFETY: the caller's, and an array needs no more alignment than its elements.
        Plain(unsafe { from.cast::<[T; N]>().read() }, PhantomData)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut T) {
        // SAFETY: the caller's.
        unsafe { to.cast::<[T; N]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
        self.map(|idx, x| T::fma::<F>(x, by.0[idx], plus.0[idx]))
    }

    #[inline(always)]
    unsafe fn mul(self, by: Self) -> Self {
        self.map(|idx, x| x * by.0[idx])
    }

    #[inline(always)]
    unsafe fn across(self) -> T {
        let mut sums = self.0;
        let mut n = N;
        while n > 1 {
            n /= 2;
            for idx in 0..n {
                let other = sums[n + idx];
                sums[idx] += other;
            }
        }
        sums[0]
    }

    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        self.map(|idx, x| high.0[idx].smaller(low.0[idx].larger(x)))
    }

    #[inline(always)]
    unsafe fn within(self, low: Self, high: Self) -> Self {
        self.map(|idx, x| if x > low.0[idx] && x < high.0[idx] { T::ONE } else { T::ZERO })
    }

    #[inline(always)]
    unsafe fn sigmoid(self) -> Self {
        self.map(|_, x| x.sigmoid::<F>())
    }

    #[inline(always)]
    unsafe fn normal(self) -> (Self, Self) {
        let both = self.0.map(|x| x.normal::<F>());
        (self.map(|idx, _| both[idx].0), self.map(|idx, _| both[idx].1))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m256i, __m512, _CMP_GT_OQ, _CMP_LT_OQ, _MM_FROUND_NO_EXC,
        _MM_FROUND_TO_NEAREST_INT, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehdup_ps,
        _mm_movehl_ps, _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps, _mm256_castps256_ps128,
        _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cvtps_epi32, _mm256_extractf128_ps,
        _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_maskload_ps,
        _mm256_maskstore_ps, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_rcp_ps,
        _mm256_round_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_slli_epi32, _mm256_storeu_ps,
        _mm512_castps512_ps256, _mm512_cmp_ps_mask, _mm512_extractf32x8_ps, _mm512_fmadd_ps,
        _mm512_loadu_ps, _mm512_mask_cmp_ps_mask, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
        _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_rcp14_ps,
        _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_ps, _mm512_storeu_ps,
    };

    use super::Lanes;
    use crate::real::{NORMAL_DENSITY, NORMAL_TAIL, NORMAL_TAIL_BEND};

    macro_rules! lanes {
        (
            $register:ty, $n:literal, $splat:ident, $load:ident, $store:ident, $mul_add:ident,
            $mul:ident, $across:ident, $max:ident, $min:ident, $within:ident, $two_to_the:ident, $inverse:ident,
            $load_some:ident, $store_some:ident
        ) => {
            // SAFETY of each: the caller's, who has checked the processor and the pointer.
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
                    // In this order, what is no number stays none.
                    // SAFETY: as above.
                    unsafe { $min(high, $max(low, self)) }
                }

                #[inline(always)]
                unsafe fn within(self, low: Self, high: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $within(self, low, high) }
                }

                /// e⁻ˣ as 2ⁿ·2ᶠ, n the nearest whole number, f within a half and 2ᶠ by its series;
                /// then one step of Newton's on the processor's guess of the inverse.
                #[inline(always)]
                unsafe fn sigmoid(self) -> Self {
                    // SAFETY: as above.
                    unsafe {
                        let x = self.clamp($splat(-80.0), $splat(87.0));
                        let e = $two_to_the(x, $splat(HIGH), $splat(LOW));
                        let one = $splat(1.0);
                        let d = e.mul_add(one, one);
                        refine($inverse(d), d)
                    }
                }

                /// See [`NORMAL_TAIL`].
                #[inline(always)]
                unsafe fn normal(self) -> (Self, Self) {
                    // SAFETY: as above.
                    unsafe {
                        let (one, end) = ($splat(1.0), $splat(12.0));
                        let x = self.clamp($splat(-12.0), end);
                        let e = $two_to_the(x.mul(x), $splat(HIGH / 2.0), $splat(LOW / 2.0));
                        let size = x.clamp(x.mul($splat(-1.0)), end);
                        let bent = size.mul($splat(NORMAL_TAIL_BEND));
                        let d = bent.mul_add(one, one);
                        let z = bent.mul(refine($inverse(d), d));
                        let tail = e.mul(polynomial(NORMAL_TAIL, z));
                        // The tail itself, or what it leaves of 1.
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
        _mm512_fmadd_ps,
        _mm512_mul_ps,
        across_512,
        _mm512_max_ps,
        _mm512_min_ps,
        within_512,
        two_to_the_512,
        _mm512_rcp14_ps,
        load_512,
        store_512
    );
    lanes!(
        __m256,
        8,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_fmadd_ps,
        _mm256_mul_ps,
        across_256,
        _mm256_max_ps,
        _mm256_min_ps,
        within_256,
        two_to_the_256,
        inverse_256,
        load_256,
        store_256
    );

    /// Of halves, of their halves, and so on.
    #[inline(always)]
    unsafe fn across_256(register: __m256) -> f32 {
        // SAFETY: the caller's.
        unsafe {
            let (low, high) =
                (_mm256_castps256_ps128(register), _mm256_extractf128_ps::<1>(register));
            let four = _mm_add_ps(low, high);
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    unsafe fn across_512(register: __m512) -> f32 {
        // SAFETY: the caller's.
        unsafe {
            let high = _mm512_extractf32x8_ps::<1>(register);
            across_256(_mm256_add_ps(_mm512_castps512_ps256(register), high))
        }
    }

    #[inline(always)]
    unsafe fn load_512(from: *const f32, n: usize) -> __m512 {
        // SAFETY: the caller's; what is masked is not touched.
        unsafe { _mm512_maskz_loadu_ps((1 << n) - 1, from) }
    }

    #[inline(always)]
    unsafe fn store_512(into: *mut f32, register: __m512, n: usize) {
        // SAFETY: the caller's; what is masked is not touched.
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
        // SAFETY: the caller's; what is masked is not touched.
        unsafe { _mm256_maskload_ps(from, mask_256(n)) }
    }

    #[inline(always)]
    unsafe fn store_256(into: *mut f32, register: __m256, n: usize) {
        // SAFETY: the caller's; what is masked is not touched.
        unsafe { _mm256_maskstore_ps(into, mask_256(n), register) }
    }

    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

    /// -log₂ e in two parts.
    const HIGH: f32 = -std::f32::consts::LOG2_E;
    const LOW: f32 = -1.925_963e-8;

    /// The series of 2ᶠ: (ln 2)ⁱ / i!.
    const SERIES: [f32; 7] = [
        1.540_353e-4,
        1.333_355_8e-3,
        9.618_129e-3,
        5.550_411e-2,
        0.240_226_5,
        std::f32::consts::LN_2,
        1.0,
    ];

    /// The polynomial of these terms, the highest power first.
    #[inline(always)]
    unsafe fn polynomial<V: Lanes<Number = f32>, const N: usize>(terms: [f32; N], x: V) -> V {
        // SAFETY: the caller's.
        unsafe {
            let mut p = V::splat(terms[0]);
            for term in &terms[1..] {
                p = p.mul_add(x, V::splat(*term));
            }
            p
        }
    }

    /// A guess of 1/d with twice as many bits: a step of Newton's.
    #[inline(always)]
    unsafe fn refine<V: Lanes<Number = f32>>(guess: V, d: V) -> V {
        // SAFETY: the caller's.
        unsafe {
            let error = d.mul(guess).mul_add(V::splat(-1.0), V::splat(1.0));
            guess.mul_add(error, guess)
        }
    }

    /// 2 to the power of x·(high + low).
    #[inline(always)]
    unsafe fn two_to_the_512(x: __m512, high: __m512, low: __m512) -> __m512 {
        // SAFETY: the caller's.
        unsafe {
            let n = _mm512_roundscale_ps::<NEAREST>(_mm512_mul_ps(x, high));
            let f = _mm512_fmadd_ps(x, high, _mm512_mul_ps(n, _mm512_set1_ps(-1.0)));
            let f = _mm512_fmadd_ps(x, low, f);
            _mm512_scalef_ps(polynomial(SERIES, f), n)
        }
    }

    /// As [`two_to_the_512`], for results that are no subnormal numbers.
    #[inline(always)]
    unsafe fn two_to_the_256(x: __m256, high: __m256, low: __m256) -> __m256 {
        // SAFETY: the caller's.
        unsafe {
            let n = _mm256_round_ps::<NEAREST>(_mm256_mul_ps(x, high));
            let f = _mm256_fmadd_ps(x, high, _mm256_mul_ps(n, _mm256_set1_ps(-1.0)));
            let f = _mm256_fmadd_ps(x, low, f);
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            let scale = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent));
            _mm256_mul_ps(polynomial(SERIES, f), scale)
        }
    }

    /// 1/d with 23 bits; the processor's own guess has 12.
    #[inline(always)]
    unsafe fn inverse_256(d: __m256) -> __m256 {
        // SAFETY: the caller's.
        unsafe { refine(_mm256_rcp_ps(d), d) }
    }

    #[inline(always)]
    unsafe fn within_512(x: __m512, low: __m512, high: __m512) -> __m512 {
        // SAFETY: the caller's.
        unsafe {
            let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, low);
            let both = _mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(above, x, high);
            _mm512_maskz_mov_ps(both, _mm512_set1_ps(1.0))
        }
    }

    #[inline(always)]
    unsafe fn within_256(x: __m256, low: __m256, high: __m256) -> __m256 {
        // SAFETY: the caller's.
        unsafe {
            let (above, below) =
                (_mm256_cmp_ps::<_CMP_GT_OQ>(x, low), _mm256_cmp_ps::<_CMP_LT_OQ>(x, high));
            _mm256_and_ps(_mm256_and_ps(above, below), _mm256_set1_ps(1.0))
        }
    }
}

/// Declares a function over [`Lanes`] that is compiled for every [`Isa`](crate::Isa).
///
/// Inside, `T` is the number, `V` the register, and `ROWS` by `VECS` the tile of sums that fits the
/// registers of the instruction set.
macro_rules! lanes_kernel {
    (
        $(#[$meta:meta])*
        $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block
    ) => {
        $(#[$meta])*
        $vis unsafe fn $name<T: crate::real::Real>($($arg: $ty),*) {
            #[inline(always)]
            unsafe fn body<
                T: crate::real::Real,
                V: crate::lanes::Lanes<Number = T>,
                const ROWS: usize,
                const VECS: usize,
            >($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            unsafe fn avx512<T: crate::real::Real>($($arg: $ty),*) {
                // SAFETY: the caller's.
                unsafe { body::<T, T::Avx512, 8, 3>($($arg),*) }
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2<T: crate::real::Real>($($arg: $ty),*) {
                // SAFETY: the caller's.
                unsafe { body::<T, T::Avx2, 4, 3>($($arg),*) }
            }

            // SAFETY: a set is only ever chosen after the processor said that it has it; the rest
            // is the caller's.
            unsafe {
                match crate::isa::Isa::chosen() {
                    #[cfg(target_arch = "x86_64")]
                    crate::isa::Isa::Avx512 => avx512::<T>($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    crate::isa::Isa::Avx2 => avx2::<T>($($arg),*),
                    _ => body::<T, T::Portable, 4, 2>($($arg),*),
                }
            }
        }
    };
}
pub(crate) use lanes_kernel;

#[cfg(test)]
mod tests {
    use libm::erfc;

    lanes_kernel! {
        unsafe fn sigmoids(xs: &mut [T]) {
            for xs in xs.chunks_exact_mut(V::LANES) {
                // SAFETY: a chunk is a register.
                unsafe { V::load(xs.as_ptr()).sigmoid().store(xs.as_mut_ptr()) }
            }
        }
    }

    #[test]
    fn the_sigmoid_of_a_register_is_within_three_units_in_the_last_place() {
        let xs: Vec<f32> = (-79_000..=120_015).map(|it| it as f32 / 1000.0).collect();
        let mut got = xs[..xs.len() / 16 * 16].to_vec();
        // SAFETY: it runs on what the machine has.
        unsafe { sigmoids(&mut got) };
        for (x, got) in xs.iter().zip(got) {
            let want = 1.0 / (1.0 + (-f64::from(*x)).exp());
            let error = (f64::from(got) - want).abs() / want;
            assert!(error < 3.0 * f64::from(f32::EPSILON), "{x}: {got}, not {want}");
        }
        let mut odd = [f32::NAN; 16];
        (odd[1], odd[2]) = (f32::NEG_INFINITY, f32::INFINITY);
        // SAFETY: as above.
        unsafe { sigmoids(&mut odd) };
        assert!(odd[0].is_nan() && (0.0..1e-34).contains(&odd[1]) && odd[2] == 1.0, "{odd:?}");
    }

    lanes_kernel! {
        unsafe fn normals(xs: &mut [T], densities: &mut [T]) {
            let both = xs.chunks_exact_mut(V::LANES).zip(densities.chunks_exact_mut(V::LANES));
            for (xs, densities) in both {
                // SAFETY: a chunk is a register.
                unsafe {
                    let (below, density) = V::load(xs.as_ptr()).normal();
                    below.store(xs.as_mut_ptr());
                    density.store(densities.as_mut_ptr());
                }
            }
        }
    }

    #[test]
    fn the_normal_distribution_of_a_register_is_right_in_its_middle_and_in_its_tail() {
        let xs: Vec<f32> = (-12_000..=12_015).map(|it| it as f32 / 1000.0).collect();
        let mut got = xs[..xs.len() / 16 * 16].to_vec();
        let mut densities = got.clone();
        // SAFETY: it runs on what the machine has.
        unsafe { normals(&mut got, &mut densities) };
        for (&x, (got, density)) in xs.iter().zip(got.into_iter().zip(densities)) {
            let x = f64::from(x.clamp(-12.0, 12.0));
            let want = erfc(-x / 2_f64.sqrt()) / 2.0;
            let error = (f64::from(got) - want).abs();
            assert!(error < 1e-7 && error < 1e-5 * want, "{x}: {got}, not {want}");
            let want = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
            let error = (f64::from(density) - want).abs();
            assert!(error < 1e-7 && error < 1e-5 * want, "{x}: {density}, not {want}");
        }
        let mut odd = [f32::NAN; 16];
        (odd[1], odd[2]) = (f32::NEG_INFINITY, f32::INFINITY);
        let mut densities = odd;
        // SAFETY: as above.
        unsafe { normals(&mut odd, &mut densities) };
        assert!(odd[0].is_nan() && (0.0..1e-32).contains(&odd[1]) && odd[2] == 1.0, "{odd:?}");
        assert!(densities[0].is_nan() && densities[1..3].iter().all(|it| *it < 1e-30));
    }
}
