//! Crops the face and its surroundings.
//!
//! The box detected by `face.rs`, enlarged and moved into the image. If no face is found, the box is in the
//! centre, half the shorter side in size: with the default margin, the result is the central square of the
//! image.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::Transform;
use crate::{
    Canvas, OpError,
    face::{DEFAULT_MIN_SCORE, Face},
};

/// `kind = "face_crop"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaceCrop {
    /// The margin added on each side of the box, as a fraction of its own sides.
    pub margin: f64,
    /// The minimum detection score of a face; 0 accepts every detection.
    pub min_score: f64,
    /// Whether the crop is square, as the box is.
    pub square: bool,
}

impl Default for FaceCrop {
    /// The crop includes hair and chin.
    fn default() -> FaceCrop {
        FaceCrop { margin: 0.5, min_score: DEFAULT_MIN_SCORE, square: true }
    }
}

impl Transform for FaceCrop {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        // The face is detected in the current image.
        if !canvas.is_unmodified() {
            canvas.pixels()?;
        }
        let size = canvas.size();
        let face = canvas.face(self.min_score)?.unwrap_or_else(|| Face::typical(size));
        let [corner, size] = self.part(&face, size);
        canvas.crop(corner, size);
        Ok(())
    }

    fn is_random(&self) -> bool {
        false
    }

    fn size_after(&self, _: Option<[usize; 2]>) -> Option<[usize; 2]> {
        None
    }

    fn is_cached(&self) -> bool {
        true
    }

    fn problem(&self) -> Option<String> {
        for (name, value) in [("margin", self.margin), ("min_score", self.min_score)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Some(format!("`{name}` must be at least 0 and finite, not {value}"));
            }
        }
        None
    }
}

impl FaceCrop {
    /// The upper left corner and the size of the crop.
    fn part(&self, face: &Face, full: [usize; 2]) -> [[usize; 2]; 2] {
        let sides = [face.height, face.width];
        let mut size = [0, 1].map(|it| {
            let grown = (sides[it] as f64 * (1.0 + 2.0 * self.margin)).round();
            (grown as usize).clamp(1, full[it])
        });
        if self.square {
            let side = size[0].max(size[1]).min(full[0]).min(full[1]);
            size = [side; 2];
        }
        // The centre is kept, as far as the image has room.
        let starts = [face.top, face.left];
        let corner = [0, 1].map(|it| {
            let twice = (2 * starts[it] + sides[it]).saturating_sub(size[it]);
            (twice / 2).min(full[it] - size[it])
        });
        [corner, size]
    }
}

#[cfg(test)]
mod tests {
    use super::FaceCrop;
    use crate::face::Face;

    fn part(margin: f64, square: bool, face: [usize; 4], full: [usize; 2]) -> [[usize; 2]; 2] {
        let [top, left, height, width] = face;
        let face = Face { top, left, height, width, score: 9.0 };
        FaceCrop { margin, square, ..FaceCrop::default() }.part(&face, full)
    }

    #[test]
    fn the_box_grows_around_its_centre() {
        // 20 and half of that on each side are 40, from 30 - 10 and 40 - 10.
        assert_eq!(part(0.5, true, [30, 40, 20, 20], [100, 100]), [[20, 30], [40, 40]]);
        assert_eq!(part(0.25, false, [30, 40, 40, 20], [100, 100]), [[20, 35], [60, 30]]);
        assert_eq!(part(0.0, true, [30, 40, 20, 10], [100, 100]), [[30, 35], [20, 20]]);
    }

    #[test]
    fn at_an_edge_the_box_is_moved_inside() {
        assert_eq!(part(0.5, true, [0, 75, 20, 20], [100, 100]), [[0, 60], [40, 40]]);
    }

    #[test]
    fn a_crop_larger_than_the_image_is_clipped_and_stays_square() {
        assert_eq!(part(0.5, true, [60, 2, 90, 96], [192, 100]), [[55, 0], [100, 100]]);
        assert_eq!(part(9.0, false, [60, 2, 90, 96], [192, 100]), [[0, 0], [192, 100]]);
        assert_eq!(part(0.5, true, [0, 0, 1, 1], [1, 5000]), [[0, 0], [1, 1]]);
    }

    #[test]
    fn without_a_face_the_crop_is_the_central_square() {
        let face = Face::typical([192, 144]);
        assert_eq!(FaceCrop::default().part(&face, [192, 144]), [[24, 0], [144, 144]]);
    }
}
