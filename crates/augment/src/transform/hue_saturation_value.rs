//! Hue, saturation and value moved at random.
//!
//! Each is uniform in plus or minus its setting, in steps of OpenCV's bytes: the hue goes around in
//! 180, saturation and value are cut off at 0 and 255. What is grey stays grey.
//!
//! albumentations' `HueSaturationValue`, which truncates what is taken away and rounds what is added.

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
    /// How far the hue may be moved, of 180.
    pub hue: f64,
    /// How far the saturation may be moved, of 255.
    pub saturation: f64,
    /// How far the value may be moved, of 255.
    pub value: f64,
}

impl Default for HueSaturationValue {
    /// albumentations'.
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

/// Moves all three.
fn change(image: &mut Image, [hue, saturation, value]: [f64; 3]) {
    if [hue, saturation, value] == [0.0; 3] {
        return;
    }
    let hues = f64::from(opencv::HUES);
    let hues = table(|it| (f64::from(it) + hue).rem_euclid(hues) as u8);
    let mut saturations = moved(saturation);
    saturations[0] = 0;
    let values = moved(value);
    each_pixel(image, |pixel| {
        let [h, s, v] = opencv::from_rgb(pixel).map(usize::from);
        opencv::to_rgb([hues[h], saturations[s], values[v]])
    });
}

fn moved(by: f64) -> Table {
    let by = if by > 0.0 { by.round() } else { by };
    table(|it| (f64::from(it) + by) as u8)
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::transform::golden::check_golden;

    #[test]
    fn it_is_the_one_of_albumentations() {
        check_golden("hue_saturation_value", 3, |case, image| {
            change(image, case.to("shifts"));
        });
    }
}
