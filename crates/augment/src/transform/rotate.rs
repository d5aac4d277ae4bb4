//! Rotates the image about its centre by a random angle; the frame is kept, and corners are cropped.
//!
//! As torchvision's `RandomRotation` without `expand`: positive angles rotate counter-clockwise.
//! Bilinear, where torchvision's default is nearest.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{Transform, affine::Change};
use crate::{Border, Canvas, OpError, Range};

/// `kind = "rotate"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rotate {
    /// The counter-clockwise rotation in degrees: `[from, to]`, or d for `[-d, d]`.
    pub degrees: Range,
    /// How pixels outside of the image are filled.
    pub border: Border,
}

impl Default for Rotate {
    /// A tilt that occurs in snapshots.
    fn default() -> Rotate {
        Rotate { degrees: Range::around_zero(15.0), border: Border::default() }
    }
}

impl Transform for Rotate {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        // `affine` rotates clockwise.
        let rotation = Change { degrees: -self.degrees.sample(rng), ..Change::NONE };
        rotation.apply(canvas, self.border)
    }

    fn is_random(&self) -> bool {
        !self.degrees.is_single()
    }

    fn problem(&self) -> Option<String> {
        self.degrees.problem("degrees", -360.0..=360.0)
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{Rotate, Transform as _};
    use crate::{Range, transform::golden::Case};

    #[test]
    fn agrees_with_torchvision() {
        for case in Case::all("rotate") {
            let degrees: f64 = case.to("degrees");
            let op =
                Rotate { degrees: Range { from: degrees, to: degrees }, border: case.to("border") };
            case.check_close(&op.on(case.source(), &mut Seed(0).stream("test")).unwrap());
        }
    }
}
