//! Randomly shifts hue, saturation and value.
//!
//! Each shift is uniform in plus or minus its setting, in units of OpenCV's bytes: the hue wraps around at
//! 180, saturation and value are clipped at 0 and 255. Grey stays grey.
//!
//! albumentations' `HueSaturationValue`, which truncates negative shifts and rounds positive ones.

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{
    Transform,
    hsv::opencv,
    strength_problem,
    tables::{Table, each_pixel, table},
};
use crate::{Canvas, Image, OpError};

/// `kind = "hue_saturation_value"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HueSaturationValue {
    /// The maximum hue shift, of 180.
    pub hue: f64,
    /// The maximum saturation shift, of 255.
    pub saturation: f64,
    /// The maximum value shift, of 255.
    pub value: f64,
}

impl Default for HueSaturationValue {
    /// albumentations' defaults.
    fn default() -> HueSaturationValue {
        HueSaturationValue { hue: 20.0, saturation: 30.0, value: 20.0 }
    }
}

impl Transform for HueSaturationValue {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let limits = [self.hue, self.saturation, self.value];
        let shifts = limits.map(|it| rng.random_range(-it..=it));
        change(canvas.pixels()?, shifts);
        Ok(())
    }

    fn is_random(&self) -> bool {
        [self.hue, self.saturation, self.value] != [0.0; 3]
    }

    fn problem(&self) -> Option<String> {
        strength_problem("hue", self.hue, 180.0)
            .or_else(|| strength_problem("saturation", self.saturation, 255.0))
            .or_else(|| strength_problem("value", self.value, 255.0))
    }
}

/// Shifts all three.
fn change(image: &mut Image, [hue, saturation, value]: [f64; 3]) {
    if [hue, saturation, value] == [0.0; 3] {
        return;
    }
    let hues = f64::from(opencv::HUES);
    let hues = table(|it| (f64::from(it) + hue).rem_euclid(hues) as u8);
    let mut saturations = shifted(saturation);
    saturations[0] = 0;
    let values = shifted(value);
    each_pixel(image, |pixel| {
        let [h, s, v] = opencv::from_rgb(pixel).map(usize::from);
        opencv::to_rgb([hues[h], saturations[s], values[v]])
    });
}

fn shifted(by: f64) -> Table {
    let by = if by > 0.0 { by.round() } else { by };
    table(|it| (f64::from(it) + by) as u8)
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::transform::golden::check_golden;

    #[test]
    fn agrees_with_albumentations() {
        check_golden("hue_saturation_value", 3, |case, image| {
            change(image, case.to("shifts"));
        });
    }
}
