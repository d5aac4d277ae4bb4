//! Randomly changes brightness and contrast by a linear function.
//!
//! y = a x + b m, clipped to 0..=255 and truncated, with a uniform in 1 - c..1 + c for contrast c and b
//! uniform in plus or minus the brightness. m is 255, or the mean of the image's bytes.
//!
//! albumentations' `RandomBrightnessContrast`, without its `ensure_safe_range`.

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{
    Transform, strength_problem,
    tables::{look_up, table},
};
use crate::{Canvas, Image, OpError};

/// `kind = "brightness_contrast"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrightnessContrast {
    /// The maximum shift, as a fraction of m.
    pub brightness: f64,
    /// The maximum distance of the factor from 1.
    pub contrast: f64,
    /// Whether m is 255 instead of the image's mean.
    pub brightness_by_max: bool,
}

impl Default for BrightnessContrast {
    /// albumentations' defaults.
    fn default() -> BrightnessContrast {
        BrightnessContrast { brightness: 0.2, contrast: 0.2, brightness_by_max: true }
    }
}

impl Transform for BrightnessContrast {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let alpha = 1.0 + rng.random_range(-self.contrast..=self.contrast);
        let beta = rng.random_range(-self.brightness..=self.brightness);
        change(canvas.pixels()?, alpha, beta, self.brightness_by_max);
        Ok(())
    }

    fn is_random(&self) -> bool {
        self.brightness > 0.0 || self.contrast > 0.0
    }

    fn problem(&self) -> Option<String> {
        strength_problem("brightness", self.brightness, 100.0)
            .or_else(|| strength_problem("contrast", self.contrast, 100.0))
    }
}

/// Multiplies by `alpha` and adds the fraction `beta` of 255, or of the mean.
fn change(image: &mut Image, alpha: f64, beta: f64, by_max: bool) {
    let of = if by_max {
        255.0
    } else {
        let sum: u64 = image.iter().map(|&it| u64::from(it)).sum();
        sum as f64 / image.len() as f64
    };
    let (alpha, shift) = (alpha as f32, (beta * of) as f32);
    look_up(image, &table(|x| (f32::from(x) * alpha + shift) as u8));
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::transform::golden::check_golden;

    #[test]
    fn agrees_with_albumentations() {
        check_golden("brightness_contrast", 0, |case, image| {
            change(image, case.to("alpha"), case.to("beta"), case.to("by_max"));
        });
    }
}
