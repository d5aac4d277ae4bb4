//! Operations on one RGB8 picture. One file an operation.

mod center_crop;
mod color_jitter;
mod horizontal_flip;
mod random_crop;
mod resize;
mod resize_shorter;

use base::Rng;
use image::RgbImage;

pub use self::{
    center_crop::CenterCrop, horizontal_flip::HorizontalFlip, random_crop::RandomCrop,
    resize::Filter, resize_shorter::ResizeShorter,
};
pub(crate) use self::{color_jitter::grey, resize::resize};

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
        /// Left and right exchanged, with probability `p`.
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
    fn apply(&self, picture: Picture, rng: &mut Rng) -> Result<Picture, String>;

    /// Whether two draws may differ.
    fn is_random(&self) -> bool;

    /// The `[height, width]` that the operation gives to pictures of any size, if it does.
    fn gives_size(&self) -> Option<[usize; 2]> {
        None
    }

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String> {
        None
    }
}

/// The part of a picture of `size` whose upper left corner is at `top` and `left`.
fn crop(picture: &Picture, [top, left]: [usize; 2], [height, width]: [usize; 2]) -> Picture {
    let (top, left) = (top as u32, left as u32);
    image::imageops::crop_imm(picture, left, top, width as u32, height as u32).to_image()
}

/// How much larger a picture is than a part of `size`, or why it has no such part.
fn room(picture: &Picture, [height, width]: [usize; 2]) -> Result<[usize; 2], String> {
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    match (h.checked_sub(height), w.checked_sub(width)) {
        (Some(below), Some(right)) => Ok([below, right]),
        _ => Err(format!(
            "a picture of {h}x{w} has no part of {height}x{width}: put a `resize` before the crop"
        )),
    }
}

/// What is wrong with a size, if anything is.
fn size_problem(size: [usize; 2]) -> Option<String> {
    let range = 1..=16_384;
    (!range.contains(&size[0]) || !range.contains(&size[1]))
        .then(|| format!("`size` is [height, width] in pixels, not {size:?}"))
}
