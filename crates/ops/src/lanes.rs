//! SIMD registers.
//!
//! Most kernels rely on the compiler's auto-vectorisation ([`kernel!`](crate::kernel::kernel)).
//! The few that take most of the time, products and depthwise convolutions, specify which numbers stay
//! in which register ([`lanes_kernel!`](crate::kernel::lanes_kernel)).

use std::marker::PhantomData;

use crate::{
    isa::{Fma, Fused, Separate},
    number::Number,
};

/// A register of [`LANES`](Lanes::LANES) numbers.
///
/// # Safety
/// The processor must have the instructions, and pointers must be valid for as many numbers as there are
/// lanes.
pub(crate) trait Lanes: Copy {
    type Number: Number;
    const LANES: usize;

    unsafe fn splat(x: Self::Number) -> Self;
    unsafe fn load(from: *const Self::Number) -> Self;
    unsafe fn store(self, to: *mut Self::Number);

    /// Stores to an address that begins a cache line, or a part of it of this size, past the caches, if there is such
    /// a store.
    #[inline(always)]
    unsafe fn stream(self, to: *mut Self::Number) {
        // SAFETY: guaranteed by the caller.
        unsafe { self.store(to) }
    }

    /// Makes what was [streamed](Lanes::stream) visible to other threads before what is stored next.
    #[inline(always)]
    unsafe fn end_of_stream() {}

    /// Loads the first `n` numbers, at most a register, and zeros for the rest.
    #[inline(always)]
    unsafe fn load_some(from: *const Self::Number, n: usize) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe {
            if n >= Self::LANES {
                return Self::load(from);
            }
            let mut line = [Self::Number::ZERO; WIDEST];
            std::ptr::copy_nonoverlapping(from, line.as_mut_ptr(), n);
            Self::load(line.as_ptr())
        }
    }

    /// Stores the first `n` numbers, at most a register.
    #[inline(always)]
    unsafe fn store_some(self, into: *mut Self::Number, n: usize) {
        // SAFETY: guaranteed by the caller.
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
    /// Clamps to `low..=high`.
    unsafe fn clamp(self, low: Self, high: Self) -> Self;
    /// 1 strictly between `low` and `high`, else 0.
    unsafe fn within(self, low: Self, high: Self) -> Self;
    /// Transposes a square of [`SQUARE`] columns of as many numbers, `apart` from each other, into rows
    /// `into_apart` from each other.
    #[inline(always)]
    unsafe fn turn(
        from: *const Self::Number,
        apart: usize,
        into: *mut Self::Number,
        into_apart: usize,
    ) {
        for col in 0..SQUARE {
            for row in 0..SQUARE {
                // SAFETY: guaranteed by the caller.
                unsafe { *into.add(row * into_apart + col) = *from.add(col * apart + row) }
            }
        }
    }

    /// 1 / (1 + e⁻ˣ) of several independent registers; of NaN, NaN or any number. In `f32` within 3 units in the
    /// last place, plus a relative error of |x|·1.5e-8 on AVX-512 and AVX2 if x is negative.
    unsafe fn sigmoids<const N: usize>(xs: [Self; N]) -> [Self; N];
    /// Φ(x), the normal CDF, and φ(x), the density. In `f32` the absolute error of Φ is below 1e-7, and its
    /// relative error below 1e-5 down to -8; beyond ±12 both are constant.
    unsafe fn normal(self) -> (Self, Self);
}

/// Prefetches the memory at an address, which need not be valid, into cache.
#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: this is a hint that accesses nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Prefetches the memory at an address, which need not be valid, into the L2 cache.
#[inline(always)]
pub(crate) fn prefetch_far<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: this is a hint that accesses nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// The side of the square that [`Lanes::turn`] transposes.
pub(crate) const SQUARE: usize = 8;

/// The most lanes of any register.
const WIDEST: usize = 16;

/// A register as an array, which the compiler vectorises.
#[derive(Clone, Copy)]
pub(crate) struct Plain<T, F, const N: usize>([T; N], PhantomData<F>);

pub(crate) type Wide<T, const N: usize> = Plain<T, Fused, N>;
pub(crate) type Portable<T, const N: usize> = Plain<T, Separate, N>;

impl<T: Number, F, const N: usize> Plain<T, F, N> {
    #[inline(always)]
    fn map(self, f: impl Fn(usize, T) -> T) -> Self {
        Plain(std::array::from_fn(|idx| f(idx, self.0[idx])), PhantomData)
    }
}

impl<T: Number, F: Fma + Copy, const N: usize> Lanes for Plain<T, F, N> {
    type Number = T;
    const LANES: usize = N;

    #[inline(always)]
    unsafe fn splat(x: T) -> Self {
        Plain([x; N], PhantomData)
    }

    #[inline(always)]
    unsafe fn load(from: *const T) -> Self {
        // SAFETY: guaranteed by the caller, and an array needs no more alignment than its elements.
        Plain(unsafe { from.cast::<[T; N]>().read() }, PhantomData)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut T) {
        // SAFETY: guaranteed by the caller.
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
    unsafe fn sigmoids<const M: usize>(xs: [Self; M]) -> [Self; M] {
        xs.map(|it| it.map(|_, x| x.sigmoid::<F>()))
    }

    #[inline(always)]
    unsafe fn normal(self) -> (Self, Self) {
        let both = self.0.map(|x| x.normal::<F>());
        (self.map(|idx, _| both[idx].0), self.map(|idx, _| both[idx].1))
    }
}

/// Two registers as one, for long chains of dependent instructions: out-of-order execution does not look
/// far enough ahead to overlap the chains of two numbers by itself.
#[derive(Clone, Copy)]
pub(crate) struct Two<V>(pub(crate) V, pub(crate) V);

impl<V: Lanes> Lanes for Two<V> {
    type Number = V::Number;
    const LANES: usize = 2 * V::LANES;

    // SAFETY of each: guaranteed by the caller.
    #[inline(always)]
    unsafe fn splat(x: V::Number) -> Self {
        unsafe { Two(V::splat(x), V::splat(x)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const V::Number) -> Self {
        unsafe { Two(V::load(from), V::load(from.add(V::LANES))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut V::Number) {
        unsafe {
            self.0.store(to);
            self.1.store(to.add(V::LANES));
        }
    }

    #[inline(always)]
    unsafe fn load_some(from: *const V::Number, n: usize) -> Self {
        unsafe {
            let second = from.wrapping_add(V::LANES);
            Two(V::load_some(from, n), V::load_some(second, n.saturating_sub(V::LANES)))
        }
    }

    #[inline(always)]
    unsafe fn store_some(self, into: *mut V::Number, n: usize) {
        unsafe {
            self.0.store_some(into, n);
            self.1.store_some(into.wrapping_add(V::LANES), n.saturating_sub(V::LANES));
        }
    }

    #[inline(always)]
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
        unsafe { Two(self.0.mul_add(by.0, plus.0), self.1.mul_add(by.1, plus.1)) }
    }

    #[inline(always)]
    unsafe fn mul(self, by: Self) -> Self {
        unsafe { Two(self.0.mul(by.0), self.1.mul(by.1)) }
    }

    #[inline(always)]
    unsafe fn across(self) -> V::Number {
        unsafe { self.0.across() + self.1.across() }
    }

    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        unsafe { Two(self.0.clamp(low.0, high.0), self.1.clamp(low.1, high.1)) }
    }

    #[inline(always)]
    unsafe fn within(self, low: Self, high: Self) -> Self {
        unsafe { Two(self.0.within(low.0, high.0), self.1.within(low.1, high.1)) }
    }

    #[inline(always)]
    unsafe fn sigmoids<const N: usize>(xs: [Self; N]) -> [Self; N] {
        let mut made = xs;
        for it in &mut made {
            let [first, second] = unsafe { V::sigmoids([it.0, it.1]) };
            *it = Two(first, second);
        }
        made
    }

    #[inline(always)]
    unsafe fn normal(self) -> (Self, Self) {
        unsafe {
            let (first, second) = (self.0.normal(), self.1.normal());
            (Two(first.0, second.0), Two(first.1, second.1))
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests {
    use libm::erfc;

    use crate::kernel::lanes_kernel;

    lanes_kernel! {
        unsafe fn sigmoids(xs: &mut [T]) {
            for xs in xs.chunks_exact_mut(V::LANES) {
                // SAFETY: a chunk is a register.
                unsafe { V::sigmoids([V::load(xs.as_ptr())])[0].store(xs.as_mut_ptr()) }
            }
        }
    }

    #[test]
    fn the_vector_sigmoid_is_within_its_error_bound() {
        let xs: Vec<f32> = (-79_000..=120_015).map(|it| it as f32 / 1000.0).collect();
        let mut got = xs[..xs.len() / 16 * 16].to_vec();
        // SAFETY: it runs on an instruction set of this machine.
        unsafe { sigmoids(&mut got) };
        for (x, got) in xs.iter().zip(got) {
            let want = 1.0 / (1.0 + (-f64::from(*x)).exp());
            let error = (f64::from(got) - want).abs() / want;
            let extra = if crate::Isa::chosen() == crate::Isa::Portable { 0.0 } else { 1.5e-8 };
            let most = 3.0 * f64::from(f32::EPSILON) + extra * f64::from(-x).max(0.0);
            assert!(error < most, "{x}: {got}, not {want}");
        }
        let mut odd = [f32::NAN; 16];
        (odd[1], odd[2]) = (f32::NEG_INFINITY, f32::INFINITY);
        // SAFETY: as above.
        unsafe { sigmoids(&mut odd) };
        assert!((0.0..1e-34).contains(&odd[1]) && odd[2] == 1.0, "{odd:?}");
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
    fn the_vector_normal_is_accurate_in_the_centre_and_in_the_tail() {
        let xs: Vec<f32> = (-12_000..=12_015).map(|it| it as f32 / 1000.0).collect();
        let mut got = xs[..xs.len() / 16 * 16].to_vec();
        let mut densities = got.clone();
        // SAFETY: it runs on an instruction set of this machine.
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
