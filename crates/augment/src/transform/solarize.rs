//! Solarize: inverts bright bytes.
//!
//! y = 255 - x if x is at least the threshold. torchvision's `solarize`.

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
    /// Bytes of at least this value are inverted: 256 for none.
    pub threshold: f64,
}

impl Default for Solarize {
    /// The default of PIL and albumentations.
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
            format!("`threshold` must be in 0..=256 (256 inverts nothing), not {}", self.threshold)
        })
    }
}

/// Inverts values of at least the threshold.
pub(super) fn change(image: &mut Image, threshold: f64) {
    look_up(image, &table(|x| if f64::from(x) < threshold { x } else { 255 - x }));
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::transform::golden::check_golden;

    #[test]
    fn agrees_with_torchvision() {
        check_golden("solarize", 0, |case, image| change(image, case.to("threshold")));
    }
}
