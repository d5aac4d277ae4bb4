//! The measurements of one image.

use augment::{Image, decode_whole};
use sha2::{Digest as _, Sha256};

use super::{difference_hash::DifferenceHash, grey::grey};
use crate::{Content, measure::ColourSums};

/// The summary of an image.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ImageSummary {
    /// `[height, width]`, upright.
    pub(super) size: [usize; 2],
    /// SHA-256 of the file.
    pub(super) bytes: [u8; 32],
    /// SHA-256 of the size and the pixels.
    pub(super) pixels: [u8; 32],
    /// The perceptual hash.
    pub(super) hash: DifferenceHash,
    pub(super) colours: ColourSums,
}

impl ImageSummary {
    /// Reads, decodes and measures an image, and passes it to `look`; or returns why it cannot be read.
    pub(super) fn of(
        content: &Content,
        max_pixels: u64,
        look: &dyn Fn(&Image),
    ) -> Result<ImageSummary, String> {
        let bytes = content.bytes().map_err(|err| err.to_string())?;
        let image = decode_whole(&bytes, max_pixels).map_err(|err| err.to_string())?;
        look(&image);
        let size = [image.height(), image.width()];
        let mut pixels = Sha256::new();
        size.iter().for_each(|it| pixels.update(it.to_le_bytes()));
        pixels.update(image.as_raw());
        Ok(ImageSummary {
            size: size.map(|it| it as usize),
            bytes: Sha256::digest(&bytes).into(),
            pixels: pixels.finalize().into(),
            hash: DifferenceHash::of(&image),
            colours: ColourSums::of(&image),
        })
    }

    /// Returns the mean grey level, from 0 to 255.
    pub(super) fn brightness(&self) -> f64 {
        grey(self.colours.sum) as f64 / 1000.0 / self.colours.n_pixels as f64
    }
}
