//! Gaussian blur of random σ.
//!
//! Each byte becomes the mean of its k x k neighbourhood weighted by e^(-d²/2σ²), with σ uniform in a
//! range; the image is mirrored about its outermost pixels.
//!
//! torchvision's `GaussianBlur`: SimCLR's. The kernel is separable, and weights too small to change a byte
//! are left out, so a large k is not slower by itself.

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{Transform, range_problem};
use crate::{
    Canvas, Image, OpError,
    sample::{Border, index_inside},
};

/// `kind = "gaussian_blur"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaussianBlur {
    /// k: odd, in pixels.
    pub kernel_size: usize,
    /// The minimum and maximum σ, in pixels.
    pub sigma: [f64; 2],
}

impl Default for GaussianBlur {
    /// SimCLR's setting for 224 pixels: a tenth of the side.
    fn default() -> GaussianBlur {
        GaussianBlur { kernel_size: 23, sigma: [0.1, 2.0] }
    }
}

impl Transform for GaussianBlur {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let sigma = rng.random_range(self.sigma[0]..=self.sigma[1]);
        change(canvas.pixels()?, self.kernel_size, sigma);
        Ok(())
    }

    fn is_random(&self) -> bool {
        self.sigma[0] < self.sigma[1] && self.kernel_size > 1
    }

    fn problem(&self) -> Option<String> {
        if self.kernel_size.is_multiple_of(2) || self.kernel_size > 999 {
            return Some(format!(
                "`kernel_size` must be odd and below 1000 (1 is the identity), not {}",
                self.kernel_size
            ));
        }
        range_problem("sigma", "σ in pixels", self.sigma, [0.01, 1000.0])
    }
}

/// The weights of the centre and of one side; the sum of the centre and both sides is 1.
fn weights(kernel_size: usize, sigma: f64) -> Vec<f32> {
    let weight = |d: usize| (-0.5 * (d as f64 / sigma).powi(2)).exp();
    // Less than a 4000th of the total is less than a sixteenth of a step of a byte.
    let side: Vec<f64> =
        (0..=kernel_size / 2).map(weight).take_while(|it| *it > 1.0 / 8000.0).collect();
    let all = 2.0 * side.iter().sum::<f64>() - side[0];
    side.iter().map(|it| (it / all) as f32).collect()
}

/// Blurs rows and columns.
fn change(image: &mut Image, kernel_size: usize, sigma: f64) {
    let weights = weights(kernel_size, sigma);
    let reach = weights.len() - 1;
    if reach == 0 {
        return;
    }
    let (w, h) = (image.width() as usize, image.height() as usize);
    let mirrored =
        |at: usize, n: usize| index_inside(at as i64 - reach as i64, n as i64, Border::Reflect);
    // Rows with their margins; and the ring of blurred rows that a column needs.
    let n = w * 3;
    let mut wide = vec![0.0_f32; n + 6 * reach];
    let mut blurred = vec![vec![0.0_f32; n]; 2 * reach + 1];
    let source = image.as_raw().clone();
    let bytes: &mut [u8] = image;
    let mut sum = vec![0.0_f32; n];
    for row in 0..h + 2 * reach {
        let from = mirrored(row, h) as usize * n;
        let pixels = source[from..from + n].as_chunks::<3>().0;
        for (at, wide) in wide.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let at = if at.wrapping_sub(reach) < w { at - reach } else { mirrored(at, w) as usize };
            *wide = pixels[at].map(f32::from);
        }
        let len = blurred.len();
        let to = &mut blurred[row % len];
        weighted_sum(to, &weights, |d| (&wide[3 * (reach - d)..], &wide[3 * (reach + d)..]));
        let Some(done) = row.checked_sub(2 * reach) else { continue };
        let middle = done + reach;
        weighted_sum(&mut sum, &weights, |d| {
            (&blurred[(middle - d) % len], &blurred[(middle + d) % len])
        });
        for (byte, sum) in bytes[done * n..][..n].iter_mut().zip(&sum) {
            *byte = (sum + 0.5) as u8;
        }
    }
}

/// The weighted sum of a row and those `d` before and after it.
fn weighted_sum<'a>(
    sum: &mut [f32],
    weights: &[f32],
    row: impl Fn(usize) -> (&'a [f32], &'a [f32]),
) {
    for (sum, it) in sum.iter_mut().zip(row(0).0) {
        *sum = weights[0] * it;
    }
    for (d, weight) in weights.iter().enumerate().skip(1) {
        let (before, after) = row(d);
        for (sum, (a, b)) in sum.iter_mut().zip(before.iter().zip(after)) {
            *sum += weight * (a + b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::transform::golden::check_golden;

    #[test]
    fn agrees_with_torchvision() {
        check_golden("gaussian_blur", 1, |case, image| {
            change(image, case.to("kernel"), case.to("sigma"));
        });
    }
}
