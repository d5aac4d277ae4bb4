//! Erases a random rectangle.
//!
//! The area is uniform in a range of fractions of the image, and height / width = eᵘ with u uniform between
//! the logarithms of another range. A rectangle that does not fit is sampled again, at most ten times.
//!
//! torchvision's `RandomErasing`, on bytes: here a random fill is uniform, there it is normal, after
//! normalisation. The entry of `[augment] mix` of the same name erases after normalisation.

use base::Rng;
use rand::{Rng as _, RngCore as _};
use serde::{Deserialize, Serialize};

use super::{Transform, range_problem};
use crate::{Canvas, OpError, mix::rectangle};

/// `kind = "random_erasing"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomErasing {
    /// The minimum and maximum erased area, as fractions of the image.
    pub area: [f64; 2],
    /// The minimum and maximum height / width.
    pub aspect: [f64; 2],
    /// The fill of the erased rectangle.
    pub fill: Fill,
}

/// The fill of an erased rectangle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// A colour: red, green, blue.
    Constant([u8; 3]),
    /// One random colour.
    Random,
    /// A random colour for each pixel.
    Pixel,
}

impl Default for RandomErasing {
    /// torchvision's defaults.
    fn default() -> RandomErasing {
        RandomErasing { area: [0.02, 0.33], aspect: [0.3, 3.3], fill: Fill::Constant([0; 3]) }
    }
}

impl Transform for RandomErasing {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let steepness = self.aspect.map(f64::ln);
        let Some(it) = rectangle(canvas.size(), self.area, steepness, rng) else { return Ok(()) };
        let image = canvas.pixels()?;
        let one = match self.fill {
            Fill::Constant(colour) => colour,
            Fill::Random | Fill::Pixel => rng.random(),
        };
        let width = image.width() as usize * 3;
        for row in image.chunks_exact_mut(width).skip(it.top).take(it.height) {
            let erased = &mut row[it.left * 3..(it.left + it.width) * 3];
            match self.fill {
                Fill::Pixel => rng.fill_bytes(erased),
                _ => erased.as_chunks_mut::<3>().0.fill(one),
            }
        }
        Ok(())
    }

    fn is_random(&self) -> bool {
        true
    }

    /// The default of torchvision, timm and the paper.
    fn usual_p(&self) -> f64 {
        0.5
    }

    fn problem(&self) -> Option<String> {
        range_problem("area", "fractions of the image", self.area, [1e-9, 1.0])
            .or_else(|| range_problem("aspect", "heights / widths", self.aspect, [1e-3, 1e3]))
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{Fill, RandomErasing, Transform as _};
    use crate::Image;

    #[test]
    fn a_rectangle_of_the_given_area_is_erased() {
        let mut rng = Seed(0).stream("test");
        for fill in [Fill::Constant([9, 8, 7]), Fill::Random, Fill::Pixel] {
            let op = RandomErasing { area: [0.1, 0.2], fill, ..RandomErasing::default() };
            let white = Image::from_pixel(90, 60, image::Rgb([255; 3]));
            let result = op.on(white, &mut rng).unwrap();
            let share = result.pixels().filter(|it| it.0 != [255; 3]).count() as f64 / 5400.0;
            assert!((0.09..0.22).contains(&share), "{fill:?}: {share}");
            if let Fill::Constant(colour) = fill {
                assert!(result.pixels().all(|it| it.0 == colour || it.0 == [255; 3]));
            }
        }
    }
}
