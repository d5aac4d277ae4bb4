//! Crops a part of a given size at a given position.
//!
//! The margin around the part is divided by the position: `[0, 0]` is the upper left corner, `[1, 1]` the lower
//! right one, and `[0.5, 0.5]` is `center_crop`. The corners are those of torchvision's `FiveCrop`.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{Transform, crop_margin, size_problem};
use crate::{Canvas, OpError};

/// `kind = "crop"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Crop {
    /// `[height, width]` in pixels.
    pub size: [usize; 2],
    /// The position, `[down, right]`: the fractions of the margin that are above and to the left of the part.
    pub at: [f64; 2],
}

impl Default for Crop {
    /// The upper left corner, of the usual size for ImageNet.
    fn default() -> Crop {
        Crop { size: [224, 224], at: [0.0, 0.0] }
    }
}

impl Transform for Crop {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        let margin = crop_margin(canvas.size(), self.size)?;
        let start = |it: usize| (margin[it] as f64 * self.at[it]).round_ties_even() as usize;
        canvas.crop([0, 1].map(start), self.size);
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
        let is_inside = self.at.iter().all(|it| (0.0..=1.0).contains(it));
        let position = || format!("`at` must be [down, right], 0 to 1 each, not {:?}", self.at);
        size_problem(self.size).or_else(|| (!is_inside).then(position))
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{Crop, Transform as _};
    use crate::{Canvas, CenterCrop, Image, filter::Filter};

    #[test]
    fn positions_divide_the_margin() {
        let image = Image::from_fn(9, 7, |x, y| image::Rgb([x as u8, y as u8, 0]));
        let first = |at| {
            let part = Crop { size: [4, 4], at }.on(image.clone(), &mut Seed(0).stream("test"));
            part.unwrap().get_pixel(0, 0).0
        };
        // Margins of 3 rows and 5 columns.
        assert_eq!(first([0.0, 0.0]), [0, 0, 0]);
        assert_eq!(first([0.0, 1.0]), [5, 0, 0]);
        assert_eq!(first([1.0, 0.0]), [0, 3, 0]);
        assert_eq!(first([1.0, 0.4]), [2, 3, 0]);
        let middle = CenterCrop { size: [4, 4] }.on(image.clone(), &mut Seed(0).stream("test"));
        assert_eq!(first([0.5, 0.5]), middle.unwrap().get_pixel(0, 0).0);
    }

    #[test]
    fn the_last_part_of_a_resized_image_is_inside_of_it() {
        // 13 / 7 * 5 + 13 / 7 * 2 is more than 13 in f64.
        for n in 8..40_u32 {
            for size in 3..8_usize {
                let mut canvas = Canvas::from(Image::new(n, n));
                canvas.resize([size, size], Filter::Lanczos).unwrap();
                canvas.crop([size - 2, size - 2], [2, 2]);
                assert_eq!(canvas.finish().unwrap().dimensions(), (2, 2));
            }
        }
    }
}
