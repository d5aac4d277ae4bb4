//! The shorter side to a given size, and the longer in proportion.
//!
//! As torchvision's `Resize(size)`, which published weights were validated with: the longer side is
//! rounded down.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{
    Picture, PictureOp,
    resize::{Filter, resize},
    size_problem,
};

/// `kind = "resize_shorter"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResizeShorter {
    /// The shorter side in pixels.
    pub size: usize,
    /// How to weigh source pixels.
    pub filter: Filter,
}

impl Default for ResizeShorter {
    /// What ImageNet's usual crop is cut from.
    fn default() -> ResizeShorter {
        ResizeShorter { size: 256, filter: Filter::Bilinear }
    }
}

/// The longest side that comes out: a strip a pixel wide would fill the memory.
const LONGEST: usize = 1 << 16;

impl PictureOp for ResizeShorter {
    fn apply(&self, picture: Picture, _: &mut Rng) -> Result<Picture, String> {
        let [h, w] = [picture.height() as usize, picture.width() as usize];
        let shorter = h.min(w);
        let size = [h, w].map(|side| self.size * side / shorter);
        if size.iter().any(|&it| it > LONGEST) {
            let [to_h, to_w] = size;
            return Err(format!(
                "a picture of {h}x{w} would become {to_h}x{to_w}: leave it out, or use `resize`"
            ));
        }
        Ok(resize(picture, size, self.filter))
    }

    fn is_random(&self) -> bool {
        false
    }

    fn problem(&self) -> Option<String> {
        let problem = size_problem([self.size; 2]);
        problem.map(|_| format!("`size` is the shorter side in pixels, not {}", self.size))
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{Filter, Picture, PictureOp as _, ResizeShorter};
    use crate::picture::resize::resize;

    #[test]
    fn the_longer_side_follows_rounded_down() {
        // 100 * 301 / 225 = 133.8, as torchvision's int() cuts it.
        let picture = Picture::from_fn(301, 225, |x, y| image::Rgb([x as u8, y as u8, 0]));
        let op = ResizeShorter { size: 100, filter: Filter::Bicubic };
        let got = op.apply(picture.clone(), &mut Seed(0).stream("test")).unwrap();
        assert_eq!(got, resize(picture, [100, 133], Filter::Bicubic));
    }

    #[test]
    fn a_strip_is_refused() {
        let err = ResizeShorter::default().apply(Picture::new(1, 999), &mut Seed(0).stream("test"));
        assert!(err.unwrap_err().contains("255744x256"));
    }
}
