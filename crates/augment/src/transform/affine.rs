//! Random affine transform: rotation, translation, scaling and shearing about the image's centre.
//!
//! A point p relative to the centre goes to R(a) S(s) Y(sy) X(sx) p + t: sheared along x by
//! X(sx) = [1, -tan sx; 0, 1], along y by Y(sy) = [1, 0; -tan sy, 1], scaled by s, rotated clockwise by a,
//! and translated by t, in whole pixels.
//!
//! torchvision's `RandomAffine`. Bilinear, where torchvision's default is nearest.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::Transform;
use crate::{Border, Canvas, OpError, Projection, Range};

/// `kind = "affine"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Affine {
    /// The clockwise rotation in degrees: `[from, to]`, or d for `[-d, d]`.
    pub degrees: Range,
    /// `[vertical, horizontal]`: the maximum translation as fractions of the height and the width.
    pub translate: [f64; 2],
    /// The scale factor: `[from, to]`.
    pub scale: Range,
    /// The shear of vertical lines in degrees: `[from, to]`, or d for `[-d, d]`.
    pub shear_x: Range,
    /// The shear of horizontal lines in degrees, likewise.
    pub shear_y: Range,
    /// How pixels outside of the image are filled.
    pub border: Border,
}

impl Default for Affine {
    /// A mild transform.
    fn default() -> Affine {
        Affine {
            degrees: Range::around_zero(15.0),
            translate: [0.1, 0.1],
            scale: Range { from: 0.9, to: 1.1 },
            shear_x: Range::ZERO,
            shear_y: Range::ZERO,
            border: Border::default(),
        }
    }
}

/// The parameters sampled for one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Change {
    /// Clockwise.
    pub(super) degrees: f64,
    /// Down and to the right, in pixels.
    pub(super) shift: [f64; 2],
    pub(super) scale: f64,
    /// In degrees, along x and along y.
    pub(super) shear: [f64; 2],
}

impl Affine {
    fn sample(&self, size: [usize; 2], rng: &mut Rng) -> Change {
        let degrees = self.degrees.sample(rng);
        let mut shift = |it: usize| {
            let most = self.translate[it] * size[it] as f64;
            Range::around_zero(most).sample(rng).round_ties_even()
        };
        let across = shift(1);
        let shift = [shift(0), across];
        let scale = self.scale.sample(rng);
        Change {
            degrees,
            shift,
            scale,
            shear: [self.shear_x.sample(rng), self.shear_y.sample(rng)],
        }
    }
}

impl Change {
    pub(super) const NONE: Change =
        Change { degrees: 0.0, shift: [0.0; 2], scale: 1.0, shear: [0.0; 2] };

    pub(super) fn apply(&self, canvas: &mut Canvas<'_>, border: Border) -> Result<(), OpError> {
        if *self != Change::NONE {
            let size = canvas.size();
            canvas.warp(self.map(size), size, border)?;
        }
        Ok(())
    }

    /// From output to source coordinates of an image of `[h, w]`: the inverse map.
    fn map(&self, [h, w]: [usize; 2]) -> Projection {
        let linear = |[a, b]: [f64; 2], [c, d]: [f64; 2]| {
            Projection([[a, b, 0.0], [c, d, 0.0], [0.0, 0.0, 1.0]])
        };
        let [x, y] = [w as f64 / 2.0, h as f64 / 2.0];
        let [down, right] = self.shift;
        let (sin, cos) = self.degrees.to_radians().sin_cos();
        let [lean_x, lean_y] = self.shear.map(|it| it.to_radians().tan());
        Projection::shift(-x - right, -y - down)
            .then(&linear([cos, sin], [-sin, cos]))
            .then(&Projection::scale(1.0 / self.scale, 1.0 / self.scale))
            .then(&linear([1.0, 0.0], [lean_y, 1.0]))
            .then(&linear([1.0, lean_x], [0.0, 1.0]))
            .then(&Projection::shift(x, y))
    }
}

impl Transform for Affine {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        self.sample(canvas.size(), rng).apply(canvas, self.border)
    }

    fn is_random(&self) -> bool {
        let ranges = [self.degrees, self.scale, self.shear_x, self.shear_y];
        self.translate != [0.0; 2] || !ranges.iter().all(Range::is_single)
    }

    fn problem(&self) -> Option<String> {
        if !self.translate.iter().all(|it| (0.0..=1.0).contains(it)) {
            let fractions = "[vertical, horizontal] fractions of the sides";
            return Some(format!(
                "`translate` must be {fractions}, 0 to 1, not {:?}",
                self.translate
            ));
        }
        (self.degrees.problem("degrees", -360.0..=360.0))
            .or_else(|| self.scale.problem("scale", 0.01..=100.0))
            .or_else(|| self.shear_x.problem("shear_x", -89.0..=89.0))
            .or_else(|| self.shear_y.problem("shear_y", -89.0..=89.0))
    }
}

#[cfg(test)]
mod tests {
    use super::Change;
    use crate::{Canvas, transform::golden::Case};

    #[test]
    fn agrees_with_torchvision() {
        for case in Case::all("affine") {
            let change = Change {
                degrees: case.to("degrees"),
                shift: case.to("shift"),
                scale: case.to("scale"),
                shear: case.to("shear"),
            };
            let mut canvas = Canvas::from(case.source());
            change.apply(&mut canvas, case.to("border")).unwrap();
            case.check_close(&canvas.finish().unwrap());
        }
    }
}
