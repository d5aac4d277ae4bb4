//! Operations on one RGB8 picture. One file an operation.

mod center_crop;
mod color_jitter;
#[cfg(test)]
mod golden;
mod hsv;
mod tables;
mod horizontal_flip;
mod random_crop;
mod resize;
mod resize_shorter;
#[cfg(test)]
mod zoo;

use base::Rng;
use image::RgbImage;

use crate::{Canvas, OpError};

pub use self::{
    center_crop::CenterCrop, horizontal_flip::HorizontalFlip, random_crop::RandomCrop,
    resize::Filter, resize_shorter::ResizeShorter,
};

/// A picture in memory: RGB8.
pub type Picture = RgbImage;

base::choice! {
    /// An entry of `[augment] train` or `eval`.
    pub enum PictureOpConfig: dyn PictureOp {
        /// Both sides to a given size, antialiased.
        "resize" => Resize(resize::Resize),
        /// The shorter side to a given size and the longer in proportion, antialiased.
        "resize_shorter" => ResizeShorter(resize_shorter::ResizeShorter),
        /// The middle of the picture.
        "center_crop" => CenterCrop(center_crop::CenterCrop),
        /// A part of the picture, anywhere.
        "random_crop" => RandomCrop(random_crop::RandomCrop),
        /// Left and right exchanged.
        "horizontal_flip" => HorizontalFlip(horizontal_flip::HorizontalFlip),
        /// Brightness, contrast and saturation changed at random, in random order.
        "color_jitter" => ColorJitter(color_jitter::ColorJitter),
    }
}

/// A change to a picture.
pub trait PictureOp {
    /// Changes the picture. All randomness comes from `rng`.
    ///
    /// # Errors
    /// A picture that the operation cannot be applied to; the text says what to do.
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError>;

    /// Whether two draws may differ.
    fn is_random(&self) -> bool;

    /// How often it is done where nothing is said.
    fn usual_p(&self) -> f64 {
        1.0
    }

    /// The `[height, width]` of what comes out, where it is the same for all pictures; `before` is that
    /// of what comes in, likewise.
    fn size_after(&self, before: Option<[usize; 2]>) -> Option<[usize; 2]> {
        before
    }

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String> {
        None
    }

    /// Does it to a picture by itself.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn on(&self, picture: Picture, rng: &mut Rng) -> Result<Picture, OpError> {
        let mut canvas = Canvas::from(picture);
        self.apply(&mut canvas, rng)?;
        Ok(canvas.finish()?)
    }
}

/// How much larger a picture is than a part of `size`, or why it has no such part.
fn room([h, w]: [usize; 2], [height, width]: [usize; 2]) -> Result<[usize; 2], OpError> {
    match (h.checked_sub(height), w.checked_sub(width)) {
        (Some(below), Some(right)) => Ok([below, right]),
        _ => Err(OpError::Unfit(format!(
            "a picture of {h}x{w} has no part of {height}x{width}: put a `resize` before the crop"
        ))),
    }
}

/// What is wrong with a size, if anything is.
fn size_problem(size: [usize; 2]) -> Option<String> {
    let range = 1..=16_384;
    (!range.contains(&size[0]) || !range.contains(&size[1]))
        .then(|| format!("`size` is [height, width] in pixels, not {size:?}"))
}
