//! Posterize: keeps only the upper bits of each byte.
//!
//! torchvision's `posterize`, with the same `bits`.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{
    Transform,
    tables::{look_up, table},
};
use crate::{Canvas, Image, OpError};

/// `kind = "posterize"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Posterize {
    /// The number of bits to keep: 1..=8.
    pub bits: u32,
}

impl Default for Posterize {
    /// albumentations' default.
    fn default() -> Posterize {
        Posterize { bits: 4 }
    }
}

impl Transform for Posterize {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        change(canvas.pixels()?, self.bits);
        Ok(())
    }

    fn is_random(&self) -> bool {
        false
    }

    fn problem(&self) -> Option<String> {
        (!(1..=8).contains(&self.bits)).then(|| {
            format!("`bits`, the number of bits to keep, must be 1 to 8, not {}", self.bits)
        })
    }
}

/// Keeps the upper `bits`, 1..=8.
pub(super) fn change(image: &mut Image, bits: u32) {
    let kept = 0xff_u8 << (8 - bits);
    look_up(image, &table(|x| x & kept));
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::transform::golden::check_golden;

    #[test]
    fn agrees_with_torchvision() {
        check_golden("posterize", 0, |case, image| change(image, case.to("bits")));
    }
}
