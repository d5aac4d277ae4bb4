//! Kernels that are compiled for every instruction set: loops that the compiler vectorises, and functions over
//! explicit registers.

/// Declares a function whose body is compiled for every [`Isa`](crate::Isa) and dispatched to the chosen one.
///
/// In the body, `F` is an [`Fma`](crate::isa::Fma): write `T::fma::<F>(a, b, c)` for a·b + c.
macro_rules! kernel {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident<F, T $(, const $n:ident: $nt:ty)*>($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block
    ) => {
        $(#[$meta])*
        $vis fn $name<T: crate::real::Real $(, const $n: $nt)*>($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body<F: crate::isa::Fma, T: crate::real::Real $(, const $n: $nt)*>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512<T: crate::real::Real $(, const $n: $nt)*>($($arg: $ty),*) $(-> $ret)? {
                body::<crate::isa::Fused, T $(, $n)*>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2<T: crate::real::Real $(, const $n: $nt)*>($($arg: $ty),*) $(-> $ret)? {
                body::<crate::isa::Fused, T $(, $n)*>($($arg),*)
            }

            match crate::isa::Isa::chosen() {
                // SAFETY: a set is chosen only after the processor was found to support it.
                #[cfg(target_arch = "x86_64")]
                crate::isa::Isa::Avx512 => unsafe { avx512::<T $(, $n)*>($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                crate::isa::Isa::Avx2 => unsafe { avx2::<T $(, $n)*>($($arg),*) },
                _ => body::<crate::isa::Separate, T $(, $n)*>($($arg),*),
            }
        }
    };
}
pub(crate) use kernel;

/// Declares a function over [`Lanes`](crate::lanes::Lanes) that is compiled for every [`Isa`](crate::Isa).
///
/// In the body, `T` is the number type, `V` the register, and `ROWS` by `VECS` the tile of sums that fits the
/// registers of the instruction set.
macro_rules! lanes_kernel {
    (
        $(#[$meta:meta])*
        $vis:vis unsafe fn $name:ident $(<$(const $n:ident: $nt:ty),+>)? ($($arg:ident: $ty:ty),* $(,)?) $body:block
    ) => {
        $(#[$meta])*
        $vis unsafe fn $name<T: crate::real::Real $($(, const $n: $nt)+)?>($($arg: $ty),*) {
            #[inline(always)]
            unsafe fn body<
                T: crate::real::Real,
                V: crate::lanes::Lanes<Number = T>,
                const ROWS: usize,
                const VECS: usize
                $($(, const $n: $nt)+)?
            >($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            unsafe fn avx512<T: crate::real::Real $($(, const $n: $nt)+)?>($($arg: $ty),*) {
                // SAFETY: guaranteed by the caller.
                unsafe { body::<T, T::Avx512, 8, 3 $($(, $n)+)?>($($arg),*) }
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2<T: crate::real::Real $($(, const $n: $nt)+)?>($($arg: $ty),*) {
                // SAFETY: guaranteed by the caller.
                unsafe { body::<T, T::Avx2, 6, 2 $($(, $n)+)?>($($arg),*) }
            }

            // SAFETY: a set is chosen only after the processor was found to support it; the rest is
            // guaranteed by the caller.
            unsafe {
                match crate::isa::Isa::chosen() {
                    #[cfg(target_arch = "x86_64")]
                    crate::isa::Isa::Avx512 => avx512::<T $($(, $n)+)?>($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    crate::isa::Isa::Avx2 => avx2::<T $($(, $n)+)?>($($arg),*),
                    _ => body::<T, T::Portable, 4, 2 $($(, $n)+)?>($($arg),*),
                }
            }
        }
    };
}
pub(crate) use lanes_kernel;

/// Runs a block for each index below a constant, of at most twelve, as straight code: an array that is accessed at
/// constant indices alone stays in registers. A loop may be left as one, and then the array is in memory from its
/// first use.
macro_rules! unrolled {
    ($n:expr, $idx:ident => $body:block) => {
        crate::kernel::unrolled!(@$n, $idx, $body, 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    (@$n:expr, $idx:ident, $body:block, $($at:literal)+) => {
        const { assert!($n <= 12, "more indices than are unrolled") };
        $(if $at < $n {
            let $idx: usize = $at;
            $body
        })+
    };
}
pub(crate) use unrolled;
