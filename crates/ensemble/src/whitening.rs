//! Whitening: correlated features, such as those of several models for the same images, are replaced by combinations
//! that are not, so that minimising over their coefficients takes fewer steps.
//!
//! L Lᵀ = Cov(x) + r · I, by Cholesky. With x' = L⁻¹ x and w = L⁻ᵀ u every product w · x = u · x' stays as it is:
//! whatever L is, the minimum is the same.

/// L, `[row * n + column]`; what is above the diagonal is not used.
pub(crate) struct Whitening {
    n: usize,
    lower: Vec<f64>,
}

/// The number of rows that the covariance is computed from, evenly spaced.
const N_ROWS: usize = 20_000;

/// The least share of a feature's variance that the others do not explain: rounding may leave less than 0.
const LEAST: f64 = 1e-12;

impl Whitening {
    /// Creates the whitening of centred features.
    ///
    /// - `features`: `[row * n + feature]`.
    /// - `ridge`: above 0.
    pub(crate) fn new(features: &[f64], n: usize, ridge: f64) -> Whitening {
        let step = (features.len() / n).div_ceil(N_ROWS).max(1);
        let rows = || features.chunks_exact(n).step_by(step);
        let scale = 1.0 / rows().len().max(1) as f64;
        let mut lower = vec![0.0; n * n];
        for x in rows() {
            for (a, to) in lower.chunks_exact_mut(n).enumerate() {
                let of_row = x[a] * scale;
                to[..=a].iter_mut().zip(x).for_each(|(to, x)| *to += of_row * x);
            }
        }
        for a in 0..n {
            lower[a * n + a] += ridge;
            for b in 0..=a {
                let (before, row) = lower.split_at(a * n);
                let (own, other) = (&row[..b], if b == a { row } else { &before[b * n..] });
                let known: f64 = own.iter().zip(other).map(|(x, y)| x * y).sum();
                let rest = row[b] - known;
                lower[a * n + b] = match a == b {
                    true => rest.max(LEAST * row[a]).sqrt(),
                    false => rest / before[b * n + b],
                };
            }
        }
        Whitening { n, lower }
    }

    /// Replaces the features of a row by x' = L⁻¹ x.
    pub(crate) fn whiten(&self, x: &mut [f64]) {
        for a in 0..self.n {
            let row = &self.lower[a * self.n..][..=a];
            let known: f64 = row.iter().zip(&x[..a]).map(|(l, x)| l * x).sum();
            x[a] = (x[a] - known) / row[a];
        }
    }

    /// Replaces the coefficients u of whitened features by those of the features, w = L⁻ᵀ u.
    pub(crate) fn unwhiten(&self, u: &mut [f64]) {
        for a in (0..self.n).rev() {
            let row = &self.lower[a * self.n..][..=a];
            u[a] /= row[a];
            let own = u[a];
            u[..a].iter_mut().zip(row).for_each(|(u, l)| *u -= l * own);
        }
    }
}

#[cfg(test)]
mod tests {
    use testkit::{check_close_slices, numbers};

    use super::Whitening;

    #[test]
    fn two_correlated_features_are_whitened() {
        // Cov = [[4, 2], [2, 5]] = L Lᵀ with L = [[2, 0], [1, 2]]: rows (2, 1) and (0, 2) with both signs.
        let rows = [2.0, 1.0, -2.0, -1.0, 0.0, 2.0, 0.0, -2.0].map(|it| it * 2.0_f64.sqrt());
        let it = Whitening::new(&rows, 2, 1e-15);
        let mut x = [2.0, 5.0];
        it.whiten(&mut x);
        check_close_slices(&x, &[1.0, 2.0], 1e-9);
        // Lᵀ w = u: 2 w_2 = 4, and 2 w_1 + w_2 = 4.
        let mut u = [4.0, 4.0];
        it.unwhiten(&mut u);
        check_close_slices(&u, &[1.0, 2.0], 1e-9);
    }

    #[test]
    fn products_stay_as_they_are_even_of_equal_features() {
        let all = numbers("whitening", 3 * 50);
        let features: Vec<f64> = all.chunks(3).flat_map(|it| [it[0], it[1], it[0]]).collect();
        for ridge in [1e-3, f64::MIN_POSITIVE] {
            let it = Whitening::new(&features, 3, ridge);
            let (mut x, mut w) = (features[..3].to_vec(), vec![0.3, -0.1, 0.2]);
            let before: f64 = x.iter().zip(&w).map(|(x, u)| x * u).sum();
            // u = Lᵀ w.
            let u: Vec<f64> =
                (0..3).map(|a| (a..3).map(|row| it.lower[row * 3 + a] * w[row]).sum()).collect();
            it.whiten(&mut x);
            let after: f64 = x.iter().zip(&u).map(|(x, u)| x * u).sum();
            assert!((before - after).abs() < 1e-6, "{before}, not {after}");
            w.copy_from_slice(&u);
            it.unwhiten(&mut w);
            assert!(w.iter().all(|it| it.is_finite()), "{w:?}");
        }
    }
}
