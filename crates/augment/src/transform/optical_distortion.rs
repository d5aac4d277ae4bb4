//! Optical distortion: barrel or pincushion distortion of a camera lens.
//!
//! A point at the distance r from the centre shows the source at r f: for a camera,
//! f = 1 + k r^2 + k r^4, with r relative to the width horizontally and to the height vertically (OpenCV's
//! camera model with k1 = k2 = k); for a fisheye, f = 1 + k r^2, with r relative to half the diagonal.
//!
//! albumentations' `OpticalDistortion`, except that the centre is that of the image; there, it is half a
//! pixel to the lower right, and the camera model shifts the image by as much. The border is that of
//! albumentations 1, mirrored; albumentations 2 has black.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::Transform;
use crate::{Border, Canvas, OpError, Range};

/// `kind = "optical_distortion"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpticalDistortion {
    /// k: `[from, to]`, or d for `[-d, d]`; positive for barrel, negative for pincushion distortion.
    pub limit: Range,
    /// The lens model.
    pub lens: Lens,
    /// How pixels outside of the image are filled.
    pub border: Border,
}

/// The lens model: how the distance from the centre changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lens {
    /// By its second and fourth powers, relative to the sides.
    Camera,
    /// By its square, relative to half the diagonal.
    Fisheye,
}

impl Default for OpticalDistortion {
    /// albumentations' defaults.
    fn default() -> OpticalDistortion {
        OpticalDistortion {
            limit: Range::around_zero(0.05),
            lens: Lens::Camera,
            border: Border::Reflect,
        }
    }
}

impl Lens {
    fn apply(self, canvas: &mut Canvas<'_>, k: f64, border: Border) -> Result<(), OpError> {
        let [h, w] = canvas.size().map(|it| it as f64);
        let [x0, y0] = [w, h].map(|it| it / 2.0);
        let diagonal = (w * w + h * h) / 4.0;
        let factor = |x: f64, y: f64| match self {
            Lens::Camera => {
                let square = (x / w) * (x / w) + (y / h) * (y / h);
                1.0 + k * square * (1.0 + square)
            }
            Lens::Fisheye => 1.0 + k * (x * x + y * y) / diagonal,
        };
        canvas.displace(border, |x, y| {
            let [x, y] = [x - x0, y - y0];
            let factor = factor(x, y);
            (x0 + x * factor, y0 + y * factor)
        })?;
        Ok(())
    }
}

impl Transform for OpticalDistortion {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        match self.limit.sample(rng) {
            0.0 => Ok(()),
            k => self.lens.apply(canvas, k, self.border),
        }
    }

    fn is_random(&self) -> bool {
        !self.limit.is_single()
    }

    fn problem(&self) -> Option<String> {
        self.limit.problem("limit", -1.0..=1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Lens;
    use crate::{Border, Canvas, transform::golden::Case};

    #[test]
    fn agrees_with_albumentations() {
        for case in Case::all("optical_distortion") {
            let mut canvas = Canvas::from(case.source());
            let lens: Lens = case.to("lens");
            lens.apply(&mut canvas, case.to("k"), Border::Reflect).unwrap();
            case.check_close(&canvas.finish().unwrap());
        }
    }
}
