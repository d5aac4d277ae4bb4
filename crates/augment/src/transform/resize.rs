//! Resizes the image to a given size.
//!
//! Antialiased: when shrinking, every source pixel counts. Agrees with PIL's `Image.resize`, and so with
//! torchvision's `Resize` on PIL images. See
//! [`Filter`].

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{Transform, size_problem};
use crate::{Canvas, Filter, OpError};

/// `kind = "resize"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resize {
    /// `[height, width]` in pixels.
    pub size: [usize; 2],
    /// The interpolation filter.
    pub filter: Filter,
}

impl Default for Resize {
    /// The usual size for ImageNet.
    fn default() -> Resize {
        Resize { size: [224, 224], filter: Filter::Bilinear }
    }
}

impl Transform for Resize {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        Ok(canvas.resize(self.size, self.filter)?)
    }

    fn is_random(&self) -> bool {
        false
    }

    fn size_after(&self, _: Option<[usize; 2]>) -> Option<[usize; 2]> {
        Some(self.size)
    }

    fn problem(&self) -> Option<String> {
        size_problem(self.size)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base::Seed;
    use testkit::Golden;

    use super::{Resize, Transform as _};

    #[test]
    fn every_filter_agrees_with_pil() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/images");
        let source = image::open(dir.join("source.png")).unwrap().into_rgb8();
        for case in Golden::read("images").at("resize").list() {
            let op = Resize { size: case.to("size"), filter: case.to("filter") };
            let got = op.on(source.clone(), &mut Seed(0).stream("test")).unwrap().into_raw();
            let want: Vec<u8> = case.to("image");
            assert_eq!(got.len(), want.len(), "{op:?}");
            let off: Vec<u32> = got.iter().zip(&want).map(|(a, b)| a.abs_diff(*b).into()).collect();
            let (mean, worst) =
                (off.iter().sum::<u32>() as f64 / off.len() as f64, off.iter().max());
            assert!(mean <= 1.0 && worst <= Some(&1), "{op:?}: mean {mean}, worst {worst:?}");
        }
    }
}
