//! Bright bytes turned to their negatives.
//!
//! y = 255 - x where x is not below the threshold. torchvision's `solarize`.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{
    Transform,
    tables::{look_up, table},
};
use crate::{Canvas, Image, OpError};

/// `kind = "solarize"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Solarize {
    /// Bytes from this on are inverted: 256 leaves all.
    pub threshold: f64,
}

impl Default for Solarize {
    /// PIL's and albumentations'.
    fn default() -> Solarize {
        Solarize { threshold: 128.0 }
    }
}

impl Transform for Solarize {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        change(canvas.pixels()?, self.threshold);
        Ok(())
    }

    fn is_random(&self) -> bool {
        false
    }

    fn problem(&self) -> Option<String> {
        (!(0.0..=256.0).contains(&self.threshold)).then(|| {
            format!("`threshold` is a byte, or 256 for none, so in 0..=256, not {}", self.threshold)
        })
    }
}

/// Inverts what is not below the threshold.
pub(super) fn change(image: &mut Image, threshold: f64) {
    look_up(image, &table(|x| if f64::from(x) < threshold { x } else { 255 - x }));
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::transform::golden::check_golden;

    #[test]
    fn it_is_the_one_of_torchvision() {
        check_golden("solarize", 0, |case, image| change(image, case.to("threshold")));
    }
}
