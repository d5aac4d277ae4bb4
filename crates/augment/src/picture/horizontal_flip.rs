//! Left and right exchanged.

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{Picture, PictureOp};

/// `kind = "horizontal_flip"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HorizontalFlip {
    /// How often, in 0..=1.
    pub p: f64,
}

impl Default for HorizontalFlip {
    /// Every other picture: everybody's setting.
    fn default() -> HorizontalFlip {
        HorizontalFlip { p: 0.5 }
    }
}

impl PictureOp for HorizontalFlip {
    fn apply(&self, mut picture: Picture, rng: &mut Rng) -> Result<Picture, String> {
        if rng.random_bool(self.p) {
            image::imageops::flip_horizontal_in_place(&mut picture);
        }
        Ok(picture)
    }

    fn is_random(&self) -> bool {
        self.p > 0.0 && self.p < 1.0
    }

    fn problem(&self) -> Option<String> {
        (!(0.0..=1.0).contains(&self.p)).then(|| format!("`p` is a probability, not {}", self.p))
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{HorizontalFlip, Picture, PictureOp as _};

    #[test]
    fn the_left_edge_becomes_the_right_one() {
        let picture = Picture::from_fn(3, 1, |x, _| image::Rgb([x as u8; 3]));
        let flipped =
            HorizontalFlip { p: 1.0 }.apply(picture, &mut Seed(0).stream("test")).unwrap();
        assert_eq!(flipped.into_raw(), [2, 2, 2, 1, 1, 1, 0, 0, 0]);
    }
}
