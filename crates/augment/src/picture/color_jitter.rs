//! Brightness, contrast, saturation and hue changed at random, in random order.
//!
//! Each factor f is uniform in max(0, 1 - s)..1 + s for its setting s, and blends the picture x with
//! a duller one d: y = d + f (x - d), cut to 0..=255 and truncated. d is black for brightness, the
//! picture's mean grey for contrast, and the pixel's grey for saturation. The hue is turned by a part
//! of the circle, uniform in -s..s.
//!
//! torchvision's `ColorJitter` on PIL pictures, bit for bit; or albumentations' of the same name, where
//! OpenCV's hue has 180 steps instead of 256, the mean grey is not rounded, and saturation is. Changes
//! of a byte by its value alone are collected in one table, so the picture is gone through once for
//! saturation, once for hue, and once for what is left.

use base::Rng;
use rand::{Rng as _, seq::SliceRandom as _};
use serde::{Deserialize, Serialize};

use super::{
    PictureOp,
    hsv::{opencv, pil},
    tables::{Table, UNCHANGED, each_pixel, look_up, table, then},
};
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
    /// How far the hue may be turned, as a part of the circle of colours: at most 0.5.
    pub hue: f64,
    /// Whose arithmetic.
    pub definition: Definition,
}

/// Whose `ColorJitter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Definition {
    /// torchvision's, on PIL pictures.
    #[default]
    Torchvision,
    /// albumentations', on OpenCV.
    Albumentations,
}

impl Default for ColorJitter {
    /// A mild change.
    fn default() -> ColorJitter {
        ColorJitter {
            brightness: 0.2,
            contrast: 0.2,
            saturation: 0.2,
            hue: 0.0,
            definition: Definition::Torchvision,
        }
    }
}

/// One of the four changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Brightness,
    Contrast,
    Saturation,
    Hue,
}

impl PictureOp for ColorJitter {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let strengths = [
            (Change::Brightness, self.brightness),
            (Change::Contrast, self.contrast),
            (Change::Saturation, self.saturation),
        ];
        let mut changes = Vec::from(strengths.map(|(change, strength)| {
            (change, rng.random_range((1.0 - strength).max(0.0)..=1.0 + strength))
        }));
        // Without hue, as many draws as there were before it came.
        if self.hue > 0.0 {
            changes.push((Change::Hue, rng.random_range(-self.hue..=self.hue)));
        }
        changes.shuffle(rng);
        change(canvas.pixels()?, &changes, self.definition);
        Ok(())
    }

    fn is_random(&self) -> bool {
        [self.brightness, self.contrast, self.saturation, self.hue].iter().any(|&it| it > 0.0)
    }

    fn problem(&self) -> Option<String> {
        if !(0.0..=0.5).contains(&self.hue) {
            return Some(format!(
                "`hue` is how far the circle of colours may be turned, in 0..=0.5, not {}",
                self.hue
            ));
        }
        let settings = [
            ("brightness", self.brightness),
            ("contrast", self.contrast),
            ("saturation", self.saturation),
        ];
        let (name, value) = settings.into_iter().find(|(_, it)| !(*it >= 0.0 && it.is_finite()))?;
        Some(format!("`{name}` is how far the factor may be from 1, so 0 or more, not {value}"))
    }
}

/// Makes changes one after the other, each with its factor, or with its part of the circle.
pub(super) fn change(picture: &mut Picture, changes: &[(Change, f64)], definition: Definition) {
    let mut bytes = UNCHANGED;
    for &(change, factor) in changes {
        let f = factor as f32;
        match (change, definition) {
            // Not even by rounding.
            (Change::Hue, _) if factor == 0.0 => {}
            (Change::Brightness | Change::Contrast | Change::Saturation, _) if factor == 1.0 => {}
            (Change::Brightness, _) => bytes = then(&bytes, |x| blend(0.0, x, f)),
            (Change::Contrast, Definition::Torchvision) => {
                let mean = (mean_of(picture, &bytes, grey) + 0.5).floor();
                bytes = then(&bytes, |x| blend(mean as f32, x, f));
            }
            (Change::Contrast, Definition::Albumentations) => {
                let mean = mean_of(picture, &bytes, grey_of_opencv);
                let shift = (mean * (1.0 - factor)) as f32;
                bytes = then(&bytes, |x| (f32::from(x) * f + shift) as u8);
            }
            (Change::Saturation, Definition::Torchvision) => {
                each_after(picture, &mut bytes, |pixel| {
                    let grey = f32::from(grey(pixel));
                    pixel.map(|x| blend(grey, x, f))
                });
            }
            (Change::Saturation, Definition::Albumentations) => {
                each_after(picture, &mut bytes, |pixel| {
                    let grey = f32::from(grey_of_opencv(pixel)) * (1.0 - f);
                    pixel.map(|x| (f32::from(x) * f + grey + 0.5) as u8)
                });
            }
            (Change::Hue, Definition::Torchvision) => {
                let shift = (factor * 255.0) as i32 as u8;
                each_after(picture, &mut bytes, |pixel| {
                    let [h, s, v] = pil::from_rgb(pixel);
                    pil::to_rgb([h.wrapping_add(shift), s, v])
                });
            }
            (Change::Hue, Definition::Albumentations) => {
                let hues = f64::from(opencv::HUES);
                let turned = table(|h| (f64::from(h) + hues * factor).rem_euclid(hues) as u8);
                each_after(picture, &mut bytes, |pixel| {
                    let [h, s, v] = opencv::from_rgb(pixel);
                    opencv::to_rgb([turned[usize::from(h)], s, v])
                });
            }
        }
    }
    if bytes != UNCHANGED {
        look_up(picture, &bytes);
    }
}

/// Replaces every pixel by what `f` makes of it after the table, which is then done.
fn each_after(picture: &mut Picture, bytes: &mut Table, f: impl Fn([u8; 3]) -> [u8; 3]) {
    let before = std::mem::replace(bytes, UNCHANGED);
    each_pixel(picture, |pixel| f(pixel.map(|it| before[usize::from(it)])));
}

/// The mean grey of a picture after a table.
fn mean_of(picture: &Picture, bytes: &Table, grey: impl Fn([u8; 3]) -> u8) -> f64 {
    let pixels = picture.as_chunks::<3>().0;
    let greys = pixels.iter().map(|it| u64::from(grey(it.map(|it| bytes[usize::from(it)]))));
    greys.sum::<u64>() as f64 / pixels.len() as f64
}

/// d + f (x - d), cut off at the ends and truncated, in PIL's precision.
pub(super) fn blend(dull: f32, x: u8, factor: f32) -> u8 {
    (dull + factor * (f32::from(x) - dull)) as u8
}

/// The luma of ITU-R 601, in PIL's fixed point.
pub(crate) fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
}

/// The same in OpenCV's.
fn grey_of_opencv([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 9_798 + u32::from(g) * 19_235 + u32::from(b) * 3_735 + 0x4000) >> 15) as u8
}

#[cfg(test)]
mod tests {
    use testkit::Golden;

    use super::{Change, Definition, change};
    use crate::picture::golden::{check, check_golden};

    const CHANGES: [(&str, Change); 4] = [
        ("brightness", Change::Brightness),
        ("contrast", Change::Contrast),
        ("saturation", Change::Saturation),
        ("hue", Change::Hue),
    ];

    #[test]
    fn each_change_is_the_one_of_torchvision() {
        let golden = Golden::read("pictures").at("color");
        for (name, kind) in &CHANGES[..3] {
            check(&golden.at(name), 0, |case, picture| {
                change(picture, &[(*kind, case.to("factor"))], Definition::Torchvision);
            });
        }
    }

    #[test]
    fn all_four_in_any_order_are_those_of_torchvision() {
        check_golden("color_jitter", 0, |case, picture| {
            let changes: Vec<(usize, f64)> = case.to("changes");
            let changes: Vec<_> = changes.iter().map(|it| (CHANGES[it.0].1, it.1)).collect();
            change(picture, &changes, Definition::Torchvision);
        });
    }

    #[test]
    fn or_those_of_albumentations() {
        check_golden("color_jitter_albumentations", 3, |case, picture| {
            let changes: Vec<(usize, f64)> = case.to("changes");
            let changes: Vec<_> = changes.iter().map(|it| (CHANGES[it.0].1, it.1)).collect();
            change(picture, &changes, Definition::Albumentations);
        });
    }
}
