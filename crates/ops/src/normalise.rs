//! From RGB8 pictures to what a network sees: painted as the batch's collages say, and normalised.
//!
//! z = (x / 255 - mean) / std for each colour channel, y = (1 - s) z + s z' where a layer of share s
//! lies over a picture, and then whatever hides an area.
//! This happens where the network is, so that a GPU is sent a quarter of the bytes.

use base::mix::{Area, Collage, Erased, Fill, Layer};
use candle::{Device, Result, Tensor, bail};

use crate::{blocks::overwrite, isa::kernel, real::tensor};

/// The pictures of a batch and the rows to make of them.
pub struct Rows<'a> {
    /// `[m, h, w, 3]`, RGB8.
    pub pictures: &'a [u8],
    /// `[h, w]` of every picture.
    pub size: [usize; 2],
    /// What each row is made of.
    pub collages: &'a [Collage],
}

/// Numbers for the kernels to repeat: as many as vectors of any length divide, of whole pixels.
const PERIOD: usize = 48;

/// z = x · scale + shift.
struct Affine {
    scale: [f32; PERIOD],
    shift: [f32; PERIOD],
}

/// Returns `[n, h, w, 3]`, f32.
///
/// - `mean`, `std`: of the colours red, green and blue, where 1 is the brightest.
///
/// # Errors
/// Bytes that are no pictures, and collages of pictures or areas that there are not.
pub fn normalise(rows: Rows<'_>, mean: [f64; 3], std: [f64; 3], device: &Device) -> Result<Tensor> {
    let Rows { pictures, size: [h, w], collages } = rows;
    let len = h * w * 3;
    let n_pictures = pictures.len() / len.max(1);
    if len == 0 || pictures.len() != n_pictures * len {
        bail!("normalise: {} bytes are no whole pictures of {h}x{w}", pictures.len());
    }
    if let Some(misfit) = collages.iter().find_map(|it| misfit(it, n_pictures, [h, w])) {
        bail!("normalise: {misfit}");
    }
    let affine = |share: f64| Affine {
        scale: std::array::from_fn(|at| (share / (255.0 * std[at % 3])) as f32),
        shift: std::array::from_fn(|at| (-share * mean[at % 3] / std[at % 3]) as f32),
    };
    let whole = affine(1.0);
    let paint = |collage: &Collage, ys: &mut [f32]| {
        let picture = |idx: usize| &pictures[idx * len..][..len];
        write(picture(collage.picture), &whole.scale, &whole.shift, ys);
        if let Some(Layer { picture: idx, area, from: [top, left], share }) = collage.over {
            let (xs, n, layer) = (picture(idx), area.width * 3, affine(share));
            for (line, ys) in lines(area, w, ys).enumerate() {
                let xs = &xs[((top + line) * w + left) * 3..][..n];
                match share == 1.0 {
                    true => write(xs, &whole.scale, &whole.shift, ys),
                    false => blend(xs, &layer.scale, &layer.shift, (1.0 - share) as f32, ys),
                }
            }
        }
        for Erased { area, fill } in &collage.erased {
            for (line, ys) in lines(*area, w, ys).enumerate() {
                match fill {
                    Fill::Colour(it) => ys.chunks_exact_mut(3).for_each(|y| y.copy_from_slice(it)),
                    Fill::Pixels(it) => ys.copy_from_slice(&it[line * ys.len()..][..ys.len()]),
                }
            }
        }
    };
    // SAFETY: each row is written whole by its first picture.
    let (ys, _) = unsafe {
        overwrite(collages.len(), len, 1, |rows, ys: &mut [f32]| paint(&collages[rows.start], ys))
    };
    tensor(ys, &[collages.len(), h, w, 3])?.to_device(device)
}

/// The lines of an area of a picture that is `w` pixels wide.
fn lines(area: Area, w: usize, ys: &mut [f32]) -> impl Iterator<Item = &mut [f32]> {
    let lines = ys.chunks_exact_mut(w * 3).skip(area.top).take(area.height);
    lines.map(move |it| &mut it[area.left * 3..][..area.width * 3])
}

/// What a collage asks for that is not there.
fn misfit(collage: &Collage, n_pictures: usize, size: [usize; 2]) -> Option<String> {
    let fits = |area: &Area, [top, left]: [usize; 2]| {
        top + area.height <= size[0] && left + area.width <= size[1]
    };
    let layer = collage.over.iter();
    let absent =
        layer.clone().map(|it| it.picture).chain([collage.picture]).find(|&it| it >= n_pictures);
    if let Some(idx) = absent {
        return Some(format!("a row asks for picture {idx} of {n_pictures}"));
    }
    let erased = collage.erased.iter().map(|it| (&it.area, [it.area.top, it.area.left]));
    let layer = layer.flat_map(|it| [(&it.area, it.from), (&it.area, [it.area.top, it.area.left])]);
    if let Some((area, _)) = layer.chain(erased).find(|(area, at)| !fits(area, *at)) {
        return Some(format!("{area:?} is not within a picture of {}x{}", size[0], size[1]));
    }
    let is_short = |it: &&Erased| match &it.fill {
        Fill::Colour(_) => false,
        Fill::Pixels(xs) => xs.len() != it.area.n_pixels() * 3,
    };
    collage.erased.iter().find(is_short).map(|it| format!("pixels that do not fill {:?}", it.area))
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
    use base::mix::{Area, Collage, Erased, Fill, Layer, whole};
    use candle::{Device, Result};
    use testkit::check_close;

    use super::{Rows, normalise};

    #[test]
    fn colours_have_their_own_statistics() -> Result<()> {
        let rows = Rows { pictures: &[0, 51, 255], size: [1, 1], collages: &whole(1) };
        let ys = normalise(rows, [0.5, 0.2, 0.0], [0.5, 0.1, 2.0], &Device::Cpu)?;
        assert_eq!(ys.dims(), [1, 1, 1, 3]);
        check_close(&ys, &[-1.0, 0.0, 0.5], 1e-6);
        Ok(())
    }

    /// The green of a row of a black picture, 0, and a white one, 1, of 2x3 pixels.
    fn green(over: Option<Layer>, erased: Vec<Erased>) -> Result<Vec<f32>> {
        let pictures = [[0; 18], [255; 18]].concat();
        let collage = Collage { picture: 0, over, erased };
        let rows = Rows { pictures: &pictures, size: [2, 3], collages: &[collage] };
        let ys = normalise(rows, [0.0; 3], [1.0; 3], &Device::Cpu)?;
        ys.narrow(3, 1, 1)?.flatten_all()?.to_vec1()
    }

    /// The last two pixels of the lower line.
    const CORNER: Area = Area { top: 1, left: 1, height: 1, width: 2 };

    #[test]
    fn a_layer_lies_over_a_picture_in_its_area() -> Result<()> {
        let layer = |area, share| Some(Layer { picture: 1, area, from: [0, 0], share });
        assert_eq!(green(None, vec![])?, [0.0; 6]);
        assert_eq!(green(layer(Area::whole([2, 3]), 0.75), vec![])?, [0.75; 6]);
        assert_eq!(green(layer(CORNER, 1.0), vec![])?, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(green(layer(CORNER, 0.5), vec![])?, [0.0, 0.0, 0.0, 0.0, 0.5, 0.5]);
        Ok(())
    }

    #[test]
    fn a_layer_may_come_from_elsewhere_in_its_picture() -> Result<()> {
        let pictures: Vec<u8> = (0..12).map(|pixel| pixel / 3).collect();
        let area = Area { top: 0, left: 0, height: 2, width: 1 };
        let over = Some(Layer { picture: 0, area, from: [0, 1], share: 1.0 });
        let collage = Collage { over, ..Collage::of(0) };
        let rows = Rows { pictures: &pictures, size: [2, 2], collages: &[collage] };
        let ys = normalise(rows, [0.0; 3], [1.0 / 255.0; 3], &Device::Cpu)?;
        check_close(&ys.narrow(3, 0, 1)?.flatten_all()?, &[1.0, 1.0, 3.0, 3.0], 1e-5);
        Ok(())
    }

    #[test]
    fn what_is_erased_is_hidden_by_normalised_colours() -> Result<()> {
        let erased = |fill| vec![Erased { area: CORNER, fill }];
        let colour = Fill::Colour([7.0, -3.0, 7.0]);
        assert_eq!(green(None, erased(colour))?, [0.0, 0.0, 0.0, 0.0, -3.0, -3.0]);
        let pixels = Fill::Pixels(vec![0.0, 5.0, 0.0, 0.0, 6.0, 0.0]);
        assert_eq!(green(None, erased(pixels))?, [0.0, 0.0, 0.0, 0.0, 5.0, 6.0]);
        Ok(())
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let rows = Rows { pictures: &[0; 4], size: [1, 1], collages: &[] };
        assert!(normalise(rows, [0.0; 3], [1.0; 3], &Device::Cpu).is_err());
        let layer = |area, from| Some(Layer { picture: 1, area, from, share: 0.5 });
        let absent = Layer { picture: 2, area: CORNER, from: [0, 0], share: 1.0 };
        assert!(green(Some(absent), vec![]).is_err());
        assert!(green(layer(Area { width: 3, ..CORNER }, [0, 0]), vec![]).is_err());
        assert!(green(layer(CORNER, [0, 2]), vec![]).is_err());
        let short = Erased { area: CORNER, fill: Fill::Pixels(vec![0.0; 3]) };
        assert!(green(None, vec![short]).is_err());
    }
}
