//! Replaces the background behind the person.
//!
//! The background according to `cutout.rs` is filled, with a soft edge. If no face is found, head and
//! shoulders in the centre are kept.

use base::Rng;
use image::GrayImage;
use serde::{Deserialize, Serialize};

use super::Transform;
use crate::{Canvas, Filter, Image, OpError};

/// `kind = "background"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Background {
    /// The fill.
    pub fill: Fill,
}

/// The fill of the background.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// Mid-grey, 128.
    #[default]
    Grey,
    /// The background itself, blurred beyond recognition.
    Blur,
    /// The mean colour of the background.
    Mean,
}

/// The longer side of the thumbnail from which a blurred background is enlarged.
const BLURRED: usize = 12;

impl Transform for Background {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        let person = canvas.cutout()?;
        // The mask is that of the image before the pending operations, which are applied later.
        self.fill(canvas.original()?, &person);
        Ok(())
    }

    fn is_random(&self) -> bool {
        false
    }

    fn is_cached(&self) -> bool {
        true
    }
}

impl Background {
    /// Fills the background; `person` is 255 where the image is unchanged.
    fn fill(&self, image: &mut Image, person: &GrayImage) {
        let mean = mean(image, person);
        match self.fill {
            Fill::Grey => blend(image, person, |_| [128; 3]),
            Fill::Mean => blend(image, person, |_| mean),
            Fill::Blur => {
                let mut behind = image.clone();
                let inverse = GrayImage::from_fn(person.width(), person.height(), |x, y| {
                    image::Luma([255 - person.get_pixel(x, y).0[0]])
                });
                blend(&mut behind, &inverse, |_| mean);
                let behind = blurred(behind);
                let pixels = behind.as_raw();
                blend(image, person, |it| [pixels[3 * it], pixels[3 * it + 1], pixels[3 * it + 2]]);
            }
        }
    }
}

/// Blends the image with a colour for each position: `kept` is the weight of the image, 255 for all of it.
fn blend(image: &mut Image, kept: &GrayImage, colour: impl Fn(usize) -> [u8; 3]) {
    for (idx, (pixel, &kept)) in image.pixels_mut().zip(kept.iter()).enumerate() {
        let colour = colour(idx);
        for (x, other) in pixel.0.iter_mut().zip(colour) {
            let kept = u32::from(kept);
            *x = ((u32::from(*x) * kept + u32::from(other) * (255 - kept) + 127) / 255) as u8;
        }
    }
}

/// The mean colour weighted by 255 minus the mask; grey if the mask is 255 everywhere.
fn mean(image: &Image, person: &GrayImage) -> [u8; 3] {
    let (mut sums, mut n) = ([0_u64; 3], 0_u64);
    for (pixel, &person) in image.pixels().zip(person.iter()) {
        let weight = u64::from(255 - person);
        for (sum, x) in sums.iter_mut().zip(pixel.0) {
            *sum += weight * u64::from(x);
        }
        n += weight;
    }
    sums.map(|it| (it + n / 2).checked_div(n).unwrap_or(128) as u8)
}

/// The image reduced to a few pixels and enlarged again.
fn blurred(image: Image) -> Image {
    let full = [image.height() as usize, image.width() as usize];
    let longer = full[0].max(full[1]);
    let few = full.map(|it| (it * BLURRED / longer).clamp(1, it));
    Filter::Bicubic.resize(Filter::Bicubic.resize(image, few), full)
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, Rgb};

    use super::{Background, Fill};
    use crate::Image;

    /// An image of 24x24: the person is red, in the centre; the background is black and blue.
    fn filled(fill: Fill) -> Image {
        let is_person = |x: u32, y: u32| (8..16).contains(&x) && y >= 8;
        let mut image = Image::from_fn(24, 24, |x, y| match is_person(x, y) {
            true => Rgb([200, 0, 0]),
            false => Rgb([0, 0, if x % 2 == 0 { 0 } else { 100 }]),
        });
        let person = GrayImage::from_fn(24, 24, |x, y| {
            Luma([if !is_person(x, y) {
                0
            } else if y == 8 {
                51
            } else {
                255
            }])
        });
        Background { fill }.fill(&mut image, &person);
        image
    }

    #[test]
    fn the_person_is_kept_and_the_background_filled() {
        let check = |fill, behind: [u8; 3], edge: [u8; 3]| {
            let image = filled(fill);
            assert_eq!(image.get_pixel(12, 20).0, [200, 0, 0], "{fill:?}");
            assert_eq!(image.get_pixel(1, 1).0, behind, "{fill:?}");
            assert_eq!(image.get_pixel(12, 8).0, edge, "{fill:?}");
        };
        // An edge of 51 of 255 is a fifth person.
        check(Fill::Grey, [128; 3], [142, 102, 102]);
        // Four fifths of the eight red pixels of the edge are background: 200 * 6.4 / 454.4 = 2.8.
        check(Fill::Mean, [3, 0, 49], [42, 0, 39]);
    }

    #[test]
    fn a_blurred_background_contains_neither_stripes_nor_the_person() {
        let image = filled(Fill::Blur);
        for x in [1, 2, 3, 20, 21, 22] {
            let [r, g, b] = image.get_pixel(x, 12).0;
            assert!(r < 10 && g == 0 && (40..60).contains(&b), "{x}: {r} {g} {b}");
        }
        assert_eq!(image.get_pixel(12, 20).0, [200, 0, 0]);
    }
}
