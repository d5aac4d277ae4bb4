//! Adds Gaussian noise, independent for each byte.
//!
//! y = x + 255 (mean + sigma z), rounded and clipped to 0..=255, with sigma uniform in a range for each
//! image and z standard normal for each byte.
//!
//! torchvision's `GaussianNoise` (of its v2), which has one sigma and truncates the noise. z is one of
//! 4096 equally likely values whose variance is 1, so that a byte takes 12 random bits and a table look-up,
//! and no logarithm; there are no values beyond 3.7 sigma.

use std::sync::LazyLock;

use base::Rng;
use rand::{Rng as _, RngCore as _};
use serde::{Deserialize, Serialize};

use super::{Transform, range_problem};
use crate::{Canvas, Image, OpError};

/// `kind = "gaussian_noise"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaussianNoise {
    /// The mean of the noise, as a fraction of 255.
    pub mean: f64,
    /// The minimum and maximum standard deviation, as fractions of 255.
    pub sigma: [f64; 2],
}

impl Default for GaussianNoise {
    /// torchvision's defaults.
    fn default() -> GaussianNoise {
        GaussianNoise { mean: 0.0, sigma: [0.1, 0.1] }
    }
}

impl Transform for GaussianNoise {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let sigma = rng.random_range(self.sigma[0]..=self.sigma[1]);
        change(canvas.pixels()?, self.mean, sigma, rng);
        Ok(())
    }

    fn is_random(&self) -> bool {
        self.sigma[1] > 0.0
    }

    fn problem(&self) -> Option<String> {
        if !(-1.0..=1.0).contains(&self.mean) {
            return Some(format!("`mean` must be a fraction of 255, in -1..=1, not {}", self.mean));
        }
        range_problem("sigma", "standard deviations as fractions of 255", self.sigma, [0.0, 10.0])
    }
}

const N: usize = 1 << 12;

/// The midpoints of N equally likely parts of the standard normal distribution.
static NORMAL: LazyLock<[f32; N]> = LazyLock::new(|| {
    let middles: [f64; N] = std::array::from_fn(|it| quantile((it as f64 + 0.5) / N as f64));
    let variance = middles.iter().map(|it| it * it).sum::<f64>() / N as f64;
    middles.map(|it| (it / variance.sqrt()) as f32)
});

/// Adds noise.
fn change(image: &mut Image, mean: f64, sigma: f64, rng: &mut Rng) {
    let (mean, sigma) = ((mean * 255.0) as f32, (sigma * 255.0) as f32);
    let noise = NORMAL.map(|z| (mean + sigma * z).round() as i16);
    let add = |x: &mut u8, bits: u64| {
        let sum = i16::from(*x).saturating_add(noise[bits as usize % N]);
        *x = sum.clamp(0, 255) as u8;
    };
    // Five bytes per random number.
    let (fives, rest) = image.as_chunks_mut::<5>();
    for five in fives {
        let bits = rng.next_u64();
        for (it, x) in five.iter_mut().enumerate() {
            add(x, bits >> (12 * it));
        }
    }
    for x in rest {
        add(x, rng.next_u64());
    }
}

/// The quantile of the standard normal distribution at `p`, in 0..1: Newton's method.
fn quantile(p: f64) -> f64 {
    let mut z = 0.0;
    // Starting from 0, each step stays short of the root, so it never overshoots.
    for _ in 0..60 {
        let density = (-z * z / 2.0_f64).exp() / std::f64::consts::TAU.sqrt();
        let step = (p - below(z, density)) / density;
        z += step;
        if step.abs() < 1e-12 {
            break;
        }
    }
    z
}

/// The standard normal distribution function: 1/2 + φ(z) (z + z³/3 + z⁵/(3·5) + …).
fn below(z: f64, density: f64) -> f64 {
    let (mut sum, mut term, mut odd) = (0.0, z, 1.0);
    while term != 0.0 && sum + term != sum {
        sum += term;
        odd += 2.0;
        term *= z * z / odd;
    }
    0.5 + density * sum
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{NORMAL, change, quantile};
    use crate::Image;

    #[test]
    fn quantiles_are_those_of_the_normal_distribution() {
        for (p, z) in [(0.5, 0.0), (0.975, 1.959_963_984_540_054), (0.000_1, -3.719_016_485_455_68)]
        {
            assert!((quantile(p) - z).abs() < 1e-9, "{p}: {}", quantile(p));
        }
        assert!(NORMAL.is_sorted());
        assert!((NORMAL[4095] + NORMAL[0]).abs() < 1e-5, "it is symmetric");
    }

    #[test]
    fn noise_has_the_given_mean_and_standard_deviation() {
        let mut image = Image::from_pixel(300, 200, image::Rgb([120; 3]));
        change(&mut image, 0.02, 0.1, &mut Seed(0).stream("test"));
        let n = image.len() as f64;
        let mean = image.iter().map(|&it| f64::from(it)).sum::<f64>() / n;
        let off = image.iter().map(|&it| (f64::from(it) - mean).powi(2)).sum::<f64>() / n;
        assert!((mean - 125.1).abs() < 0.3, "{mean}");
        assert!((off.sqrt() - 25.5).abs() < 0.2, "{}", off.sqrt());
        let beyond = image.iter().filter(|&&it| (f64::from(it) - mean).abs() > 51.0).count();
        assert!((beyond as f64 / n - 0.0455).abs() < 0.005, "{beyond}");
    }
}
