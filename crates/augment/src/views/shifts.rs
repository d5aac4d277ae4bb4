//! The image moved by fractions of its size.
//!
//! By whole pixels, so that nothing is resampled; what enters is the image mirrored at its edge. Averaging
//! over translations makes a network with strides less sensitive to them (Zhang, "Making Convolutional
//! Networks Shift-Invariant Again", 2019).

use serde::{Deserialize, Serialize};

use super::{Views, equally, number_problem, then};
use crate::{Border, Crop, Merge, Pad, Step, TransformConfig};

/// `kind = "shifts"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shifts {
    /// The moves `[down, right]`, as fractions of the height and the width; `[0, 0]` is the image itself.
    pub by: Vec<[f64; 2]>,
    /// How the predictions are merged: mean, logits, geometric, max.
    pub merge: Merge,
}

impl Default for Shifts {
    /// By a twentieth in each direction.
    fn default() -> Shifts {
        let by = vec![[0.0, 0.0], [-0.05, 0.0], [0.05, 0.0], [0.0, -0.05], [0.0, 0.05]];
        Shifts { by, merge: Merge::Mean }
    }
}

/// The operations that move an image of `size` by `[down, right]` pixels.
fn shift(size: [usize; 2], by: [isize; 2]) -> Vec<Step> {
    if by == [0, 0] {
        return Vec::new();
    }
    let pad = Pad { by: by.map(isize::unsigned_abs), border: Border::Reflect };
    // Of the padded image, the first pixels are those before the image.
    let crop = Crop { size, at: by.map(|it| if it > 0 { 0.0 } else { 1.0 }) };
    vec![TransformConfig::Pad(pad).into(), TransformConfig::Crop(crop).into()]
}

impl Views for Shifts {
    fn plan(
        &self,
        ops: &[Step],
        size: [usize; 2],
        _: &[Step],
    ) -> Result<Vec<(Vec<Step>, f64)>, String> {
        if let Some(problem) = number_problem("by", self.by.len()) {
            return Err(problem);
        }
        if let Some(it) = self.by.as_flattened().iter().find(|it| !(-0.5..=0.5).contains(*it)) {
            return Err(format!("each of `by` must be two fractions from -0.5 to 0.5, not {it}"));
        }
        let view = |by: &[f64; 2]| {
            let pixels = [0, 1].map(|it| (by[it] * size[it] as f64).round() as isize);
            then(ops, shift(size, pixels))
        };
        Ok(equally(self.by.iter().map(view).collect()))
    }

    fn merge(&self) -> Merge {
        self.merge
    }
}
