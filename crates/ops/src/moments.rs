//! The mean and the variance of each channel, and the norm that they define.

use crate::{kernel::lanes_kernel, real::Real};

/// The per-channel statistics of a batch.
#[derive(Clone, Debug)]
pub struct Moments {
    /// The mean of each channel.
    pub mean: Vec<f64>,
    /// The biased variance of each channel, which normalises the batch.
    pub variance: Vec<f64>,
    /// The number of values per channel, at least 2.
    pub count: usize,
}

impl Moments {
    /// The unbiased variance of each channel, which updates the running statistics.
    pub fn unbiased_variance(&self) -> impl Iterator<Item = f64> + '_ {
        let correction = self.count as f64 / (self.count - 1) as f64;
        self.variance.iter().map(move |it| it * correction)
    }

    /// The moments of rows of `c` numbers.
    ///
    /// Sums are of x - pivot, where the pivot is the channel's first number, so that a large mean does
    /// not cancel the variance; up to 64 rows are summed in `T`, more in `f64`.
    pub(crate) fn of<T: Real>(xs: &[T], c: usize) -> Moments {
        let pivot = &xs[..c.min(xs.len())];
        let mut totals = vec![0.0; 2 * c];
        T::with_scratch(2 * c, |sums| {
            for xs in xs.chunks(64 * c) {
                sums.fill(T::ZERO);
                add_moments(xs, pivot, sums);
                totals.iter_mut().zip(&*sums).for_each(|(total, it)| *total += it.to_f64());
            }
        });
        let count = xs.len() / c;
        let n = count as f64;
        let (sum, square) = totals.split_at(c);
        let mean = sum.iter().zip(pivot).map(|(sum, pivot)| pivot.to_f64() + sum / n).collect();
        let variance = sum.iter().zip(square).map(|(sum, square)| {
            // Rounding may give a tiny negative number if all values are equal.
            (square / n - (sum / n) * (sum / n)).max(0.0)
        });
        Moments { mean, variance: variance.collect(), count }
    }

    /// The combined moments of all parts, merged in order.
    ///
    /// Chan et al., "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances",
    /// 1979.
    pub(crate) fn join(parts: impl IntoIterator<Item = Moments>) -> Option<Moments> {
        parts.into_iter().reduce(|mut all, part| {
            let (n, m) = (all.count as f64, part.count as f64);
            let share = m / (n + m);
            for (idx, (mean, variance)) in part.mean.iter().zip(&part.variance).enumerate() {
                let apart = mean - all.mean[idx];
                let within = all.variance[idx] * (1.0 - share) + variance * share;
                all.variance[idx] = within + apart * apart * share * (1.0 - share);
                all.mean[idx] += apart * share;
            }
            all.count += part.count;
            all
        })
    }
}

/// A norm as an affine function per channel: 1 / √(σ² + ε), scale and shift.
pub(crate) fn lines(
    gamma: &[f64],
    beta: &[f64],
    moments: &Moments,
    eps: f64,
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let inverse: Vec<f64> = moments.variance.iter().map(|it| 1.0 / (it + eps).sqrt()).collect();
    let scale: Vec<f64> = gamma.iter().zip(&inverse).map(|(g, i)| g * i).collect();
    let shifts = beta.iter().zip(&moments.mean).zip(&scale);
    let shift = shifts.map(|((b, mean), scale)| b - mean * scale).collect();
    (inverse, scale, shift)
}

/// Adds Σ (x - pivot) and Σ (x - pivot)² of each channel to `sums`, `[2, c]`.
fn add_moments<T: Real>(xs: &[T], pivot: &[T], sums: &mut [T]) {
    let c = pivot.len();
    assert!(
        xs.len().is_multiple_of(c) && sums.len() == 2 * c,
        "rows with a different number of channels"
    );
    // SAFETY: the rows are complete, and the sums were just checked.
    unsafe { moments_of(xs.as_ptr(), xs.len() / c, pivot, sums.as_mut_ptr()) }
}

/// Rows that are summed in parallel accumulators, so that no addition waits for the previous one.
const ABREAST: usize = 4;

lanes_kernel! {
    unsafe fn moments_of(xs: *const T, n: usize, pivot: &[T], sums: *mut T) {
        let c = pivot.len();
        for from in (0..c).step_by(V::LANES) {
            let some = c - from;
            // SAFETY: guaranteed by the caller.
            unsafe {
                let one = V::splat(T::ONE);
                let back = V::load_some(pivot.as_ptr().add(from), some).mul(V::splat(-T::ONE));
                let mut parts = [[V::splat(T::ZERO); 2]; ABREAST];
                let mut row = 0;
                while row < n {
                    let many = if row + ABREAST <= n { ABREAST } else { 1 };
                    for (idx, [sum, square]) in parts.iter_mut().enumerate() {
                        if idx < many {
                            let x = V::load_some(xs.add((row + idx) * c + from), some);
                            let x = x.mul_add(one, back);
                            *sum = x.mul_add(one, *sum);
                            *square = x.mul_add(x, *square);
                        }
                    }
                    row += many;
                }
                for (kind, at) in [from, c + from].into_iter().enumerate() {
                    let mut total = V::load_some(sums.add(at), some);
                    for part in &parts {
                        total = part[kind].mul_add(one, total);
                    }
                    total.store_some(sums.add(at), some);
                }
            }
        }
    }
}
