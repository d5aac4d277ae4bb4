//! What a machine can do at best: arithmetic in registers, and copying.
//!
//! No pass over numbers can be faster than both allow; the roof of Williams et al., "Roofline: An
//! Insightful Visual Performance Model", 2009.

use std::{hint::black_box, time::Instant};

use rayon::prelude::*;

use crate::lanes::lanes_kernel;

/// The best that all threads reach together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// Multiplications and additions a second, of f32 in registers.
    pub flops: f64,
    /// Bytes a second, read and written, where much more than a cache is copied.
    pub bytes: f64,
}

/// Runs of each, of which the best counts: a ceiling is what is possible.
const RUNS: usize = 5;

/// Steps of arithmetic: some 10 ms.
const STEPS: usize = 1 << 20;

/// Numbers to copy: 256 MiB.
const NUMBERS: usize = 1 << 26;

impl Ceilings {
    /// Measures them, for about half a second.
    pub fn measure() -> Ceilings {
        let n_threads = rayon::current_num_threads();
        let flops = best(|| {
            let flops = (0..n_threads).into_par_iter().map(|_| {
                let mut flops = 0;
                // SAFETY: it touches nothing but the count.
                unsafe { arithmetic::<f32>(STEPS, &mut flops) }
                flops as f64
            });
            flops.sum()
        });
        let (from, mut to) = (vec![1_f32; NUMBERS], vec![0_f32; NUMBERS]);
        let bytes = best(|| {
            let chunk = NUMBERS / (16 * n_threads);
            let chunks = to.par_chunks_mut(chunk).zip(from.par_chunks(chunk));
            chunks.for_each(|(to, from)| to.copy_from_slice(from));
            (2 * size_of_val(&from[..])) as f64
        });
        Ceilings { flops, bytes }
    }

    /// The least seconds that work can take.
    pub fn floor(&self, flops: f64, bytes: f64) -> f64 {
        (flops / self.flops).max(bytes / self.bytes)
    }
}

/// How much of what `work` counts is done a second.
fn best(mut work: impl FnMut() -> f64) -> f64 {
    let rates = (0..RUNS).map(|_| {
        let began = Instant::now();
        let done = work();
        done / began.elapsed().as_secs_f64()
    });
    rates.fold(0.0, f64::max)
}

lanes_kernel! {
    /// Multiplies and adds in as many registers as hide the time that one step takes.
    unsafe fn arithmetic(steps: usize, flops: &mut usize) {
        // SAFETY: the caller's.
        unsafe {
            let (by, plus) = (V::splat(T::of(black_box(0.999))), V::splat(T::of(black_box(1e-3))));
            let mut sums = [[V::splat(T::ONE); VECS]; ROWS];
            for _ in 0..steps {
                for sums in &mut sums {
                    for sum in sums {
                        *sum = sum.mul_add(by, plus);
                    }
                }
            }
            black_box(sums);
        }
        *flops = 2 * steps * ROWS * VECS * V::LANES;
    }
}

#[cfg(test)]
mod tests {
    use super::Ceilings;

    #[test]
    fn the_higher_floor_counts() {
        let ceilings = Ceilings { flops: 10.0, bytes: 2.0 };
        assert_eq!((ceilings.floor(30.0, 2.0), ceilings.floor(1.0, 8.0)), (3.0, 4.0));
    }

    #[test]
    fn a_machine_does_something() {
        let Ceilings { flops, bytes } = Ceilings::measure();
        assert!(flops > 1e8 && bytes > 1e8, "{flops:e}, {bytes:e}");
    }
}
