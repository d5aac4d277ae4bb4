//! Converts the image to greyscale: each channel becomes the pixel's luma.
//!
//! The luma is that of ITU-R 601. torchvision's `Grayscale` with three channels, on PIL images.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{Transform, tables::each_pixel};
use crate::{Canvas, Image, OpError, rgb::grey};

/// `kind = "grayscale"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grayscale {}

impl Transform for Grayscale {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        change(canvas.pixels()?);
        Ok(())
    }

    fn is_random(&self) -> bool {
        false
    }
}

fn change(image: &mut Image) {
    each_pixel(image, |pixel| [grey(pixel); 3]);
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::transform::golden::check_golden;

    #[test]
    fn agrees_with_torchvision() {
        check_golden("grayscale", 0, |_, image| change(image));
    }
}
