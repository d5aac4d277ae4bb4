//! Automatic mixed precision: activations and their gradients in two bytes on a card, parameters and sums in f32.
//!
//! f16 cannot hold small gradients, so the loss is multiplied by a scale before the backward pass: it is multiplied by
//! `growth_factor` after `growth_interval` steps in a row whose gradients are finite, and by `backoff_factor` after a
//! step with one that is not, which is skipped. bf16 has the range of f32, and no scale.
//!
//! Micikevicius et al., "Mixed Precision Training", 2017, <https://arxiv.org/abs/1710.03740>; the scale as in PyTorch's
//! `GradScaler`. Unlike in PyTorch's `autocast`, which operations run in f32 is no list: every kernel reads two bytes,
//! computes and sums in f32, and the loss is computed on the host in f32.

use gpu::{Storage, update::Scaling};
use serde::{Deserialize, Serialize};

/// `[amp]`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmpSection {
    /// The type of activations on a card.
    pub dtype: AmpDtype,
    /// The first loss scale of f16.
    pub init_scale: f64,
    /// What the loss scale is multiplied by after `growth_interval` good steps.
    pub growth_factor: f64,
    /// What the loss scale is multiplied by after a skipped step.
    pub backoff_factor: f64,
    /// Good steps in a row after which the loss scale grows.
    pub growth_interval: u32,
}

/// The type of activations on a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AmpDtype {
    /// f32: no mixed precision.
    Off,
    /// bf16: 8 significant bits, the range of f32.
    Bf16,
    /// f16: 11 significant bits, a smaller range, and a loss scale.
    F16,
}

/// The loss scale of f16, at a moment of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossScale {
    /// What the loss is multiplied by.
    pub scale: f32,
    /// Steps since it has changed.
    pub good_steps: u32,
    /// Steps that were skipped, of all.
    pub skipped_steps: u32,
}

impl AmpSection {
    /// Returns the first invalid setting as a message, if there is one.
    pub(crate) fn problem(&self) -> Option<String> {
        let &AmpSection { init_scale, growth_factor, backoff_factor, growth_interval, .. } = self;
        if !(init_scale > 0.0 && init_scale <= f64::from(f32::MAX)) {
            return Some(format!("`init_scale` is above 0 and finite, not {init_scale}"));
        }
        if !(1.0..=1024.0).contains(&growth_factor) {
            return Some(format!("`growth_factor` is from 1 to 1024, not {growth_factor}"));
        }
        if !(backoff_factor > 0.0 && backoff_factor < 1.0) {
            return Some(format!("`backoff_factor` is between 0 and 1, not {backoff_factor}"));
        }
        (growth_interval == 0).then(|| "`growth_interval` is at least 1".to_owned())
    }

    /// Returns how a card stores activations.
    pub(crate) fn storage(&self) -> Storage {
        match self.dtype {
            AmpDtype::Off => Storage::F32,
            AmpDtype::Bf16 => Storage::Bf16,
            AmpDtype::F16 => Storage::F16,
        }
    }

    /// Returns the loss scale, if there is one.
    pub(crate) fn scaling(&self) -> Option<Scaling> {
        (self.dtype == AmpDtype::F16).then_some(Scaling {
            initial: self.init_scale as f32,
            growth: self.growth_factor as f32,
            backoff: self.backoff_factor as f32,
            interval: self.growth_interval,
        })
    }
}
