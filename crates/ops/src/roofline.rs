//! The peak performance of the machine: arithmetic in registers, and memory bandwidth.
//!
//! No operation can be faster than either allows: the roofline of Williams et al., "Roofline: An
//! Insightful Visual Performance Model", 2009.

use std::{hint::black_box, time::Instant};

use rayon::prelude::*;

use crate::kernel::lanes_kernel;

/// The peak rates of all threads together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roofline {
    /// Multiplications and additions per second, of f32 in registers.
    pub flops: f64,
    /// Bytes per second, read and written, when copying much more than fits a cache.
    pub bytes: f64,
}

/// Runs of each measurement, of which the best counts.
const RUNS: usize = 5;

/// Steps of arithmetic: about 10 ms.
const STEPS: usize = 1 << 20;

/// Numbers to copy: 256 MiB.
const NUMBERS: usize = 1 << 26;

impl Roofline {
    /// Measures both rates, in about half a second.
    pub fn measure() -> Roofline {
        let n_threads = rayon::current_num_threads();
        let flops = best(|| {
            let flops = (0..n_threads).into_par_iter().map(|_| {
                let mut flops = 0;
                // SAFETY: it writes only the count.
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
        Roofline { flops, bytes }
    }

    /// The minimum time of some work, in seconds.
    pub fn floor(&self, flops: f64, bytes: f64) -> f64 {
        (flops / self.flops).max(bytes / self.bytes)
    }
}

/// The best rate of `work`, in its unit per second.
fn best(mut work: impl FnMut() -> f64) -> f64 {
    let rates = (0..RUNS).map(|_| {
        let began = Instant::now();
        let done = work();
        done / began.elapsed().as_secs_f64()
    });
    rates.fold(0.0, f64::max)
}

lanes_kernel! {
    /// Multiplies and adds in as many registers as hide the latency of one step.
    unsafe fn arithmetic(steps: usize, flops: &mut usize) {
        // SAFETY: guaranteed by the caller.
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
    use super::Roofline;

    #[test]
    fn the_floor_is_the_slower_of_both() {
        let roofline = Roofline { flops: 10.0, bytes: 2.0 };
        assert_eq!((roofline.floor(30.0, 2.0), roofline.floor(1.0, 8.0)), (3.0, 4.0));
    }

    #[test]
    fn measured_rates_are_plausible() {
        let Roofline { flops, bytes } = Roofline::measure();
        assert!(flops > 1e8 && bytes > 1e8, "{flops:e}, {bytes:e}");
    }
}
