//! The covariance of rows, and with it the moments of their products with a matrix, which need not be computed.
//!
//! With the mean x̄ and C = Σ (x - x̄)ᵀ(x - x̄) of n rows, those of w·x have the mean w·x̄ and the variance w C wᵀ / n.

use std::ops::Range;

use crate::{
    Moments,
    blocks::overwrite,
    kernel::kernel,
    matmul::{End, Layout, Left, PAD, Right, Rows, multiply},
    pool::add_rows,
    prologue::View,
    real::Real,
};

/// Rows that are summed in `T`.
const BLOCK: usize = 128;

/// The mean of rows, and the sums Σ (x - x̄)ᵀ(x - x̄), `[in, in]`.
///
/// Sums are of x - pivot, where the pivot is the first row of a block, so that a large mean does not cancel them. A
/// block is summed in `T`, and blocks in `f64`: in `f32` the error of a variance is about 1e-8 of the largest one, with
/// the 64,000 rows and more of a large map.
pub(crate) struct Covariance {
    pub(crate) mean: Vec<f64>,
    pub(crate) sums: Vec<f64>,
    count: usize,
}

impl Covariance {
    pub(crate) fn of<T: Real>(xs: &View<'_, T>) -> Covariance {
        let part = |rows: Range<usize>, _: &mut [T]| {
            let blocks = rows.clone().step_by(BLOCK).map(|first| {
                let n = BLOCK.min(rows.end - first);
                Covariance::of_block(xs, first, n)
            });
            Covariance::join(blocks)
        };
        let per_part = xs.n_rows.div_ceil(16).next_multiple_of(BLOCK);
        // SAFETY: the result is empty.
        let (_, parts) = unsafe { overwrite(xs.n_rows, 0, per_part, part) };
        Covariance::join(parts)
    }

    fn of_block<T: Real>(xs: &View<'_, T>, first: usize, n: usize) -> Covariance {
        let c = xs.c;
        T::with_scratch(n * c + PAD, |rows| {
            xs.read(first, &mut rows[..n * c], c);
            let pivot = rows[..c].to_vec();
            subtract(&mut rows[..n * c], &pivot);
            let (mut sum, mut squares) = (vec![T::ZERO; c], vec![T::ZERO; c * c]);
            add_rows(&rows[..n * c], &mut sum);
            let left = Left::columns(rows, c, n, c, &[0]);
            let right = Right::new(rows, n, c, Layout::rows(c));
            multiply(left, right, &mut squares[..], Rows::Apart(c), End::Store);
            let sum: Vec<f64> = sum.iter().map(|it| it.to_f64()).collect();
            let of_row = |(row, total): (&[T], &f64)| {
                let others = row.iter().zip(&sum);
                others.map(|(it, sum)| it.to_f64() - total * sum / n as f64).collect::<Vec<_>>()
            };
            let sums = squares.chunks_exact(c).zip(&sum).flat_map(of_row).collect();
            let mean = pivot.iter().zip(&sum).map(|(it, sum)| it.to_f64() + sum / n as f64);
            Covariance { mean: mean.collect(), sums, count: n }
        })
    }

    /// Merged in order: see [`Moments::join`].
    fn join(parts: impl IntoIterator<Item = Covariance>) -> Covariance {
        let all = parts.into_iter().reduce(|mut all, part| {
            let (n, m) = (all.count as f64, part.count as f64);
            let apart: Vec<f64> =
                part.mean.iter().zip(&all.mean).map(|(part, all)| part - all).collect();
            let c = apart.len();
            for (row, &own) in apart.iter().enumerate() {
                let sums = &mut all.sums[row * c..][..c];
                let (of_part, times) = (&part.sums[row * c..][..c], own * n * m / (n + m));
                for ((sum, it), other) in sums.iter_mut().zip(of_part).zip(&apart) {
                    *sum += it + times * other;
                }
                all.mean[row] += own * m / (n + m);
            }
            all.count += part.count;
            all
        });
        all.expect("at least one row")
    }

    /// The moments of the products with the rows of a matrix.
    pub(crate) fn moments<T: Real>(&self, matrix: &[T]) -> Moments {
        let c = self.mean.len();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let of_row = |row: &[T]| {
            let row: Vec<f64> = row.iter().map(|it| it.to_f64()).collect();
            let turned: Vec<f64> = self.sums.chunks_exact(c).map(|it| dot(it, &row)).collect();
            // Rounding may give a tiny negative number.
            (dot(&self.mean, &row), (dot(&turned, &row) / self.count as f64).max(0.0))
        };
        let (mean, variance) = matrix.chunks_exact(c).map(of_row).unzip();
        Moments { mean, variance, count: self.count }
    }
}

kernel! {
    /// Subtracts a row from all rows.
    fn subtract<F, T>(rows: &mut [T], pivot: &[T]) {
        for row in rows.chunks_exact_mut(pivot.len()) {
            for (it, &pivot) in row.iter_mut().zip(pivot) {
                *it -= pivot;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::numbers;

    use super::Covariance;
    use crate::prologue::View;

    /// Also of several blocks, and with a mean that is large relative to the deviations.
    #[test]
    fn moments_of_products_are_those_of_the_products() -> Result<()> {
        for (n, c, offset) in [(2, 3, 0.0), (300, 5, 0.0), (5000, 3, 1e3)] {
            let xs: Vec<f64> = numbers("x", n * c).iter().map(|it| it + offset).collect();
            let matrix = numbers("w", 4 * c);
            let tensor = Tensor::from_slice(&xs, (n, c), &Device::Cpu)?;
            let got = Covariance::of(&View::<f64>::of(&tensor, None)?).moments(&matrix);
            for (idx, row) in matrix.chunks(c).enumerate() {
                let products = xs.chunks(c).map(|x| x.iter().zip(row).map(|(x, w)| x * w).sum());
                let products: Vec<f64> = products.collect();
                let mean = products.iter().sum::<f64>() / n as f64;
                let variance =
                    products.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / n as f64;
                assert!((got.mean[idx] - mean).abs() < 1e-9 * (1.0 + mean.abs()), "{n}, {idx}");
                assert!((got.variance[idx] - variance).abs() < 1e-9 * variance, "{n}, {idx}");
            }
            assert_eq!(got.count, n);
        }
        Ok(())
    }

    /// In `f32`, of a product along which the rows hardly vary: two columns that are the same but for a hundredth.
    #[test]
    fn a_small_variance_between_large_ones_is_accurate() -> Result<()> {
        let n = 64_000;
        let (common, own) = (numbers("common", n), numbers("own", n));
        let row = |(common, own): (&f64, &f64)| [*common as f32, (common + own / 100.0) as f32];
        let xs: Vec<f32> = common.iter().zip(&own).flat_map(row).collect();
        let tensor = Tensor::from_slice(&xs, (n, 2), &Device::Cpu)?;
        let got = Covariance::of(&View::<f32>::of(&tensor, None)?).moments(&[1f32, -1.0]);
        let apart: Vec<f64> = xs.chunks(2).map(|it| f64::from(it[0]) - f64::from(it[1])).collect();
        let mean = apart.iter().sum::<f64>() / n as f64;
        let want = apart.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / n as f64;
        let error = (got.variance[0] / want - 1.0).abs();
        assert!(error < 1e-3, "{error}: {}, not {want}", got.variance[0]);
        Ok(())
    }
}
