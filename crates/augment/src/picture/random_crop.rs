//! A part of the picture, anywhere.
//!
//! As torchvision's `RandomCrop` without padding.

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{Picture, PictureOp, crop, room, size_problem};

/// `kind = "random_crop"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomCrop {
    /// `[height, width]` in pixels.
    pub size: [usize; 2],
}

impl Default for RandomCrop {
    /// ImageNet's usual size.
    fn default() -> RandomCrop {
        RandomCrop { size: [224, 224] }
    }
}

impl PictureOp for RandomCrop {
    fn apply(&self, picture: Picture, rng: &mut Rng) -> Result<Picture, String> {
        let corner = room(&picture, self.size)?.map(|it| rng.random_range(0..=it));
        Ok(crop(&picture, corner, self.size))
    }

    fn is_random(&self) -> bool {
        true
    }

    fn gives_size(&self) -> Option<[usize; 2]> {
        Some(self.size)
    }

    fn problem(&self) -> Option<String> {
        size_problem(self.size)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use base::Seed;

    use super::{Picture, PictureOp as _, RandomCrop};

    #[test]
    fn every_corner_is_reached() {
        let picture = Picture::from_fn(4, 5, |x, y| image::Rgb([x as u8, y as u8, 0]));
        let mut rng = Seed(0).stream("test");
        let mut corner = || {
            let part = RandomCrop { size: [4, 2] }.apply(picture.clone(), &mut rng).unwrap();
            let [x, y, _] = part.get_pixel(0, 0).0;
            (x, y)
        };
        let corners: BTreeSet<_> = (0..200).map(|_| corner()).collect();
        assert_eq!(corners, BTreeSet::from([(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]));
    }
}
