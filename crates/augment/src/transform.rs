//! Operations on one RGB8 image. One file per operation.

mod affine;
mod autocontrast;
mod background;
mod brightness_contrast;
mod center_crop;
mod clahe;
mod color_jitter;
mod crop;
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

use crate::{Canvas, Filter, Image, OpError};

pub use self::{
    center_crop::CenterCrop, crop::Crop, horizontal_flip::HorizontalFlip, pad::Pad,
    random_crop::RandomCrop, resize::Resize, resize_shorter::ResizeShorter,
};

base::choice! {
    /// An entry of `[augment] train` or `eval`.
    pub enum TransformConfig: dyn Transform, open Own {
        /// Resize the image to a given size, antialiased.
        "resize" => Resize(resize::Resize),
        /// Resize the shorter side to a given size, keeping the aspect ratio, antialiased.
        "resize_shorter" => ResizeShorter(resize_shorter::ResizeShorter),
        /// Crop the centre of the image.
        "center_crop" => CenterCrop(center_crop::CenterCrop),
        /// Crop the image at a given position.
        "crop" => Crop(crop::Crop),
        /// Crop the image at a random position.
        "random_crop" => RandomCrop(random_crop::RandomCrop),
        /// Crop a random part of random area and aspect ratio, and resize it to a given size.
        "random_resized_crop" => RandomResizedCrop(random_resized_crop::RandomResizedCrop),
        /// Pad the image on all sides.
        "pad" => Pad(pad::Pad),
        /// Flip the image horizontally.
        "horizontal_flip" => HorizontalFlip(horizontal_flip::HorizontalFlip),
        /// Flip the image vertically.
        "vertical_flip" => VerticalFlip(vertical_flip::VerticalFlip),
        /// Rotate the image by a random angle.
        "rotate" => Rotate(rotate::Rotate),
        /// Random affine transform: rotate, translate, scale and shear.
        "affine" => Affine(affine::Affine),
        /// Random perspective transform: move each corner inwards at random.
        "perspective" => Perspective(perspective::Perspective),
        /// Barrel or pincushion distortion of a camera lens.
        "optical_distortion" => OpticalDistortion(optical_distortion::OpticalDistortion),
        /// Grid distortion: stretch or compress the rows and columns of a grid at random.
        "grid_distortion" => GridDistortion(grid_distortion::GridDistortion),
        /// Elastic transform: displace pixels by a smooth random field.
        "elastic" => Elastic(elastic::Elastic),
        /// Randomly change brightness, contrast, saturation and hue, in random order.
        "color_jitter" => ColorJitter(color_jitter::ColorJitter),
        /// Randomly change brightness and contrast by a linear function.
        "brightness_contrast" => BrightnessContrast(brightness_contrast::BrightnessContrast),
        /// Randomly shift hue, saturation and value.
        "hue_saturation_value" => HueSaturationValue(hue_saturation_value::HueSaturationValue),
        /// Random gamma correction.
        "gamma" => Gamma(gamma::Gamma),
        /// Convert the image to greyscale.
        "grayscale" => Grayscale(grayscale::Grayscale),
        /// Add Gaussian noise, independent for each channel of each pixel.
        "gaussian_noise" => GaussianNoise(gaussian_noise::GaussianNoise),
        /// Gaussian blur of random σ.
        "gaussian_blur" => GaussianBlur(gaussian_blur::GaussianBlur),
        /// Randomly sharpen or blur the image.
        "sharpen" => Sharpen(sharpen::Sharpen),
        /// Contrast-limited adaptive histogram equalisation (CLAHE).
        "clahe" => Clahe(clahe::Clahe),
        /// Compress the image as JPEG of random quality.
        "jpeg_quality" => JpegQuality(jpeg_quality::JpegQuality),
        /// Posterize: keep only the upper bits of each channel.
        "posterize" => Posterize(posterize::Posterize),
        /// Solarize: invert values of at least a threshold.
        "solarize" => Solarize(solarize::Solarize),
        /// Equalise the histogram of each channel.
        "equalize" => Equalize(equalize::Equalize),
        /// Maximise contrast: stretch each channel to 0..255.
        "autocontrast" => Autocontrast(autocontrast::Autocontrast),
        /// Invert the colours.
        "invert" => Invert(invert::Invert),
        /// Erase a random rectangle (Zhong et al., 2017).
        "random_erasing" => RandomErasing(random_erasing::RandomErasing),
        /// Apply one operation of a list, chosen by weight.
        "one_of" => OneOf(one_of::OneOf),
        /// RandAugment: apply several of fourteen operations, all of one magnitude (Cubuk et al., 2019).
        "rand_augment" => RandAugment(rand_augment::RandAugment),
        /// TrivialAugment: apply one of fourteen operations at a random magnitude (Müller and Hutter, 2021).
        "trivial_augment" => TrivialAugment(trivial_augment::TrivialAugment),
        /// fastai's `aug_transforms`: flip, rotate, zoom, warp and lighting, after presizing.
        "fastai" => Fastai(fastai::Fastai),
        /// Crop the face and its surroundings.
        "face_crop" => FaceCrop(face_crop::FaceCrop),
        /// Replace the background behind the person.
        "background" => Background(background::Background),
    }
}

/// An operation on an image.
pub trait Transform {
    /// Applies the operation to the image. All randomness comes from `rng`.
    ///
    /// # Errors
    /// If the operation cannot be applied to the image; the message says how to fix it.
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError>;

    /// Whether the result is random.
    fn is_random(&self) -> bool;

    /// The default probability of applying it.
    fn usual_p(&self) -> f64 {
        1.0
    }

    /// Returns the output `[height, width]` if it is the same for all images; `before` is the input size,
    /// likewise.
    fn size_after(&self, before: Option<[usize; 2]>) -> Option<[usize; 2]> {
        before
    }

    /// Returns every possible output `[height, width]` for an image of `size`, or the error with which
    /// [`apply`](Self::apply) rejects an image of that size for some random sample, with the same message.
    ///
    /// A crop that depends on the image's content counts as the whole image.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn sizes_from(&self, size: [usize; 2]) -> Result<Vec<[usize; 2]>, OpError> {
        Ok(vec![self.size_after(Some(size)).unwrap_or(size)])
    }

    /// Whether the operation computes something slow from the original image that can be cached. Such
    /// operations come before all others.
    fn is_cached(&self) -> bool {
        false
    }

    /// Returns what is wrong with the settings, if anything.
    fn problem(&self) -> Option<String> {
        None
    }

    /// Applies the operation to a single image.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn on(&self, image: Image, rng: &mut Rng) -> Result<Image, OpError> {
        let mut canvas = Canvas::from(image);
        self.apply(&mut canvas, rng)?;
        Ok(canvas.finish()?)
    }
}

/// Returns by how much an image exceeds a crop of `size`, or an error if the crop is larger than the image.
fn crop_margin([h, w]: [usize; 2], [height, width]: [usize; 2]) -> Result<[usize; 2], OpError> {
    match (h.checked_sub(height), w.checked_sub(width)) {
        (Some(below), Some(right)) => Ok([below, right]),
        _ => Err(OpError::Unfit(format!(
            "a crop of {height}x{width} exceeds the image of {h}x{w}: put a `resize` before it"
        ))),
    }
}

/// Returns what is wrong with a size, if anything.
fn size_problem(size: [usize; 2]) -> Option<String> {
    let range = 1..=16_384;
    (!range.contains(&size[0]) || !range.contains(&size[1]))
        .then(|| format!("`size` must be [height, width] in pixels, 1 to 16384 each, not {size:?}"))
}

/// Returns what is wrong with the range of a sampled parameter, if anything: `what` in [minimum, maximum],
/// both within `bounds`.
fn range_problem(name: &str, what: &str, range: [f64; 2], bounds: [f64; 2]) -> Option<String> {
    let is_fine = bounds[0] <= range[0] && range[0] <= range[1] && range[1] <= bounds[1];
    (!is_fine).then(|| {
        format!(
            "`{name}` must be [minimum, maximum] of {what}, within {}..={}, not {range:?}",
            bounds[0], bounds[1]
        )
    })
}

/// Returns what is wrong with a maximum strength, if anything.
fn strength_problem(name: &str, value: f64, most: f64) -> Option<String> {
    (!(0.0..=most).contains(&value))
        .then(|| format!("`{name}` must be in 0..={most} (0 is the identity), not {value}"))
}
