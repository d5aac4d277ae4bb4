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
    /// self·by + plus.
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self;
}

/// A register that the compiler finds itself.
#[derive(Clone, Copy)]
pub(crate) struct Plain<T, F, const N: usize>([T; N], PhantomData<F>);

pub(crate) type Wide<T, const N: usize> = Plain<T, Fused, N>;
pub(crate) type Portable<T, const N: usize> = Plain<T, Separate, N>;

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
        Plain(
            std::array::from_fn(|idx| T::fma::<F>(self.0[idx], by.0[idx], plus.0[idx])),
            PhantomData,
        )
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps,
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_storeu_ps,
    };

    use super::Lanes;

    macro_rules! lanes {
        ($register:ty, $n:literal, $splat:ident, $load:ident, $store:ident, $mul_add:ident) => {
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
                unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $mul_add(self, by, plus) }
                }
            }
        };
    }

    lanes!(__m512, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps);
    lanes!(__m256, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps);
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
