//! Compresses the image as JPEG of random quality.
//!
//! The image is encoded and decoded, without chroma subsampling (4:4:4).
//!
//! albumentations' `ImageCompression`; encoders differ, so the results agree only approximately.

use std::io::Cursor;

use base::Rng;
use image::{ImageFormat, codecs::jpeg::JpegEncoder};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::Transform;
use crate::{Canvas, Image, OpError};

/// `kind = "jpeg_quality"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JpegQuality {
    /// The minimum and maximum quality, 1..=100.
    pub quality: [u8; 2],
}

impl Default for JpegQuality {
    /// Our choice: from visible to hardly visible artefacts.
    fn default() -> JpegQuality {
        JpegQuality { quality: [50, 95] }
    }
}

impl Transform for JpegQuality {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        self.sizes_from(canvas.size())?;
        let quality = rng.random_range(self.quality[0]..=self.quality[1]);
        change(canvas.pixels()?, quality)
    }

    fn is_random(&self) -> bool {
        self.quality[0] < self.quality[1]
    }

    fn sizes_from(&self, [h, w]: [usize; 2]) -> Result<Vec<[usize; 2]>, OpError> {
        if h.max(w) > LONGEST {
            return Err(OpError::Unfit(format!(
                "the image of {h}x{w} exceeds the {LONGEST} pixels a side of a JPEG: put a `resize` \
                 before it"
            )));
        }
        Ok(vec![[h, w]])
    }

    fn problem(&self) -> Option<String> {
        let [least, most] = self.quality;
        (least < 1 || most < least || 100 < most).then(|| {
            format!("`quality` must be [minimum, maximum] in 1..=100, not {:?}", self.quality)
        })
    }
}

/// The sides of a JPEG are stored in 16 bits.
const LONGEST: usize = u16::MAX as usize;

/// Encodes and decodes the image.
fn change(image: &mut Image, quality: u8) -> Result<(), OpError> {
    let unfit =
        |err: image::ImageError| OpError::Unfit(format!("it cannot be compressed as JPEG: {err}"));
    let mut bytes = Vec::new();
    image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality)).map_err(unfit)?;
    let decoded = image::load(Cursor::new(bytes), ImageFormat::Jpeg).map_err(unfit)?;
    *image = decoded.into_rgb8();
    Ok(())
}

#[cfg(test)]
mod tests {
    use testkit::Golden;

    use super::change;
    use crate::transform::golden::source;

    #[test]
    fn approximates_opencv() {
        for case in Golden::read("colours").at("jpeg_quality").list() {
            let mut image = source();
            change(&mut image, case.to("quality")).unwrap();
            let off = |a: &[u8], b: &[u8]| {
                let sum: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
                f64::from(sum) / a.len() as f64
            };
            let want: Vec<u8> = case.to("image");
            let (from_it, change) = (off(&image, &want), off(&source(), &want));
            assert!(from_it < 0.5 * change, "{:?}: {from_it} of {change}", case.at("of"));
        }
    }
}
