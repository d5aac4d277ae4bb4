//! Randomly sharpens or blurs the image.
//!
//! y = m + f (x - m), clipped to 0..=255 and truncated: m is the mean of the pixel, with weight 5, and its
//! eight neighbours; the outermost pixels are unchanged. f = 1 is the identity, 0 blurs, and above 1
//! sharpens.
//!
//! torchvision's `adjust_sharpness` on PIL images, with the factor uniform in a range.

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{Transform, color_jitter::blend, range_problem};
use crate::{Canvas, Image, OpError};

/// `kind = "sharpen"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sharpen {
    /// The minimum and maximum factor.
    pub factor: [f64; 2],
}

impl Default for Sharpen {
    /// The value of torchvision's example.
    fn default() -> Sharpen {
        Sharpen { factor: [2.0, 2.0] }
    }
}

impl Transform for Sharpen {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let factor = rng.random_range(self.factor[0]..=self.factor[1]);
        change(canvas.pixels()?, factor);
        Ok(())
    }

    fn is_random(&self) -> bool {
        self.factor[0] < self.factor[1]
    }

    fn problem(&self) -> Option<String> {
        range_problem("factor", "factors", self.factor, [0.0, 1e6])
    }
}

/// Blends with the smoothed image.
pub(super) fn change(image: &mut Image, factor: f64) {
    let (w, h) = (image.width() as usize * 3, image.height() as usize);
    if factor == 1.0 || w < 9 || h < 3 {
        return;
    }
    let factor = factor as f32;
    let bytes: &mut [u8] = image;
    // The unmodified row above, and the sums of columns.
    let mut above = bytes[..w].to_vec();
    let mut columns = vec![0_u16; w];
    for row in 1..h - 1 {
        let (upto, below) = bytes.split_at_mut((row + 1) * w);
        let here = &mut upto[row * w..];
        for ((sum, above), (here, below)) in
            columns.iter_mut().zip(&above).zip(here.iter().zip(&below[..w]))
        {
            *sum = u16::from(*above) + u16::from(*here) + u16::from(*below);
        }
        above.copy_from_slice(here);
        let sums = columns.iter().zip(&columns[3..]).zip(&columns[6..]);
        for (x, ((a, b), c)) in here[3..w - 3].iter_mut().zip(sums) {
            // The sums cannot overflow, so this is not checked. Halves do not occur in 13ths.
            let sum = a.wrapping_add(*b).wrapping_add(*c).wrapping_add(4 * u16::from(*x));
            *x = blend(f32::from(sum.wrapping_add(6) / 13), *x, factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::transform::golden::check_golden;

    #[test]
    fn agrees_with_torchvision() {
        check_golden("sharpen", 0, |case, image| change(image, case.to("factor")));
    }
}
