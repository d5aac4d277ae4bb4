//! Brightness, contrast and saturation changed at random, in random order.
//!
//! Each factor f is uniform in max(0, 1 - s)..1 + s for its setting s, and blends the picture x with
//! a duller one d: y = d + f (x - d), cut to 0..=255 and truncated. d is black for brightness, the
//! picture's mean grey for contrast, and the pixel's grey for saturation.
//!
//! torchvision's `ColorJitter` on PIL pictures, without hue.

use base::Rng;
use rand::{Rng as _, seq::SliceRandom as _};
use serde::{Deserialize, Serialize};

use super::PictureOp;
use crate::{Canvas, OpError, Picture};

/// `kind = "color_jitter"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitter {
    /// How far brightness may go: its factor is in 1 - b..1 + b.
    pub brightness: f64,
    /// How far contrast may go.
    pub contrast: f64,
    /// How far saturation may go.
    pub saturation: f64,
}

impl Default for ColorJitter {
    /// A mild change.
    fn default() -> ColorJitter {
        ColorJitter { brightness: 0.2, contrast: 0.2, saturation: 0.2 }
    }
}

/// One of the three changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Brightness,
    Contrast,
    Saturation,
}

impl PictureOp for ColorJitter {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let strengths = [
            (Change::Brightness, self.brightness),
            (Change::Contrast, self.contrast),
            (Change::Saturation, self.saturation),
        ];
        let mut changes = strengths.map(|(change, strength)| {
            (change, rng.random_range((1.0 - strength).max(0.0)..=1.0 + strength))
        });
        changes.shuffle(rng);
        for (change, factor) in changes {
            // A factor of 1 changes nothing, not even by rounding.
            if factor != 1.0 {
                change.apply(canvas.pixels()?, factor as f32);
            }
        }
        Ok(())
    }

    fn is_random(&self) -> bool {
        [self.brightness, self.contrast, self.saturation].iter().any(|&it| it > 0.0)
    }

    fn problem(&self) -> Option<String> {
        let settings = [
            ("brightness", self.brightness),
            ("contrast", self.contrast),
            ("saturation", self.saturation),
        ];
        let (name, value) = settings.into_iter().find(|(_, it)| !(*it >= 0.0 && it.is_finite()))?;
        Some(format!("`{name}` is how far the factor may be from 1, so 0 or more, not {value}"))
    }
}

impl Change {
    fn apply(self, picture: &mut Picture, factor: f32) {
        match self {
            Change::Brightness => by_table(picture, |x| blend(0, x, factor)),
            Change::Contrast => {
                let sum: u64 = picture.pixels().map(|it| u64::from(grey(it.0))).sum();
                let n = u64::from(picture.width()) * u64::from(picture.height());
                let mean = (sum as f64 / n as f64 + 0.5) as u8;
                by_table(picture, |x| blend(mean, x, factor));
            }
            Change::Saturation => {
                for pixel in picture.pixels_mut() {
                    let grey = grey(pixel.0);
                    pixel.0 = pixel.0.map(|x| blend(grey, x, factor));
                }
            }
        }
    }
}

/// Replaces every byte by what `f` makes of its value.
fn by_table(picture: &mut Picture, f: impl Fn(u8) -> u8) {
    let table: [u8; 256] = std::array::from_fn(|it| f(it as u8));
    for byte in picture.iter_mut() {
        *byte = table[usize::from(*byte)];
    }
}

/// d + f (x - d), cut off at the ends and truncated, in PIL's precision.
fn blend(dull: u8, x: u8, factor: f32) -> u8 {
    let (dull, x) = (f32::from(dull), f32::from(x));
    (dull + factor * (x - dull)).clamp(0.0, 255.0) as u8
}

/// The luma of ITU-R 601, in PIL's fixed point.
pub(crate) fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use testkit::Golden;

    use super::{Change, Picture};

    #[test]
    fn each_change_is_the_one_of_torchvision() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/pictures");
        let source = image::open(dir.join("source.png")).unwrap().into_rgb8();
        let golden = Golden::read("pictures").at("color");
        for (name, change) in [
            ("brightness", Change::Brightness),
            ("contrast", Change::Contrast),
            ("saturation", Change::Saturation),
        ] {
            for case in golden.at(name).list() {
                let mut picture: Picture = source.clone();
                change.apply(&mut picture, case.to::<f64>("factor") as f32);
                assert_eq!(picture.into_raw(), case.to::<Vec<u8>>("picture"), "{name}");
            }
        }
    }
}
