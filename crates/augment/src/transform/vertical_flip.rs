//! Flips the image vertically.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::Transform;
use crate::{Canvas, OpError};

/// `kind = "vertical_flip"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VerticalFlip {}

impl Transform for VerticalFlip {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        canvas.flip(0);
        Ok(())
    }

    fn is_random(&self) -> bool {
        false
    }

    /// The usual probability.
    fn usual_p(&self) -> f64 {
        0.5
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{Transform as _, VerticalFlip};
    use crate::Image;

    #[test]
    fn the_top_becomes_the_bottom() {
        let image = Image::from_fn(1, 3, |_, y| image::Rgb([y as u8; 3]));
        let flipped = VerticalFlip {}.on(image, &mut Seed(0).stream("test")).unwrap();
        assert_eq!(flipped.into_raw(), [2, 2, 2, 1, 1, 1, 0, 0, 0]);
    }
}
