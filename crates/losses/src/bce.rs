//! Binary cross-entropy of independent classes.
//!
//! The mean over classes of -(t_c ln σ(x_c) + (1 - t_c) ln(1 - σ(x_c))), as in PyTorch; the loss
//! `cross_entropy` has the sum. With label smoothing as in timm's `BinaryCrossEntropy`.
//!
//! Wightman et al., "ResNet strikes back", 2021, train with it on mixed images.

use base::Clock;
use candle::Result;
use ops::{Form, Output};
use serde::{Deserialize, Serialize};

use crate::{
    Binding, HeadOutput, Loss, LossKind, LossTerms, Targets,
    cross_entropy::{independent, weighted_mean},
    smoothing::{self, SmoothingOver, smooth},
};

/// `[loss] kind = "bce"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bce {
    /// Label smoothing, spread over all classes.
    pub label_smoothing: f64,
}

impl LossKind for Bce {
    fn problem(&self) -> Option<String> {
        smoothing::problem(self.label_smoothing)
    }

    fn accepts(&self) -> &'static str {
        "independent classes, the outputs of the head `sigmoid`"
    }

    fn bind(&self, output: &HeadOutput<'_>) -> Binding {
        let Form::Independent = output.form else { return Ok(None) };
        Ok(Some(Box::new(self.clone())))
    }
}

impl Loss for Bce {
    fn compute(&self, output: &Output, targets: &Targets, _: &Clock) -> Result<LossTerms> {
        let target = targets.of(output)?;
        let smoothed = smooth(&target, self.label_smoothing, SmoothingOver::All)?;
        let n_classes = output.numbers.dim(1)? as f64;
        let losses = independent(&output.numbers, &smoothed)?.affine(-1.0 / n_classes, 0.0)?;
        weighted_mean(&losses, &target, None, targets)
    }
}
