//! Instruction sets: each kernel is compiled for several, and one is chosen at run time.
//!
//! Kernels are plain loops over slices that the compiler vectorises; [`kernel!`](crate::kernel::kernel) compiles them once
//! for AVX-512, once for AVX2 with FMA and once for the target's baseline.

use std::sync::OnceLock;

/// An instruction set that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// The baseline of the target.
    Portable,
    /// 256 bits with fused multiply-add: x86-64 since about 2013.
    Avx2,
    /// 512 bits: x86-64 servers since about 2017.
    Avx512,
}

static CHOSEN: OnceLock<Isa> = OnceLock::new();

impl Isa {
    /// The instruction sets of this machine, best first.
    pub fn available() -> Vec<Isa> {
        let mut list = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("bmi2");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if avx2 && avx512 {
                list.push(Isa::Avx512);
            }
            if avx2 {
                list.push(Isa::Avx2);
            }
        }
        list.push(Isa::Portable);
        list
    }

    /// The instruction set in use for the lifetime of the process: the best, unless another was
    /// [chosen](Isa::choose) first.
    pub fn chosen() -> Isa {
        *CHOSEN.get_or_init(|| {
            #[cfg(test)]
            let best = tests::requested().unwrap_or(Isa::available()[0]);
            #[cfg(not(test))]
            let best = Isa::available()[0];
            best
        })
    }

    /// Makes every kernel of the process use the instruction set with this name.
    ///
    /// # Errors
    /// If the name is unknown, the machine does not have the set, or another is in use already.
    pub fn choose(name: &str) -> Result<(), String> {
        let has = Isa::available();
        let Some(isa) = has.iter().find(|it| it.name() == name) else {
            let has: Vec<&str> = has.into_iter().map(Isa::name).collect();
            return Err(format!(
                "no instruction set `{name}`: this machine has {}",
                has.join(", ")
            ));
        };
        match CHOSEN.get_or_init(|| *isa) {
            it if it == isa => Ok(()),
            it => Err(format!("cannot choose `{name}`: `{}` is in use already", it.name())),
        }
    }

    /// The name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }
}

/// Runs a closure, compiled for every [`Isa`], on the chosen one.
///
/// The closure must be `#[inline(always)]`, and so must every function that it calls in a loop: a function
/// that is not inlined is compiled for the target's baseline alone. Integer results, and sums and products
/// of floating-point numbers in the order written, are the same on each.
pub fn vectorised<T>(f: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
    fn avx512<T>(f: impl FnOnce() -> T) -> T {
        f()
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn avx2<T>(f: impl FnOnce() -> T) -> T {
        f()
    }

    match Isa::chosen() {
        // SAFETY: a set is chosen only after the processor was found to support it.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(f) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(f) },
        _ => f(),
    }
}

/// Clamps to 0..=255 and truncates; NaN becomes 0. An `as` cast
/// guarantees more, and processes numbers one by one.
#[inline(always)]
pub fn to_byte(x: f32) -> i32 {
    let x = if x > 0.0 { x } else { 0.0 };
    let x = if x < 255.0 { x } else { 255.0 };
    // SAFETY: it was just clamped to the range.
    unsafe { x.to_int_unchecked() }
}

/// How a kernel multiplies and adds: with one rounding if the instruction set has FMA.
pub(crate) trait Fma {
    /// Whether `mul_add` is one instruction.
    const FUSED: bool;
}

#[derive(Clone, Copy)]
pub(crate) struct Fused;
#[derive(Clone, Copy)]
pub(crate) struct Separate;

impl Fma for Fused {
    const FUSED: bool = true;
}

impl Fma for Separate {
    // The baselines of other architectures have the instruction; that of x86-64 does not, and would call
    // a library function for every product.
    const FUSED: bool = !cfg!(target_arch = "x86_64");
}

#[cfg(test)]
mod tests {
    use super::{Isa, to_byte};

    const VARIABLE: &str = "MASKFIT_TEST_ISA";

    /// The instruction set requested for these tests.
    pub(super) fn requested() -> Option<Isa> {
        let name = std::env::var(VARIABLE).ok()?;
        Isa::available().into_iter().find(|it| it.name() == name)
    }

    /// Runs all tests of this crate again on each of the machine's other instruction sets.
    #[test]
    fn every_instruction_set_passes_these_tests() {
        if requested().is_some() {
            return;
        }
        for isa in &Isa::available()[1..] {
            let tests = std::env::current_exe().unwrap();
            let run = std::process::Command::new(tests).env(VARIABLE, isa.name()).output().unwrap();
            assert!(run.status.success(), "{isa:?}:\n{}", String::from_utf8_lossy(&run.stdout));
        }
    }

    #[test]
    fn a_byte_is_clamped_and_truncated() {
        for it in 0..256 * 255 {
            for it in [it as f32 / 256.0, (it as f32 / 256.0).next_down()] {
                assert_eq!(to_byte(it), it as i32);
            }
        }
        let odd = [f32::NAN, f32::NEG_INFINITY, -0.5, 255.5, f32::INFINITY];
        assert_eq!(odd.map(to_byte), [0, 0, 0, 255, 255]);
    }

    #[test]
    fn the_best_is_listed_first_and_the_portable_one_always() {
        let all = Isa::available();
        assert!(all.is_sorted_by(|a, b| a > b), "{all:?}");
        assert_eq!(all.last(), Some(&Isa::Portable));
    }
}
