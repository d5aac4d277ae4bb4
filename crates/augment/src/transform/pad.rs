//! The image on a larger ground.
//!
//! As torchvision's `Pad`, but that both sides of a direction get the same. Before a `random_crop` it
//! is the usual augmentation of small images.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::Transform;
use crate::{Border, Canvas, OpError, Projection};

/// `kind = "pad"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pad {
    /// `[above and below, left and right]`: how many pixels each of the two gets.
    pub by: [usize; 2],
    /// What is seen there.
    pub border: Border,
}

impl Default for Pad {
    /// CIFAR's usual 4 pixels (He et al., "Deep Residual Learning", 2016), black as torchvision's.
    fn default() -> Pad {
        Pad { by: [4, 4], border: Border::default() }
    }
}

/// The most that is added to a side.
const MOST: usize = 4096;

impl Transform for Pad {
    fn apply(&self, canvas: &mut Canvas<'_>, _: &mut Rng) -> Result<(), OpError> {
        let [above, left] = self.by;
        if self.by != [0, 0] {
            let [h, w] = canvas.size();
            let size = [h + 2 * above, w + 2 * left];
            canvas.warp(Projection::shift(-(left as f64), -(above as f64)), size, self.border)?;
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
                "`by` is [above and below, left and right] in pixels up to {MOST}, not {:?}",
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
