//! The four corners and the centre of the image, or these and their mirror images.
//!
//! They replace the pipeline's last `center_crop`: the same size, at the corners of the image before it.
//! Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", 2012, as
//! torchvision's `FiveCrop` and `TenCrop`: upper left, upper right, lower left, lower right, centre; then those
//! of the mirrored image.

use serde::{Deserialize, Serialize};

use super::{Views, equally, mirrored};
use crate::{Crop, Merge, Step, TransformConfig};

/// `kind = "crops"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Crops {
    /// 5, or 10 with the mirror images.
    pub n: usize,
    /// How the predictions are merged: mean, logits, geometric, max.
    pub merge: Merge,
}

impl Default for Crops {
    /// The paper's ten.
    fn default() -> Crops {
        Crops { n: 10, merge: Merge::Mean }
    }
}

/// The positions of the corners: `[down, right]`.
const CORNERS: [[f64; 2]; 4] = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]];

impl Views for Crops {
    fn plan(
        &self,
        ops: &[Step],
        _: [usize; 2],
        _: &[Step],
    ) -> Result<Vec<(Vec<Step>, f64)>, String> {
        if !matches!(self.n, 5 | 10) {
            return Err(format!("`n` must be 5, or 10 with the mirror images, not {}", self.n));
        }
        let center = ops.iter().enumerate().rev().find_map(|(idx, it)| match &it.op {
            TransformConfig::CenterCrop(crop) if it.p >= 1.0 => Some((idx, crop.size)),
            _ => None,
        });
        let Some((idx, size)) = center else {
            return Err("`crops` replace the last `center_crop` of the evaluation's transforms, but there is \
                        none: add one to `augment.eval`, after a `resize` that is larger"
                .to_owned());
        };
        let corner = |at| Step::from(TransformConfig::Crop(Crop { size, at }));
        let five = CORNERS.map(corner).into_iter().chain([ops[idx].clone()]).collect::<Vec<_>>();
        let mut views = Vec::new();
        for is_mirrored in [false, true].into_iter().take(self.n / 5) {
            for crop in &five {
                let mut view = ops[..idx].to_vec();
                view.extend(is_mirrored.then(mirrored));
                view.push(crop.clone());
                view.extend_from_slice(&ops[idx + 1..]);
                views.push(view);
            }
        }
        Ok(equally(views))
    }

    fn merge(&self) -> Merge {
        self.merge
    }
}
