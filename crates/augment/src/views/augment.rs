//! Several images made by the training transforms, and the plain one.
//!
//! p = (1 - β) · (mean of p over n images by the training transforms) + β · p of the plain image: `tta` of
//! fastai (Howard & Gugger, "fastai: A Layered API for Deep Learning", 2020), whose settings have the same names;
//! its `use_max` is `merge = "max"`. The other ways to merge use the same weights.
//!
//! The random numbers are seeded by the bytes of the image file, where fastai's depend on the order of the
//! images: so the same image has the same prediction, alone or among others.

use serde::{Deserialize, Serialize};

use super::{Views, number_problem};
use crate::{Merge, Step};

/// `kind = "augment"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// The number of images made by the training transforms.
    pub n: usize,
    /// The weight of the plain image.
    pub beta: f64,
    /// How the predictions are merged: mean, logits, geometric, max.
    pub merge: Merge,
}

impl Default for Augment {
    /// fastai's.
    fn default() -> Augment {
        Augment { n: 4, beta: 0.25, merge: Merge::Mean }
    }
}

impl Views for Augment {
    fn plan(
        &self,
        ops: &[Step],
        _: [usize; 2],
        train: &[Step],
    ) -> Result<Vec<(Vec<Step>, f64)>, String> {
        if self.n == 0 {
            return Err("`n` must be at least 1; without test-time augmentation, `kind` is `none`"
                .to_owned());
        }
        if let Some(problem) = number_problem("n", self.n + 1) {
            return Err(problem);
        }
        if !(0.0..=1.0).contains(&self.beta) {
            return Err(format!("`beta` must be a weight from 0 to 1, not {}", self.beta));
        }
        if train.is_empty() {
            return Err("`augment` needs the transforms of training, which are not known: use other views, or \
                        a bundle that was trained with them"
                .to_owned());
        }
        let weight = (1.0 - self.beta) / self.n as f64;
        let augmented = (0..self.n).map(|_| (train.to_vec(), weight));
        Ok([(ops.to_vec(), self.beta)].into_iter().chain(augmented).collect())
    }

    fn merge(&self) -> Merge {
        self.merge
    }
}
