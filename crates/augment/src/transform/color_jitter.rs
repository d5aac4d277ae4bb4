//! Randomly changes brightness, contrast, saturation and hue, in random order.
//!
//! Each factor f is uniform in max(0, 1 - s)..1 + s for its setting s, and blends the image x with a
//! degenerate one d: y = d + f (x - d), clipped to 0..=255 and truncated. d is black for brightness, the
//! image's mean grey for contrast, and the pixel's grey for saturation. The hue is shifted by a fraction of
//! the colour circle, uniform in -s..s.
//!
//! torchvision's `ColorJitter` on PIL images, bit for bit; or albumentations' of the same name, where
//! OpenCV's hue has 180 steps instead of 256, the mean grey is not rounded, and saturation is. Adjustments
//! are collected, so that there is one pass over the image, and one more for contrast, whose mean is that of
//! all pixels.

use base::Rng;
use ops::to_byte;
use rand::{Rng as _, seq::SliceRandom as _};
use serde::{Deserialize, Serialize};

use super::{
    Transform,
    hsv::{opencv, pil},
    strip::{N, Strip, each_pixel, each_strip},
    tables::{Table, table},
};
use crate::{Canvas, Image, OpError, rgb::luma};

/// `kind = "color_jitter"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitter {
    /// The strength b of the brightness: its factor is in 1 - b..1 + b.
    pub brightness: f64,
    /// The strength of the contrast, likewise.
    pub contrast: f64,
    /// The strength of the saturation, likewise.
    pub saturation: f64,
    /// The maximum hue shift, as a fraction of the colour circle: at most 0.5.
    pub hue: f64,
    /// Which library's definition.
    pub definition: Definition,
}

/// Which library's `ColorJitter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Definition {
    /// torchvision's, on PIL images.
    #[default]
    Torchvision,
    /// albumentations', on OpenCV.
    Albumentations,
}

impl Default for ColorJitter {
    /// A mild jitter.
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

/// One of the four adjustments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Brightness,
    Contrast,
    Saturation,
    Hue,
}

impl Transform for ColorJitter {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let strengths = [
            (Change::Brightness, self.brightness),
            (Change::Contrast, self.contrast),
            (Change::Saturation, self.saturation),
        ];
        let mut changes = Vec::from(strengths.map(|(change, strength)| {
            (change, rng.random_range((1.0 - strength).max(0.0)..=1.0 + strength))
        }));
        // Without hue, no number is sampled for it, as in earlier versions.
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
                "`hue` must be a fraction of the colour circle, in 0..=0.5, not {}",
                self.hue
            ));
        }
        let settings = [
            ("brightness", self.brightness),
            ("contrast", self.contrast),
            ("saturation", self.saturation),
        ];
        let (name, value) = settings.into_iter().find(|(_, it)| !(*it >= 0.0 && it.is_finite()))?;
        Some(format!(
            "`{name}`, the distance of the factor from 1, must be at least 0, not {value}"
        ))
    }
}

/// A pixelwise operation.
enum Step {
    /// Blend with a degenerate value, by a factor.
    Blend(f32, f32),
    /// Multiply by a factor, and add a shift.
    Line(f32, f32),
    Saturation(f32, Definition),
    /// Shift PIL's hue.
    Turn(i32),
    /// Map OpenCV's hues by a table.
    Hues(Box<Table>),
}

/// Applies adjustments one after the other, each with its factor, or with its fraction of the colour circle.
pub(super) fn change(image: &mut Image, changes: &[(Change, f64)], definition: Definition) {
    let mut steps = Vec::new();
    for &(change, factor) in changes {
        let f = factor as f32;
        let step = match (change, definition) {
            // The identity, without any rounding.
            (Change::Hue, _) if factor == 0.0 => continue,
            (Change::Brightness | Change::Contrast | Change::Saturation, _) if factor == 1.0 => {
                continue;
            }
            (Change::Brightness, _) => Step::Blend(0.0, f),
            (Change::Contrast, Definition::Torchvision) => {
                let mean = apply_and_mean(image, &mut steps, luma) + 0.5;
                Step::Blend(mean.floor() as f32, f)
            }
            (Change::Contrast, Definition::Albumentations) => {
                let mean = apply_and_mean(image, &mut steps, luma_of_opencv);
                Step::Line(f, (mean * (1.0 - factor)) as f32)
            }
            (Change::Saturation, _) => Step::Saturation(f, definition),
            (Change::Hue, Definition::Torchvision) => {
                Step::Turn(((factor * 255.0) as i32).rem_euclid(256))
            }
            (Change::Hue, Definition::Albumentations) => {
                let hues = f64::from(opencv::HUES);
                let shifted = |h| (f64::from(h) + hues * factor).rem_euclid(hues) as u8;
                Step::Hues(Box::new(table(shifted)))
            }
        };
        steps.push(step);
    }
    if !steps.is_empty() {
        each_strip(
            image,
            #[inline(always)]
            |strip, _| {
                for step in &steps {
                    step.on(strip);
                }
            },
        );
    }
}

/// Applies and clears `steps`, and returns the mean grey of the result.
fn apply_and_mean(image: &mut Image, steps: &mut Vec<Step>, luma: impl Fn([i32; 3]) -> i32) -> f64 {
    let mut sum = 0;
    each_strip(
        image,
        #[inline(always)]
        |strip, n| {
            for step in &*steps {
                step.on(strip);
            }
            let [r, g, b] = &mut *strip;
            let mut greys = [0; N];
            for (((grey, &mut r), &mut g), &mut b) in greys.iter_mut().zip(r).zip(g).zip(b) {
                *grey = luma([r, g, b]);
            }
            // The last strip may be shorter: a full strip is summed in registers.
            greys[n..].fill(0);
            sum += greys.iter().sum::<i32>() as u64;
        },
    );
    steps.clear();
    sum as f64 / (f64::from(image.width()) * f64::from(image.height()))
}

impl Step {
    // Loops instead of `map`, which is not always inlined.
    #[inline(always)]
    fn on(&self, strip: &mut Strip) {
        match *self {
            Step::Blend(degenerate, f) => {
                for x in strip.as_flattened_mut() {
                    *x = blended(degenerate, *x, f);
                }
            }
            Step::Line(f, shift) => {
                for x in strip.as_flattened_mut() {
                    *x = to_byte(*x as f32 * f + shift);
                }
            }
            Step::Saturation(f, Definition::Torchvision) => each_pixel(
                strip,
                #[inline(always)]
                |[r, g, b]| {
                    let grey = luma([r, g, b]) as f32;
                    [blended(grey, r, f), blended(grey, g, f), blended(grey, b, f)]
                },
            ),
            Step::Saturation(f, Definition::Albumentations) => each_pixel(
                strip,
                #[inline(always)]
                |[r, g, b]| {
                    let grey = luma_of_opencv([r, g, b]) as f32 * (1.0 - f);
                    [r as f32, g as f32, b as f32].map(|x| to_byte(x * f + grey + 0.5))
                },
            ),
            Step::Turn(by) => each_pixel(
                strip,
                #[inline(always)]
                |rgb| {
                    let [h, s, v] = pil::from_rgb(rgb);
                    pil::to_rgb([(h + by) & 255, s, v])
                },
            ),
            Step::Hues(ref shifted) => each_pixel(strip, |rgb| {
                let [h, s, v] = opencv::from_rgb(rgb.map(|it| it as u8));
                opencv::to_rgb([shifted[usize::from(h)], s, v]).map(i32::from)
            }),
        }
    }
}

/// [`luma`] in OpenCV's fixed point.
#[inline(always)]
fn luma_of_opencv([r, g, b]: [i32; 3]) -> i32 {
    (r * 9_798 + g * 19_235 + b * 3_735 + 0x4000) >> 15
}

/// d + f (x - d), clipped and truncated, in PIL's precision.
pub(super) fn blend(degenerate: f32, x: u8, factor: f32) -> u8 {
    blended(degenerate, x.into(), factor) as u8
}

#[inline(always)]
fn blended(degenerate: f32, x: i32, factor: f32) -> i32 {
    to_byte(degenerate + factor * (x as f32 - degenerate))
}

#[cfg(test)]
mod tests {
    use testkit::Golden;

    use super::{Change, Definition, change};
    use crate::transform::golden::{check, check_golden};

    const CHANGES: [(&str, Change); 4] = [
        ("brightness", Change::Brightness),
        ("contrast", Change::Contrast),
        ("saturation", Change::Saturation),
        ("hue", Change::Hue),
    ];

    #[test]
    fn each_adjustment_agrees_with_torchvision() {
        let golden = Golden::read("images").at("color");
        for (name, kind) in &CHANGES[..3] {
            check(&golden.at(name), 0, |case, image| {
                change(image, &[(*kind, case.to("factor"))], Definition::Torchvision);
            });
        }
    }

    #[test]
    fn all_four_in_any_order_agree_with_torchvision() {
        check_golden("color_jitter", 0, |case, image| {
            let changes: Vec<(usize, f64)> = case.to("changes");
            let changes: Vec<_> = changes.iter().map(|it| (CHANGES[it.0].1, it.1)).collect();
            change(image, &changes, Definition::Torchvision);
        });
    }

    #[test]
    fn all_four_in_any_order_agree_with_albumentations() {
        check_golden("color_jitter_albumentations", 3, |case, image| {
            let changes: Vec<(usize, f64)> = case.to("changes");
            let changes: Vec<_> = changes.iter().map(|it| (CHANGES[it.0].1, it.1)).collect();
            change(image, &changes, Definition::Albumentations);
        });
    }
}
