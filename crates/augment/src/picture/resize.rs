//! Both sides to a given size.
//!
//! Antialiased: when shrinking, every source pixel counts. Agrees with PIL's `Image.resize`, and so
//! with torchvision's on PIL pictures.

use base::Rng;
use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};
use serde::{Deserialize, Serialize};

use super::{Picture, PictureOp, size_problem};

/// `kind = "resize"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resize {
    /// `[height, width]` in pixels.
    pub size: [usize; 2],
    /// How to weigh source pixels.
    pub filter: Filter,
}

/// How source pixels are weighed.
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

impl Default for Resize {
    /// ImageNet's usual size.
    fn default() -> Resize {
        Resize { size: [224, 224], filter: Filter::Bilinear }
    }
}

impl PictureOp for Resize {
    fn apply(&self, picture: Picture, _: &mut Rng) -> Result<Picture, String> {
        Ok(resize(picture, self.size, self.filter))
    }

    fn is_random(&self) -> bool {
        false
    }

    fn gives_size(&self) -> Option<[usize; 2]> {
        Some(self.size)
    }

    fn problem(&self) -> Option<String> {
        size_problem(self.size)
    }
}

/// A picture in another `[height, width]`.
pub(crate) fn resize(picture: Picture, size: [usize; 2], filter: Filter) -> Picture {
    let (w, h) = picture.dimensions();
    let [to_h, to_w] = size.map(|it| it as u32);
    if (h, w) == (to_h, to_w) {
        return picture;
    }
    let filter = match filter {
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Bicubic => FilterType::CatmullRom,
        Filter::Lanczos => FilterType::Lanczos3,
    };
    // One side after the other, rounded in between, as PIL does.
    let wide = resample(w, h, picture.into_raw(), [h, to_w], filter);
    let all = resample(to_w, h, wide, [to_h, to_w], filter);
    Picture::from_raw(to_w, to_h, all).expect("three bytes a pixel")
}

fn resample(w: u32, h: u32, bytes: Vec<u8>, [to_h, to_w]: [u32; 2], filter: FilterType) -> Vec<u8> {
    if (h, w) == (to_h, to_w) {
        return bytes;
    }
    let from = ImageRef::new(w, h, &bytes, PixelType::U8x3).expect("three bytes a pixel");
    let mut to = Image::new(to_w, to_h, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    let resized = Resizer::new().resize(&from, &mut to, &options);
    resized.expect("both pictures are RGB8 and neither is empty");
    to.into_vec()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base::Seed;
    use testkit::Golden;

    use super::{PictureOp as _, Resize};

    #[test]
    fn every_filter_agrees_with_pil() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/pictures");
        let source = image::open(dir.join("source.png")).unwrap().into_rgb8();
        for case in Golden::read("pictures").at("resize").list() {
            let op = Resize { size: case.to("size"), filter: case.to("filter") };
            let got = op.apply(source.clone(), &mut Seed(0).stream("test")).unwrap().into_raw();
            let want: Vec<u8> = case.to("picture");
            assert_eq!(got.len(), want.len(), "{op:?}");
            let off: Vec<u32> = got.iter().zip(&want).map(|(a, b)| a.abs_diff(*b).into()).collect();
            let (mean, worst) =
                (off.iter().sum::<u32>() as f64 / off.len() as f64, off.iter().max());
            assert!(mean <= 1.0 && worst <= Some(&1), "{op:?}: mean {mean}, worst {worst:?}");
        }
    }
}
