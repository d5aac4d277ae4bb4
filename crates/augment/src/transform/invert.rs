//! Inverts the colours: every byte x becomes 255 - x.
//!
//! torchvision's `invert`.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{
    Transform,
    tables::{look_up, table},
};
use crate::{Canvas, Image, OpError};

/// `kind = "invert"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Invert {}

impl Transform for Invert {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        change(canvas.pixels()?);
        Ok(())
    }

    fn is_random(&self) -> bool {
        false
    }
}

fn change(image: &mut Image) {
    look_up(image, &table(|x| 255 - x));
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::transform::golden::check_golden;

    #[test]
    fn agrees_with_torchvision() {
        check_golden("invert", 0, |_, image| change(image));
    }
}
