//! Crops the centre of the image.
//!
//! As torchvision's `center_crop`, including its rounding to even; an image that is too small is an error
//! here, not padded with black.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{Transform, crop_margin, size_problem};
use crate::{Canvas, OpError};

/// `kind = "center_crop"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CenterCrop {
    /// `[height, width]` in pixels.
    pub size: [usize; 2],
}

impl Default for CenterCrop {
    /// The usual size for ImageNet.
    fn default() -> CenterCrop {
        CenterCrop { size: [224, 224] }
    }
}

impl Transform for CenterCrop {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        let margin = crop_margin(canvas.size(), self.size)?;
        canvas.crop(margin.map(|it| (it as f64 / 2.0).round_ties_even() as usize), self.size);
        Ok(())
    }

    fn is_random(&self) -> bool {
        false
    }

    fn size_after(&self, _: Option<[usize; 2]>) -> Option<[usize; 2]> {
        Some(self.size)
    }

    fn sizes_from(&self, size: [usize; 2]) -> Result<Vec<[usize; 2]>, OpError> {
        crop_margin(size, self.size)?;
        Ok(vec![self.size])
    }

    fn problem(&self) -> Option<String> {
        size_problem(self.size)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base::Seed;
    use testkit::Golden;

    use super::{CenterCrop, Transform as _};
    use crate::Image;

    #[test]
    fn agrees_with_torchvision() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/images");
        let source = image::open(dir.join("source.png")).unwrap().into_rgb8();
        for case in Golden::read("images").at("center_crop").list() {
            let op = CenterCrop { size: case.to("size") };
            let got = op.on(source.clone(), &mut Seed(0).stream("test")).unwrap();
            assert_eq!(got.into_raw(), case.to::<Vec<u8>>("image"), "{op:?}");
        }
    }

    #[test]
    fn an_odd_margin_rounds_to_even() {
        // Margins of 3 and 1 leave 1.5 -> 2 above and 0.5 -> 0 to the left.
        let image = Image::from_fn(5, 7, |x, y| image::Rgb([x as u8, y as u8, 0]));
        let part = CenterCrop { size: [4, 4] }.on(image, &mut Seed(0).stream("test")).unwrap();
        assert_eq!(part.get_pixel(0, 0).0, [0, 2, 0]);
    }

    #[test]
    fn an_image_that_is_too_small_is_an_error() {
        let err = CenterCrop { size: [4, 4] }.on(Image::new(9, 3), &mut Seed(0).stream("test"));
        assert!(err.unwrap_err().to_string().contains("put a `resize` before"));
    }
}
