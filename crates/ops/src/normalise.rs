//! From RGB8 pictures to what a network sees: blended as the batch's rows say, and normalised.
//!
//! y = (Σ weight · x / 255 - mean) / std for each colour channel.
//! This happens where the network is, so that a GPU is sent a quarter of the bytes.

use base::mix::Row;
use candle::{Device, Result, Tensor, bail};

use crate::{
    blocks::build,
    isa::kernel,
    real::{Real as _, tensor},
};

/// The pictures of a batch and the rows to make of them.
pub struct Rows<'a> {
    /// `[m, h, w, 3]`, RGB8.
    pub pictures: &'a [u8],
    /// `[h, w]` of every picture.
    pub size: [usize; 2],
    /// The rows, each a blend of pictures.
    pub rows: &'a [Row],
}

/// Returns `[n, h, w, 3]`, f32.
///
/// - `mean`, `std`: of the colours red, green and blue, where 1 is the brightest.
pub fn normalise(rows: Rows<'_>, mean: [f64; 3], std: [f64; 3], device: &Device) -> Result<Tensor> {
    let Rows { pictures, size: [h, w], rows } = rows;
    let len = h * w * 3;
    let n_pictures = pictures.len() / len.max(1);
    if len == 0 || pictures.len() != n_pictures * len {
        bail!("normalise: {} bytes are no whole pictures of {h}x{w}", pictures.len());
    }
    if let Some(part) = rows.iter().flatten().find(|it| it.picture >= n_pictures) {
        bail!("normalise: a row asks for picture {} of {n_pictures}", part.picture);
    }
    let scale: [f32; 3] = std::array::from_fn(|c| (1.0 / (255.0 * std[c])) as f32);
    let shift: [f32; 3] = std::array::from_fn(|c| (-mean[c] / std[c]) as f32);
    let ys = build(rows.len(), len, 1, |row, ys: &mut [f32]| {
        for part in &rows[row] {
            let xs = &pictures[part.picture * len..][..len];
            add_picture(xs, f32::of(f64::from(part.weight)), ys);
        }
        scale_colours(&scale, &shift, ys);
    });
    tensor(ys, &[rows.len(), h, w, 3])?.to_device(device)
}

kernel! {
    fn add_picture<F, T>(xs: &[u8], weight: T, ys: &mut [T]) {
        for (y, &x) in ys.iter_mut().zip(xs) {
            *y = T::fma::<F>(T::of(f64::from(x)), weight, *y);
        }
    }
}

kernel! {
    fn scale_colours<F, T>(scale: &[T; 3], shift: &[T; 3], ys: &mut [T]) {
        for pixel in ys.chunks_exact_mut(3) {
            for ((y, &scale), &shift) in pixel.iter_mut().zip(scale).zip(shift) {
                *y = T::fma::<F>(*y, scale, shift);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base::mix::{Part, unmixed};
    use candle::{Device, Result};
    use testkit::check_close;

    use super::{Rows, normalise};

    #[test]
    fn colours_have_their_own_statistics() -> Result<()> {
        let rows = Rows { pictures: &[0, 51, 255], size: [1, 1], rows: &unmixed(1) };
        let ys = normalise(rows, [0.5, 0.2, 0.0], [0.5, 0.1, 2.0], &Device::Cpu)?;
        assert_eq!(ys.dims(), [1, 1, 1, 3]);
        check_close(&ys, &[-1.0, 0.0, 0.5], 1e-6);
        Ok(())
    }

    #[test]
    fn a_row_blends_its_pictures() -> Result<()> {
        let row = vec![Part { picture: 0, weight: 0.25 }, Part { picture: 1, weight: 0.75 }];
        let rows = Rows { pictures: &[0, 0, 0, 255, 255, 255], size: [1, 1], rows: &[row] };
        check_close(&normalise(rows, [0.0; 3], [1.0; 3], &Device::Cpu)?, &[0.75; 3], 1e-6);
        Ok(())
    }

    #[test]
    fn bytes_that_are_no_pictures_are_an_error() {
        let rows = Rows { pictures: &[0; 4], size: [1, 1], rows: &[] };
        assert!(normalise(rows, [0.0; 3], [1.0; 3], &Device::Cpu).is_err());
    }
}
