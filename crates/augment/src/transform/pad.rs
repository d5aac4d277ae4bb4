//! Pads the image.
//!
//! As torchvision's `Pad`, except that opposite sides are padded equally. Before a `random_crop` it is the
//! usual augmentation of small images.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::Transform;
use crate::{Border, Canvas, OpError, Projection};

/// `kind = "pad"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pad {
    /// `[top and bottom, left and right]`: the number of pixels added on each of the two sides.
    pub by: [usize; 2],
    /// How the padding is filled.
    pub border: Border,
}

impl Default for Pad {
    /// CIFAR's usual 4 pixels (He et al., "Deep Residual Learning", 2016), black as in torchvision.
    fn default() -> Pad {
        Pad { by: [4, 4], border: Border::default() }
    }
}

/// The maximum padding of a side.
const MOST: usize = 4096;

impl Transform for Pad {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        let [top, left] = self.by;
        if self.by != [0, 0] {
            let [h, w] = canvas.size();
            let size = [h + 2 * top, w + 2 * left];
            canvas.warp(Projection::shift(-(left as f64), -(top as f64)), size, self.border)?;
        }
        Ok(())
    }

    fn is_random(&self) -> bool {
        false
    }

    fn size_after(&self, before: Option<[usize; 2]>) -> Option<[usize; 2]> {
        before.map(|[h, w]| [h + 2 * self.by[0], w + 2 * self.by[1]])
    }

    fn problem(&self) -> Option<String> {
        let is_fit = self.by.iter().all(|&it| it <= MOST);
        (!is_fit).then(|| {
            format!(
                "`by` must be [top and bottom, left and right] in pixels, at most {MOST}, not {:?}",
                self.by
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{Pad, Transform as _};
    use crate::transform::golden::Case;

    #[test]
    fn agrees_with_torchvision() {
        for case in Case::all("pad") {
            let op = Pad { by: case.to("by"), border: case.to("border") };
            case.check_same(&op.on(case.source(), &mut Seed(0).stream("test")).unwrap());
        }
    }
}
