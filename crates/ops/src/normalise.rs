//! From RGB8 images to the input of a network: mixed samples are rendered and normalised.
//!
//! z = (x / 255 - mean) / std for each colour channel, y = (1 - s) z + s z' where a layer of opacity s
//! covers an image, and then the erased areas.
//! This runs on the device of the network, so that a GPU receives a quarter of the bytes.

use base::mix::{Area, Erased, Fill, Layer, MixedSample};
use candle::{Device, Result, Tensor, bail};

use crate::{blocks::overwrite, kernel::kernel, real::tensor};

/// The images of a batch and the rows to make of them.
pub struct Rows<'a> {
    /// `[m, h, w, 3]`, RGB8.
    pub images: &'a [u8],
    /// `[h, w]` of every image.
    pub size: [usize; 2],
    /// The mixed sample of each row.
    pub samples: &'a [MixedSample],
}

/// The period of the repeated constants: a multiple of every vector length, and of whole pixels.
const PERIOD: usize = 48;

/// z = x · scale + shift.
struct Affine {
    scale: [f32; PERIOD],
    shift: [f32; PERIOD],
}

/// Renders and normalises the rows of a batch. Returns `[n, h, w, 3]`, f32.
///
/// - `mean`, `std`: per channel, red, green and blue, in units where 1 is the maximum.
///
/// # Errors
/// If the bytes are not whole images, or a sample refers to an image or area that does not exist.
pub fn normalise(rows: Rows<'_>, mean: [f64; 3], std: [f64; 3], device: &Device) -> Result<Tensor> {
    let Rows { images, size: [h, w], samples } = rows;
    let len = h * w * 3;
    let n_images = images.len() / len.max(1);
    if len == 0 || images.len() != n_images * len {
        bail!("normalise: {} bytes are not a whole number of images of {h}x{w}", images.len());
    }
    if let Some(misfit) = samples.iter().find_map(|it| misfit(it, n_images, [h, w])) {
        bail!("normalise: {misfit}");
    }
    let affine = |share: f64| Affine {
        scale: std::array::from_fn(|at| (share / (255.0 * std[at % 3])) as f32),
        shift: std::array::from_fn(|at| (-share * mean[at % 3] / std[at % 3]) as f32),
    };
    let whole = affine(1.0);
    let render = |sample: &MixedSample, ys: &mut [f32]| {
        let image = |idx: usize| &images[idx * len..][..len];
        write(image(sample.image), &whole.scale, &whole.shift, ys);
        if let Some(Layer { image: idx, area, from: [top, left], share }) = sample.over {
            let (xs, n, layer) = (image(idx), area.width * 3, affine(share));
            for (line, ys) in lines(area, w, ys).enumerate() {
                let xs = &xs[((top + line) * w + left) * 3..][..n];
                match share == 1.0 {
                    true => write(xs, &whole.scale, &whole.shift, ys),
                    false => blend(xs, &layer.scale, &layer.shift, (1.0 - share) as f32, ys),
                }
            }
        }
        for Erased { area, fill } in &sample.erased {
            for (line, ys) in lines(*area, w, ys).enumerate() {
                match fill {
                    Fill::Colour(it) => ys.chunks_exact_mut(3).for_each(|y| y.copy_from_slice(it)),
                    Fill::Pixels(it) => ys.copy_from_slice(&it[line * ys.len()..][..ys.len()]),
                }
            }
        }
    };
    // SAFETY: each row is written completely by its base image.
    let (ys, _) = unsafe {
        overwrite(samples.len(), len, 1, |rows, ys: &mut [f32]| render(&samples[rows.start], ys))
    };
    tensor(ys, &[samples.len(), h, w, 3])?.to_device(device)
}

/// The lines of an area of an image of width `w`.
fn lines(area: Area, w: usize, ys: &mut [f32]) -> impl Iterator<Item = &mut [f32]> {
    let lines = ys.chunks_exact_mut(w * 3).skip(area.top).take(area.height);
    lines.map(move |it| &mut it[area.left * 3..][..area.width * 3])
}

/// The problem of a sample that refers to an image or area that does not exist.
fn misfit(sample: &MixedSample, n_images: usize, size: [usize; 2]) -> Option<String> {
    let fits = |area: &Area, [top, left]: [usize; 2]| {
        top + area.height <= size[0] && left + area.width <= size[1]
    };
    let layer = sample.over.iter();
    let absent = layer.clone().map(|it| it.image).chain([sample.image]).find(|&it| it >= n_images);
    if let Some(idx) = absent {
        return Some(format!("a row refers to image {idx}, there are {n_images}"));
    }
    let erased = sample.erased.iter().map(|it| (&it.area, [it.area.top, it.area.left]));
    let layer = layer.flat_map(|it| [(&it.area, it.from), (&it.area, [it.area.top, it.area.left])]);
    if let Some((area, _)) = layer.chain(erased).find(|(area, at)| !fits(area, *at)) {
        return Some(format!("{area:?} is not within an image of {}x{}", size[0], size[1]));
    }
    let is_short = |it: &&Erased| match &it.fill {
        Fill::Colour(_) => false,
        Fill::Pixels(xs) => xs.len() != it.area.n_pixels() * 3,
    };
    sample.erased.iter().find(is_short).map(|it| format!("pixels that do not fill {:?}", it.area))
}

kernel! {
    /// y = x · scale + shift, for whole pixels.
    fn write<F, T>(xs: &[u8], scale: &[T; PERIOD], shift: &[T; PERIOD], ys: &mut [T]) {
        for (xs, ys) in xs.chunks(PERIOD).zip(ys.chunks_mut(PERIOD)) {
            for (((y, &x), &scale), &shift) in ys.iter_mut().zip(xs).zip(scale).zip(shift) {
                *y = T::fma::<F>(T::of(f64::from(x)), scale, shift);
            }
        }
    }
}

kernel! {
    /// y ← keep · y + x · scale + shift, for whole pixels.
    fn blend<F, T>(xs: &[u8], scale: &[T; PERIOD], shift: &[T; PERIOD], keep: T, ys: &mut [T]) {
        for (xs, ys) in xs.chunks(PERIOD).zip(ys.chunks_mut(PERIOD)) {
            for (((y, &x), &scale), &shift) in ys.iter_mut().zip(xs).zip(scale).zip(shift) {
                *y = T::fma::<F>(*y, keep, T::fma::<F>(T::of(f64::from(x)), scale, shift));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base::mix::{Area, Erased, Fill, Layer, MixedSample, whole};
    use candle::{Device, Result};
    use testkit::check_close;

    use super::{Rows, normalise};

    #[test]
    fn each_colour_has_its_own_statistics() -> Result<()> {
        let rows = Rows { images: &[0, 51, 255], size: [1, 1], samples: &whole(1) };
        let ys = normalise(rows, [0.5, 0.2, 0.0], [0.5, 0.1, 2.0], &Device::Cpu)?;
        assert_eq!(ys.dims(), [1, 1, 1, 3]);
        check_close(&ys, &[-1.0, 0.0, 0.5], 1e-6);
        Ok(())
    }

    /// The green channel of a row of a black image, 0, and a white image, 1, of 2x3 pixels.
    fn green(over: Option<Layer>, erased: Vec<Erased>) -> Result<Vec<f32>> {
        let images = [[0; 18], [255; 18]].concat();
        let sample = MixedSample { image: 0, over, erased };
        let rows = Rows { images: &images, size: [2, 3], samples: &[sample] };
        let ys = normalise(rows, [0.0; 3], [1.0; 3], &Device::Cpu)?;
        ys.narrow(3, 1, 1)?.flatten_all()?.to_vec1()
    }

    /// The last two pixels of the lower line.
    const CORNER: Area = Area { top: 1, left: 1, height: 1, width: 2 };

    #[test]
    fn a_layer_covers_the_image_in_its_area() -> Result<()> {
        let layer = |area, share| Some(Layer { image: 1, area, from: [0, 0], share });
        assert_eq!(green(None, vec![])?, [0.0; 6]);
        assert_eq!(green(layer(Area::whole([2, 3]), 0.75), vec![])?, [0.75; 6]);
        assert_eq!(green(layer(CORNER, 1.0), vec![])?, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(green(layer(CORNER, 0.5), vec![])?, [0.0, 0.0, 0.0, 0.0, 0.5, 0.5]);
        Ok(())
    }

    #[test]
    fn a_layer_may_come_from_another_position_of_its_image() -> Result<()> {
        let images: Vec<u8> = (0..12).map(|pixel| pixel / 3).collect();
        let area = Area { top: 0, left: 0, height: 2, width: 1 };
        let over = Some(Layer { image: 0, area, from: [0, 1], share: 1.0 });
        let sample = MixedSample { over, ..MixedSample::of(0) };
        let rows = Rows { images: &images, size: [2, 2], samples: &[sample] };
        let ys = normalise(rows, [0.0; 3], [1.0 / 255.0; 3], &Device::Cpu)?;
        check_close(&ys.narrow(3, 0, 1)?.flatten_all()?, &[1.0, 1.0, 3.0, 3.0], 1e-5);
        Ok(())
    }

    #[test]
    fn an_erased_area_is_filled_with_normalised_colours() -> Result<()> {
        let erased = |fill| vec![Erased { area: CORNER, fill }];
        let colour = Fill::Colour([7.0, -3.0, 7.0]);
        assert_eq!(green(None, erased(colour))?, [0.0, 0.0, 0.0, 0.0, -3.0, -3.0]);
        let pixels = Fill::Pixels(vec![0.0, 5.0, 0.0, 0.0, 6.0, 0.0]);
        assert_eq!(green(None, erased(pixels))?, [0.0, 0.0, 0.0, 0.0, 5.0, 6.0]);
        Ok(())
    }

    #[test]
    fn an_absent_image_or_area_is_an_error() {
        let rows = Rows { images: &[0; 4], size: [1, 1], samples: &[] };
        assert!(normalise(rows, [0.0; 3], [1.0; 3], &Device::Cpu).is_err());
        let layer = |area, from| Some(Layer { image: 1, area, from, share: 0.5 });
        let absent = Layer { image: 2, area: CORNER, from: [0, 0], share: 1.0 };
        assert!(green(Some(absent), vec![]).is_err());
        assert!(green(layer(Area { width: 3, ..CORNER }, [0, 0]), vec![]).is_err());
        assert!(green(layer(CORNER, [0, 2]), vec![]).is_err());
        let short = Erased { area: CORNER, fill: Fill::Pixels(vec![0.0; 3]) };
        assert!(green(None, vec![short]).is_err());
    }
}
