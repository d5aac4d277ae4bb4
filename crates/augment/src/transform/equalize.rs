//! Equalises the histogram of each channel.
//!
//! torchvision's `equalize` on PIL images: y is the number of smaller values plus half a step, in steps of
//! a 255th of all values that are not the largest. A channel of one value is unchanged.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{
    Transform,
    tables::{IDENTITY, Table, histograms, look_up_each},
};
use crate::{Canvas, Image, OpError};

/// `kind = "equalize"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Equalize {}

impl Transform for Equalize {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        change(canvas.pixels()?);
        Ok(())
    }

    fn is_random(&self) -> bool {
        false
    }
}

/// Equalises the histograms.
pub(super) fn change(image: &mut Image) {
    let tables = histograms(image).map(|it| equalized(&it));
    look_up_each(image, &tables);
}

fn equalized(counts: &[u32; 256]) -> Table {
    let all: u32 = counts.iter().sum();
    let largest = counts.iter().rfind(|it| **it > 0).copied().unwrap_or_default();
    let step = (all - largest) / 255;
    if step == 0 {
        return IDENTITY;
    }
    let mut below = step / 2;
    counts.map(|count| {
        // Values above the largest would be mapped above 255, but do not occur.
        let level = (below / step).min(255) as u8;
        below += count;
        level
    })
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::transform::golden::check_golden;

    #[test]
    fn agrees_with_torchvision() {
        check_golden("equalize", 0, |_, image| change(image));
    }
}
