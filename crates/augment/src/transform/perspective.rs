//! Random perspective transform: moves each corner inwards by its own random amount.
//!
//! torchvision's `RandomPerspective`: corner pixels move to whole pixels, sampled uniformly from the part at
//! the image's corner whose sides are `distortion_scale` of half the image's. As there, the map between pixel
//! centres is applied to pixel coordinates (half a pixel to the lower right).
//! Bilinear.

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::Transform;
use crate::{Border, Canvas, OpError, Projection};

/// `kind = "perspective"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Perspective {
    /// The maximum displacement of the corners, as a fraction of half the sides.
    pub distortion_scale: f64,
    /// How pixels outside of the image are filled.
    pub border: Border,
}

impl Default for Perspective {
    /// torchvision's defaults.
    fn default() -> Perspective {
        Perspective { distortion_scale: 0.5, border: Border::default() }
    }
}

impl Perspective {
    /// Samples the destinations of the upper left, upper right, lower right and lower left corners, as (x,
    /// y).
    fn sample(&self, [h, w]: [usize; 2], rng: &mut Rng) -> [[f64; 2]; 4] {
        let mut inwards = |side: usize| {
            let most = (self.distortion_scale * (side / 2) as f64) as usize;
            rng.random_range(0..=most) as f64
        };
        [[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]].map(|[x, y]| {
            let [right, down] = [inwards(w), inwards(h)];
            [(x as f64 - right).abs(), (y as f64 - down).abs()]
        })
    }
}

/// Moves the corners.
fn apply(canvas: &mut Canvas<'_>, corners: [[f64; 2]; 4], border: Border) -> Result<(), OpError> {
    let size = canvas.size();
    let [down, right] = size.map(|it| it as f64 - 1.0);
    let now = [[0.0, 0.0], [right, 0.0], [right, down], [0.0, down]];
    // An image one pixel wide has no corners to move, and collinear corners have no inverse.
    if corners != now
        && let Some(inverse) = Projection::onto_quadrilateral([right, down], corners).inverse()
    {
        canvas.warp(inverse, size, border)?;
    }
    Ok(())
}

impl Transform for Perspective {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let corners = self.sample(canvas.size(), rng);
        apply(canvas, corners, self.border)
    }

    fn is_random(&self) -> bool {
        self.distortion_scale > 0.0
    }

    /// torchvision's default.
    fn usual_p(&self) -> f64 {
        0.5
    }

    fn problem(&self) -> Option<String> {
        (!(0.0..=1.0).contains(&self.distortion_scale)).then(|| {
            let it = self.distortion_scale;
            format!("`distortion_scale` must be a fraction of half the sides, 0 to 1, not {it}")
        })
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{Perspective, apply};
    use crate::{Canvas, transform::golden::Case};

    #[test]
    fn agrees_with_torchvision() {
        for case in Case::all("perspective") {
            let mut canvas = Canvas::from(case.source());
            apply(&mut canvas, case.to("corners"), case.to("border")).unwrap();
            case.check_close(&canvas.finish().unwrap());
        }
    }

    #[test]
    fn corners_stay_in_their_quadrants() {
        let mut rng = Seed(0).stream("test");
        let op = Perspective { distortion_scale: 0.5, ..Perspective::default() };
        for _ in 0..200 {
            let [a, b, c, d] = op.sample([21, 41], &mut rng);
            // At most half of half of 41 and of 21, truncated, from the corner.
            for (at, [x, y]) in
                [(a, [0.0, 0.0]), (b, [40.0, 0.0]), (c, [40.0, 20.0]), (d, [0.0, 20.0])]
            {
                assert!((at[0] - x).abs() <= 10.0 && (at[1] - y).abs() <= 5.0, "{at:?}");
            }
        }
    }
}
