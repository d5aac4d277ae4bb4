//! The per-channel mean and standard deviation of images.

use std::sync::atomic::{AtomicUsize, Ordering};

use augment::{Cache, Image, Pipeline, Statistics};
use base::Seed;
use rayon::prelude::*;

use crate::{CacheDir, Content, LoadError};

/// Computes the per-channel mean and standard deviation over all pixels of a pipeline's output images.
///
/// Sums are exact (integers), so the result does not depend on their order.
///
/// # Errors
/// An image that cannot be read.
pub fn measure_statistics(
    images: &[(String, Content)],
    pipeline: &Pipeline,
    cache: Option<&CacheDir>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Statistics, LoadError> {
    let cache = cache.map(|it| it as &dyn Cache);
    let n_done = AtomicUsize::new(0);
    let sums = |(name, content): &(String, Content)| {
        let bytes = content.bytes();
        let bytes = bytes.map_err(|source| LoadError::Io { name: name.clone(), source })?;
        // An evaluation pipeline is deterministic.
        let image = pipeline.apply(&bytes, &mut Seed(0).stream("measure"), cache);
        let image = image.map_err(|source| LoadError::Image { name: name.clone(), source })?;
        progress(n_done.fetch_add(1, Ordering::Relaxed) + 1, images.len());
        Ok(ColourSums::of(&image))
    };
    let add = |a: ColourSums, b| Ok(a.plus(b));
    let sums = images.par_iter().map(sums).try_reduce(ColourSums::default, add)?;
    Ok(sums.statistics())
}

/// Sums from which the per-channel mean and standard deviation are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ColourSums {
    pub(crate) n_pixels: u64,
    /// Of red, green and blue, each in 0..=255.
    pub(crate) sum: [u64; 3],
    square: [u64; 3],
}

impl ColourSums {
    pub(crate) fn of(image: &Image) -> ColourSums {
        let mut sums = ColourSums::default();
        for pixel in image.pixels() {
            sums.n_pixels += 1;
            for (c, &value) in pixel.0.iter().enumerate() {
                let value = u64::from(value);
                sums.sum[c] += value;
                sums.square[c] += value * value;
            }
        }
        sums
    }

    pub(crate) fn plus(self, other: ColourSums) -> ColourSums {
        let add = |a: [u64; 3], b: [u64; 3]| std::array::from_fn(|c| a[c] + b[c]);
        ColourSums {
            n_pixels: self.n_pixels + other.n_pixels,
            sum: add(self.sum, other.sum),
            square: add(self.square, other.square),
        }
    }

    /// Returns the mean and standard deviation of all summed pixels, scaled to 0..=1.
    pub(crate) fn statistics(&self) -> Statistics {
        let n = self.n_pixels.max(1) as f64;
        let mean = |c: usize| self.sum[c] as f64 / n / 255.0;
        let variance = |c: usize| self.square[c] as f64 / n / 255.0 / 255.0 - mean(c) * mean(c);
        Statistics {
            mean: std::array::from_fn(mean),
            // Constant images have a standard deviation of 0, which cannot be divided by.
            std: std::array::from_fn(|c| variance(c).max(0.0).sqrt().max(1e-3)),
        }
    }
}

#[cfg(test)]
mod tests {
    use augment::{Pipeline, StatisticsConfig};
    use image::{Rgb, RgbImage};

    use super::measure_statistics;
    use crate::Content;

    #[test]
    fn black_and_white_halves_have_a_mean_and_std_of_a_half() {
        let image =
            RgbImage::from_fn(4, 4, |x, _| Rgb(if x < 2 { [0, 0, 51] } else { [255, 0, 51] }));
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        let statistics = StatisticsConfig::default().get().known().unwrap();
        let pipeline = Pipeline { ops: Vec::new(), statistics, max_pixels: 100 };
        let images = [("a".to_owned(), Content::Memory(bytes.into_inner().into()))];
        let got = measure_statistics(&images, &pipeline, None, &|_, _| {}).unwrap();
        assert_eq!((got.mean, got.std), ([0.5, 0.0, 0.2], [0.5, 1e-3, 1e-3]));
    }
}
