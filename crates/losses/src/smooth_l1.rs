//! Smooth L1 of a predicted number, such as an age.
//!
//! With d = y - y_i: d² / 2β where |d| < β, |d| - β/2 elsewhere, over the images of a row with
//! their shares. The gradient of a large error is no larger than that of an error of β.
//!
//! Girshick, "Fast R-CNN", 2015; PyTorch's `smooth_l1_loss`.

use base::Clock;
use candle::Result;
use ops::Output;
use serde::{Deserialize, Serialize};

use crate::{
    Binding, HeadOutput, Loss, LossKind, LossTerms, Targets,
    mse::{Mse, of_errors},
};

/// `[loss] kind = "smooth_l1"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmoothL1 {
    /// The error up to which the loss is quadratic.
    pub beta: f64,
}

impl Default for SmoothL1 {
    /// PyTorch's default.
    fn default() -> SmoothL1 {
        SmoothL1 { beta: 1.0 }
    }
}

impl LossKind for SmoothL1 {
    fn problem(&self) -> Option<String> {
        let beta = self.beta;
        (!(beta > 0.0 && beta.is_finite())).then(|| format!("`beta` is above 0, not {beta}"))
    }

    fn accepts(&self) -> &'static str {
        Mse {}.accepts()
    }

    fn bind(&self, output: &HeadOutput<'_>) -> Binding {
        let is_numeric = Mse {}.bind(output)?.is_some();
        Ok(is_numeric.then(|| Box::new(self.clone()) as Box<dyn Loss>))
    }
}

impl Loss for SmoothL1 {
    fn compute(&self, output: &Output, targets: &Targets, _: &Clock) -> Result<LossTerms> {
        of_errors(output, targets, |error| {
            let size = (error.relu()? + error.neg()?.relu()?)?;
            // min(|d|, β), which is squared, and the excess over β, which is linear.
            let beyond = (&size - self.beta)?.relu()?;
            let within = (size - &beyond)?;
            within.sqr()?.affine(0.5 / self.beta, 0.0)? + beyond
        })
    }
}
