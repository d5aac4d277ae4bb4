//! The filters with which images are resampled.
//!
//! Antialiased: when shrinking, every source pixel counts. Bilinear upsampling uses `ops::upsample_columns`
//! and `upsample_rows`, since `fast_image_resize` takes several times as long.

use std::ops::Range;

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image as Resized, ImageRef},
};
use image::imageops;
use serde::{Deserialize, Serialize};

use crate::Image;

/// The interpolation filter: how source pixels are weighted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// A triangle.
    Bilinear,
    /// Catmull and Rom's cubic, a = -0.5.
    Bicubic,
    /// Three lobes of a windowed sinc.
    Lanczos,
}

impl Filter {
    /// Resizes a whole image to `[height, width]`.
    pub(crate) fn resize(self, image: Image, size: [usize; 2]) -> Image {
        let full = [image.height(), image.width()].map(f64::from);
        self.resample(image, [0.0; 2], full, size, full.map(|it| [0.0, it]))
    }

    /// Resamples the part of an image that begins at `start` and extends over `length` (rows, columns, both
    /// within the image) to `size` pixels; only the rows and columns in the ranges `within` are read.
    pub(crate) fn resample(
        self,
        image: Image,
        [top, left]: [f64; 2],
        [height, width]: [f64; 2],
        [to_h, to_w]: [usize; 2],
        [rows, columns]: [[f64; 2]; 2],
    ) -> Image {
        let (mut image, mut left) = (image, left);
        let [begins, ends] = [columns[0].floor(), columns[1].ceil().min(f64::from(image.width()))];
        if width != to_w as f64 && ends - begins < f64::from(image.width()) {
            let (y, h) = (0, image.height());
            let part = imageops::crop_imm(&image, begins as u32, y, (ends - begins) as u32, h);
            (image, left) = (part.to_image(), left - begins);
        }
        // First the columns of the required rows, then the rows, rounded in between, as in PIL.
        let reach = self.reach(height / to_h as f64);
        let first = (top - reach).floor().max(rows[0].floor());
        let last = (top + height + reach).ceil().min(rows[1].ceil()).min(f64::from(image.height()));
        let wide = self.columns(image, first as usize..last as usize, left, width, to_w);
        self.rows(wide, top - first, height, to_h)
    }

    /// Resamples the columns that begin at `start` to `size` columns, of some rows.
    fn columns(
        self,
        image: Image,
        rows: Range<usize>,
        start: f64,
        length: f64,
        size: usize,
    ) -> Image {
        let [w, n] = [image.width(), rows.len() as u32];
        if (n, size as f64, length) == (image.height(), f64::from(w), f64::from(w)) {
            return image;
        }
        if self.upsamples(length, size) {
            let line = w as usize * 3;
            let lines = &image.as_raw()[rows.start * line..rows.end * line];
            let made = ops::upsample_columns(lines, w as usize, start, length, size);
            return of_bytes(made, [size as u32, n]);
        }
        let part = [start, rows.start as f64, length, f64::from(n)];
        self.convolve(&image, part, [size as u32, n])
    }

    /// Resamples the rows that begin at `start` to `size` rows.
    fn rows(self, image: Image, start: f64, length: f64, size: usize) -> Image {
        let (w, h) = image.dimensions();
        if (size as f64, length) == (f64::from(h), f64::from(h)) {
            return image;
        }
        if self.upsamples(length, size) {
            let made = ops::upsample_rows(&image, w as usize, start, length, size);
            return of_bytes(made, [w, size as u32]);
        }
        self.convolve(&image, [0.0, start, f64::from(w), length], [w, size as u32])
    }

    /// Whether each output pixel lies between two source pixels.
    fn upsamples(self, length: f64, size: usize) -> bool {
        self == Filter::Bilinear && length < size as f64
    }

    /// Resamples a part (left, top, width, height) to `[width, height]` by convolution.
    fn convolve(self, image: &Image, [x, y, w, h]: [f64; 4], size: [u32; 2]) -> Image {
        let filter = match self {
            Filter::Bilinear => FilterType::Bilinear,
            Filter::Bicubic => FilterType::CatmullRom,
            Filter::Lanczos => FilterType::Lanczos3,
        };
        let (wide, high) = image.dimensions();
        // A part that ends where the image does may end a rounding error behind it.
        let within = |start: f64, length: f64, n: u32| {
            if start + length > f64::from(n) { f64::from(n) - start } else { length }
        };
        let (w, h) = (within(x, w, wide), within(y, h, high));
        let from = ImageRef::new(wide, high, image, PixelType::U8x3);
        let mut to = Resized::new(size[0], size[1], PixelType::U8x3);
        let options =
            ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).crop(x, y, w, h);
        let resized =
            Resizer::new().resize(&from.expect("three bytes per pixel"), &mut to, &options);
        resized.expect("both images are RGB8 and not empty, and the part is inside");
        of_bytes(to.into_vec(), size)
    }

    /// How many pixels beyond a part are read when it is made `scale` times smaller.
    pub(crate) fn reach(self, scale: f64) -> f64 {
        if scale == 1.0 { 0.0 } else { self.support() * scale.max(1.0) + 1.0 }
    }

    /// The support of the filter, in pixels of the coarser grid.
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }
}

fn of_bytes(bytes: Vec<u8>, [w, h]: [u32; 2]) -> Image {
    Image::from_raw(w, h, bytes).expect("three bytes per pixel")
}
