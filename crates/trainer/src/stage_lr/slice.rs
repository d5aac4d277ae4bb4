//! Discriminative learning rates, geometrically spaced from the first stage to the head: general features
//! change little, task-specific ones much.
//!
//! from^(1 - k / n) for stage k of n, counted from 0; the head is stage n.
//!
//! Howard & Ruder, "Universal Language Model Fine-tuning", 2018, <https://arxiv.org/abs/1801.06146>, in the
//! form of fastai's `slice(lr * from, lr)`, with a group for each stage instead of two and the head.

use serde::{Deserialize, Serialize};

use super::StageLr;

/// `stage_lr = { kind = "slice" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slice {
    /// The first stage's multiple of the learning rate.
    pub from: f64,
}

impl Default for Slice {
    /// The value of fastai's `fine_tune`.
    fn default() -> Slice {
        Slice { from: 0.01 }
    }
}

impl StageLr for Slice {
    fn scales(&self, stages: &[&str]) -> Result<Vec<f64>, String> {
        let n = stages.len() as f64;
        Ok((0..stages.len()).map(|k| self.from.powf(1.0 - k as f64 / n)).collect())
    }

    fn problem(&self) -> Option<String> {
        let is_share = self.from > 0.0 && self.from <= 1.0;
        (!is_share).then(|| format!("`from` is above 0 and at most 1, not {}", self.from))
    }
}
