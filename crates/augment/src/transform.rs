//! Operations on one RGB8 image. One file an operation.

mod affine;
mod autocontrast;
mod background;
mod brightness_contrast;
mod center_crop;
mod clahe;
mod color_jitter;
mod elastic;
mod equalize;
mod face_crop;
mod fastai;
mod gamma;
mod gaussian_blur;
mod gaussian_noise;
#[cfg(test)]
mod golden;
mod grayscale;
mod grid_distortion;
mod horizontal_flip;
mod hsv;
mod hue_saturation_value;
mod invert;
mod jpeg_quality;
mod lab;
mod one_of;
mod optical_distortion;
mod pad;
mod perspective;
mod policy;
mod posterize;
mod rand_augment;
mod random_crop;
mod random_erasing;
mod random_resized_crop;
mod resize;
mod resize_shorter;
mod rotate;
mod sharpen;
mod solarize;
mod strip;
mod tables;
mod trivial_augment;
mod vertical_flip;
#[cfg(test)]
mod zoo;

use base::Rng;
use image::RgbImage;

use crate::{Canvas, OpError};

pub(crate) use self::color_jitter::grey;
pub use self::{
    center_crop::CenterCrop,
    horizontal_flip::HorizontalFlip,
    random_crop::RandomCrop,
    resize::{Filter, Resize},
    resize_shorter::ResizeShorter,
};

/// An image in memory: RGB8.
pub type Image = RgbImage;

base::choice! {
    /// An entry of `[augment] train` or `eval`.
    pub enum TransformConfig: dyn Transform {
        /// Both sides to a given size, antialiased.
        "resize" => Resize(resize::Resize),
        /// The shorter side to a given size and the longer in proportion, antialiased.
        "resize_shorter" => ResizeShorter(resize_shorter::ResizeShorter),
        /// The middle of the image.
        "center_crop" => CenterCrop(center_crop::CenterCrop),
        /// A part of the image, anywhere.
        "random_crop" => RandomCrop(random_crop::RandomCrop),
        /// A part of the image, of any size, shape and place, made one size.
        "random_resized_crop" => RandomResizedCrop(random_resized_crop::RandomResizedCrop),
        /// The image on a larger ground.
        "pad" => Pad(pad::Pad),
        /// Left and right exchanged.
        "horizontal_flip" => HorizontalFlip(horizontal_flip::HorizontalFlip),
        /// Top and bottom exchanged.
        "vertical_flip" => VerticalFlip(vertical_flip::VerticalFlip),
        /// Turned about the middle by a random angle.
        "rotate" => Rotate(rotate::Rotate),
        /// Turned, shifted, scaled and sheared at random.
        "affine" => Affine(affine::Affine),
        /// As if seen from aside: each corner drawn inwards at random.
        "perspective" => Perspective(perspective::Perspective),
        /// Seen through a lens that bends straight lines.
        "optical_distortion" => OpticalDistortion(optical_distortion::OpticalDistortion),
        /// Rows and columns of cells, each stretched or narrowed at random.
        "grid_distortion" => GridDistortion(grid_distortion::GridDistortion),
        /// As if on rubber: pixels moved by a smooth random field.
        "elastic" => Elastic(elastic::Elastic),
        /// Brightness, contrast, saturation and hue changed at random, in random order.
        "color_jitter" => ColorJitter(color_jitter::ColorJitter),
        /// Brightness and contrast changed at random, as a straight line.
        "brightness_contrast" => BrightnessContrast(brightness_contrast::BrightnessContrast),
        /// Hue, saturation and value moved at random.
        "hue_saturation_value" => HueSaturationValue(hue_saturation_value::HueSaturationValue),
        /// A random power of each byte.
        "gamma" => Gamma(gamma::Gamma),
        /// The colours taken away.
        "grayscale" => Grayscale(grayscale::Grayscale),
        /// Normally distributed noise, another for each byte.
        "gaussian_noise" => GaussianNoise(gaussian_noise::GaussianNoise),
        /// Blurred by a normal distribution of random width.
        "gaussian_blur" => GaussianBlur(gaussian_blur::GaussianBlur),
        /// Sharper, or softer, at random.
        "sharpen" => Sharpen(sharpen::Sharpen),
        /// Contrast evened out tile by tile, and limited.
        "clahe" => Clahe(clahe::Clahe),
        /// The traces of a JPEG of random quality.
        "jpeg_quality" => JpegQuality(jpeg_quality::JpegQuality),
        /// Only the upper bits of each byte kept.
        "posterize" => Posterize(posterize::Posterize),
        /// Bright bytes turned to their negatives.
        "solarize" => Solarize(solarize::Solarize),
        /// Each channel's values spread so that all are about equally frequent.
        "equalize" => Equalize(equalize::Equalize),
        /// Each channel stretched from 0 to 255.
        "autocontrast" => Autocontrast(autocontrast::Autocontrast),
        /// The negative.
        "invert" => Invert(invert::Invert),
        /// A rectangle hidden.
        "random_erasing" => RandomErasing(random_erasing::RandomErasing),
        /// One operation of a list, by weight.
        "one_of" => OneOf(one_of::OneOf),
        /// Some changes of fourteen, all of one magnitude.
        "rand_augment" => RandAugment(rand_augment::RandAugment),
        /// One change of fourteen, of any magnitude.
        "trivial_augment" => TrivialAugment(trivial_augment::TrivialAugment),
        /// fastai's flip, rotation, zoom, tilt and lighting, after presizing.
        "fastai" => Fastai(fastai::Fastai),
        /// The face and what is around it.
        "face_crop" => FaceCrop(face_crop::FaceCrop),
        /// The person before something plain.
        "background" => Background(background::Background),
    }
}

/// A change to an image.
pub trait Transform {
    /// Changes the image. All randomness comes from `rng`.
    ///
    /// # Errors
    /// An image that the operation cannot be applied to; the text says what to do.
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError>;

    /// Whether two draws may differ.
    fn is_random(&self) -> bool;

    /// How often it is done where nothing is said.
    fn usual_p(&self) -> f64 {
        1.0
    }

    /// The `[height, width]` of what comes out, where it is the same for all images; `before` is that
    /// of what comes in, likewise.
    fn size_after(&self, before: Option<[usize; 2]>) -> Option<[usize; 2]> {
        before
    }

    /// Every `[height, width]` that may come out of an image of `size`, or why an image of that size is
    /// refused: with the words of [`apply`](Self::apply), for some draw.
    ///
    /// What depends on the image's content counts as if the whole image were kept.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn sizes_from(&self, size: [usize; 2]) -> Result<Vec<[usize; 2]>, OpError> {
        Ok(vec![self.size_after(Some(size)).unwrap_or(size)])
    }

    /// Whether it works something out of the image as it is in its file, slowly, which can be
    /// remembered. Such operations come before all others.
    fn studies(&self) -> bool {
        false
    }

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String> {
        None
    }

    /// Does it to an image by itself.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn on(&self, image: Image, rng: &mut Rng) -> Result<Image, OpError> {
        let mut canvas = Canvas::from(image);
        self.apply(&mut canvas, rng)?;
        Ok(canvas.finish()?)
    }
}

/// How much larger an image is than a part of `size`, or why it has no such part.
fn room([h, w]: [usize; 2], [height, width]: [usize; 2]) -> Result<[usize; 2], OpError> {
    match (h.checked_sub(height), w.checked_sub(width)) {
        (Some(below), Some(right)) => Ok([below, right]),
        _ => Err(OpError::Unfit(format!(
            "an image of {h}x{w} has no part of {height}x{width}: put a `resize` before the crop"
        ))),
    }
}

/// What is wrong with a size, if anything is.
fn size_problem(size: [usize; 2]) -> Option<String> {
    let range = 1..=16_384;
    (!range.contains(&size[0]) || !range.contains(&size[1]))
        .then(|| format!("`size` is [height, width] in pixels, not {size:?}"))
}

/// What is wrong with the range of what is drawn, if anything is: `what` in [least, greatest], both
/// within `bounds`.
fn range_problem(name: &str, what: &str, range: [f64; 2], bounds: [f64; 2]) -> Option<String> {
    let is_fine = bounds[0] <= range[0] && range[0] <= range[1] && range[1] <= bounds[1];
    (!is_fine).then(|| {
        format!(
            "`{name}` is the least and the greatest of {what}, in {}..={}, not {range:?}",
            bounds[0], bounds[1]
        )
    })
}

/// What is wrong with how far something may go, if anything is.
fn strength_problem(name: &str, value: f64, most: f64) -> Option<String> {
    (!(0.0..=most).contains(&value))
        .then(|| format!("`{name}` is in 0..={most}, and 0 changes nothing; not {value}"))
}
