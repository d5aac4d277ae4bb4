//! Kernels that the compiler vectorises, compiled for every instruction set.

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
