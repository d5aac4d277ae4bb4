//! Flips the image horizontally.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::Transform;
use crate::{Canvas, OpError};

/// `kind = "horizontal_flip"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HorizontalFlip {}

impl Transform for HorizontalFlip {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        canvas.flip(1);
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

    use super::{HorizontalFlip, Transform as _};
    use crate::Image;

    #[test]
    fn the_left_edge_becomes_the_right_one() {
        let image = Image::from_fn(3, 1, |x, _| image::Rgb([x as u8; 3]));
        let flipped = HorizontalFlip {}.on(image, &mut Seed(0).stream("test")).unwrap();
        assert_eq!(flipped.into_raw(), [2, 2, 2, 1, 1, 1, 0, 0, 0]);
    }
}
