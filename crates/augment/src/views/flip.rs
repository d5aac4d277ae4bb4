//! The image and its mirror image.
//!
//! Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", 2012. The final image
//! is mirrored, so that an odd margin of a crop is on the same side of both.

use serde::{Deserialize, Serialize};

use super::{Views, equally, mirrored, then};
use crate::{Merge, Step};

/// `kind = "flip"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flip {
    /// How the predictions are merged: mean, logits, geometric, max.
    pub merge: Merge,
}

impl Views for Flip {
    fn plan(
        &self,
        ops: &[Step],
        _: [usize; 2],
        _: &[Step],
    ) -> Result<Vec<(Vec<Step>, f64)>, String> {
        Ok(equally(vec![ops.to_vec(), then(ops, [mirrored()])]))
    }

    fn merge(&self) -> Merge {
        self.merge
    }
}
