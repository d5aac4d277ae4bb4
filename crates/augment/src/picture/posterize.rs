//! Only the upper bits of each byte kept.
//!
//! torchvision's `posterize`, whose `bits` this is.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{
    PictureOp,
    tables::{look_up, table},
};
use crate::{Canvas, OpError, Picture};

/// `kind = "posterize"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Posterize {
    /// How many bits are kept: 1..=8.
    pub bits: u32,
}

impl Default for Posterize {
    /// albumentations'.
    fn default() -> Posterize {
        Posterize { bits: 4 }
    }
}

impl PictureOp for Posterize {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        change(canvas.pixels()?, self.bits);
        Ok(())
    }

    fn is_random(&self) -> bool {
        false
    }

    fn problem(&self) -> Option<String> {
        (!(1..=8).contains(&self.bits))
            .then(|| format!("`bits` is how many of a byte are kept, 1 to 8, not {}", self.bits))
    }
}

/// Keeps the upper `bits`, 1..=8.
pub(super) fn change(picture: &mut Picture, bits: u32) {
    let kept = 0xff_u8 << (8 - bits);
    look_up(picture, &table(|x| x & kept));
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::picture::golden::check_golden;

    #[test]
    fn it_is_the_one_of_torchvision() {
        check_golden("posterize", 0, |case, picture| change(picture, case.to("bits")));
    }
}
