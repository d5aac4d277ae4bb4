//! Layer-wise learning-rate decay: each stage's rate is a fixed share of the next one's.
//!
//! max(decay^(n - k), min_scale) for stage k of n, counted from 0; the head is stage n.
//!
//! Clark et al., "ELECTRA", 2020, <https://arxiv.org/abs/2003.10555>, as in timm's
//! `param_groups_layer_decay`, with its defaults; timm decays by blocks where it can, we decay by stages.

use serde::{Deserialize, Serialize};

use super::StageLr;

/// `stage_lr = { kind = "layer_decay" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LayerDecay {
    /// The factor from one stage to the one before it.
    pub decay: f64,
    /// The minimum multiple of a stage.
    pub min_scale: f64,
}

impl Default for LayerDecay {
    fn default() -> LayerDecay {
        LayerDecay { decay: 0.75, min_scale: 0.0 }
    }
}

impl StageLr for LayerDecay {
    fn scales(&self, stages: &[&str]) -> Result<Vec<f64>, String> {
        let n = stages.len();
        let scale = |k: usize| self.decay.powf((n - k) as f64).max(self.min_scale);
        Ok((0..n).map(scale).collect())
    }

    fn problem(&self) -> Option<String> {
        if !(self.decay > 0.0 && self.decay <= 1.0) {
            return Some(format!("`decay` is above 0 and at most 1, not {}", self.decay));
        }
        let is_share = (0.0..=1.0).contains(&self.min_scale);
        (!is_share).then(|| format!("`min_scale` is from 0 to 1, not {}", self.min_scale))
    }
}
