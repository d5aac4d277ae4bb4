//! The image at several sizes.
//!
//! A resize is appended to the pipeline. Where a crop or a resize comes before it, the two are one resampling;
//! but an image that was resized is enlarged from its own pixels, and shows no more detail.
//! Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014, section
//! 4.2: the same network at several test scales; this needs a backbone with global pooling, which all of ours
//! have.

use serde::{Deserialize, Serialize};

use super::{Views, equally, number_problem, then};
use crate::{Filter, Merge, Resize, Step, TransformConfig};

/// `kind = "scales"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scales {
    /// The factors of the height and the width; 1 is the image itself.
    pub by: Vec<f64>,
    /// How the predictions are merged: mean, logits, geometric, max.
    pub merge: Merge,
}

impl Default for Scales {
    /// A step of an eighth down and up.
    fn default() -> Scales {
        Scales { by: vec![0.875, 1.0, 1.125], merge: Merge::Mean }
    }
}

impl Views for Scales {
    fn plan(
        &self,
        ops: &[Step],
        size: [usize; 2],
        _: &[Step],
    ) -> Result<Vec<(Vec<Step>, f64)>, String> {
        if let Some(problem) = number_problem("by", self.by.len()) {
            return Err(problem);
        }
        if let Some(it) = self.by.iter().find(|it| !(0.25..=4.0).contains(*it)) {
            return Err(format!("each of `by` must be a factor from 0.25 to 4, not {it}"));
        }
        let view = |by: &f64| {
            let scaled = size.map(|it| ((it as f64 * by).round() as usize).max(1));
            let resize = Resize { size: scaled, filter: Filter::Bilinear };
            then(ops, (scaled != size).then(|| TransformConfig::Resize(resize).into()))
        };
        Ok(equally(self.by.iter().map(view).collect()))
    }

    fn merge(&self) -> Merge {
        self.merge
    }
}
