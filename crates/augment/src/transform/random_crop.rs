//! Crops the image at a random position.
//!
//! As torchvision's `RandomCrop` without padding.

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{Transform, crop_margin, size_problem};
use crate::{Canvas, OpError};

/// `kind = "random_crop"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomCrop {
    /// `[height, width]` in pixels.
    pub size: [usize; 2],
}

impl Default for RandomCrop {
    /// The usual size for ImageNet.
    fn default() -> RandomCrop {
        RandomCrop { size: [224, 224] }
    }
}

impl Transform for RandomCrop {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let margin = crop_margin(canvas.size(), self.size)?;
        canvas.crop(margin.map(|it| rng.random_range(0..=it)), self.size);
        Ok(())
    }

    fn is_random(&self) -> bool {
        true
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
    use std::collections::BTreeSet;

    use base::Seed;

    use super::{RandomCrop, Transform as _};
    use crate::Image;

    #[test]
    fn every_corner_is_reached() {
        let image = Image::from_fn(4, 5, |x, y| image::Rgb([x as u8, y as u8, 0]));
        let mut rng = Seed(0).stream("test");
        let mut corner = || {
            let part = RandomCrop { size: [4, 2] }.on(image.clone(), &mut rng).unwrap();
            let [x, y, _] = part.get_pixel(0, 0).0;
            (x, y)
        };
        let corners: BTreeSet<_> = (0..200).map(|_| corner()).collect();
        assert_eq!(corners, BTreeSet::from([(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]));
    }
}
