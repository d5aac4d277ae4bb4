//! Resizes the shorter side to a given size, keeping the aspect ratio.
//!
//! As torchvision's `Resize(size)`, with which published weights were validated: the longer side is
//! rounded down.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{Filter, Transform, size_problem};
use crate::{Canvas, OpError};

/// `kind = "resize_shorter"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResizeShorter {
    /// The shorter side in pixels.
    pub size: usize,
    /// The interpolation filter.
    pub filter: Filter,
}

impl Default for ResizeShorter {
    /// The usual size before ImageNet's crop.
    fn default() -> ResizeShorter {
        ResizeShorter { size: 256, filter: Filter::Bilinear }
    }
}

/// The maximum longer side: a strip one pixel wide would exhaust the memory.
const LONGEST: usize = 1 << 16;

impl ResizeShorter {
    /// The output size for an image of `[h, w]`.
    fn size_of(&self, [h, w]: [usize; 2]) -> [usize; 2] {
        [h, w].map(|side| self.size * side / h.min(w))
    }

    /// The output size, or an error if it is too large.
    fn checked_size_of(&self, [h, w]: [usize; 2]) -> Result<[usize; 2], OpError> {
        let size = self.size_of([h, w]);
        if size.iter().any(|&it| it > LONGEST) {
            let [to_h, to_w] = size;
            return Err(OpError::Unfit(format!(
                "an image of {h}x{w} would become {to_h}x{to_w}: leave it out, or use `resize`"
            )));
        }
        Ok(size)
    }
}

impl Transform for ResizeShorter {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        let size = self.checked_size_of(canvas.size())?;
        Ok(canvas.resize(size, self.filter)?)
    }

    fn is_random(&self) -> bool {
        false
    }

    fn size_after(&self, before: Option<[usize; 2]>) -> Option<[usize; 2]> {
        before.map(|it| self.size_of(it))
    }

    fn sizes_from(&self, size: [usize; 2]) -> Result<Vec<[usize; 2]>, OpError> {
        Ok(vec![self.checked_size_of(size)?])
    }

    fn problem(&self) -> Option<String> {
        let problem = size_problem([self.size; 2]);
        problem.map(|_| {
            format!("`size` must be the shorter side in pixels, 1 to 16384, not {}", self.size)
        })
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{Filter, ResizeShorter, Transform as _};
    use crate::{Image, transform::resize::Resize};

    #[test]
    fn the_longer_side_is_rounded_down() {
        // 100 * 301 / 225 = 133.8, truncated by torchvision's int().
        let image = Image::from_fn(301, 225, |x, y| image::Rgb([x as u8, y as u8, 0]));
        let op = ResizeShorter { size: 100, filter: Filter::Bicubic };
        let got = op.on(image.clone(), &mut Seed(0).stream("test")).unwrap();
        let both = Resize { size: [100, 133], filter: Filter::Bicubic };
        assert_eq!(got, both.on(image, &mut Seed(0).stream("test")).unwrap());
    }

    #[test]
    fn a_strip_is_rejected() {
        let err = ResizeShorter::default().on(Image::new(1, 999), &mut Seed(0).stream("test"));
        assert!(err.unwrap_err().to_string().contains("255744x256"));
    }
}
