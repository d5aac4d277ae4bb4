//! Maximises contrast: stretches each channel so that its minimum is 0 and its maximum 255.
//!
//! torchvision's `autocontrast` on PIL images. A channel of one value is unchanged.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{
    Transform,
    tables::{IDENTITY, Table, histograms, look_up_each, table},
};
use crate::{Canvas, Image, OpError};

/// `kind = "autocontrast"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Autocontrast {}

impl Transform for Autocontrast {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        change(canvas.pixels()?);
        Ok(())
    }

    fn is_random(&self) -> bool {
        false
    }
}

/// Stretches the channels.
pub(super) fn change(image: &mut Image) {
    let tables = histograms(image).map(|it| stretched(&it));
    look_up_each(image, &tables);
}

fn stretched(counts: &[u32; 256]) -> Table {
    let least = counts.iter().position(|it| *it > 0).unwrap_or(0);
    let most = counts.iter().rposition(|it| *it > 0).unwrap_or(0);
    if most <= least {
        return IDENTITY;
    }
    let scale = 255.0 / (most - least) as f64;
    let shift = -(least as f64) * scale;
    table(|x| (f64::from(x) * scale + shift) as u8)
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::transform::golden::check_golden;

    #[test]
    fn agrees_with_torchvision() {
        check_golden("autocontrast", 0, |_, image| change(image));
    }
}
