//! Generalised cross-entropy: between cross-entropy (q → 0) and mean absolute error (q = 1).
//!
//! Σ_c t_c (1 - p_c^q) / q: compared with cross-entropy, the gradient is smaller where p is small, so that
//! labels that the network finds unlikely, as wrong ones are, have little effect.
//!
//! Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
//! Labels", 2018, <https://arxiv.org/abs/1805.07836>, who have q = 0.7; without their truncation.

use base::Clock;
use candle::{D, Result};
use candle_nn::ops::log_softmax;
use ops::Output;
use serde::{Deserialize, Serialize};

use crate::{
    Binding, HeadOutput, Loss, LossKind, LossTerms, Targets,
    cross_entropy::{logits, weighted_mean},
};

/// `[loss] kind = "generalised_cross_entropy"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeneralisedCrossEntropy {
    /// The exponent, above 0 to 1.
    pub q: f64,
}

impl Default for GeneralisedCrossEntropy {
    /// The paper's default.
    fn default() -> GeneralisedCrossEntropy {
        GeneralisedCrossEntropy { q: 0.7 }
    }
}

impl LossKind for GeneralisedCrossEntropy {
    fn problem(&self) -> Option<String> {
        let q = self.q;
        (!(0.001..=1.0).contains(&q)).then(|| format!("`q` is from 0.001 to 1, not {q}"))
    }

    fn accepts(&self) -> &'static str {
        "classes"
    }

    fn bind(&self, output: &HeadOutput<'_>) -> Binding {
        Ok(output.is_categorical().then(|| Box::new(self.clone()) as Box<dyn Loss>))
    }
}

impl Loss for GeneralisedCrossEntropy {
    fn compute(&self, output: &Output, targets: &Targets, _: &Clock) -> Result<LossTerms> {
        let (q, target) = (self.q, targets.of(output)?);
        let ln_p = log_softmax(&logits(output)?.expect("a categorical output"), D::Minus1)?;
        // p^q, computed from ln p: where p is 0, it is 0 with a gradient of 0.
        let power = (ln_p * q)?.exp()?;
        let losses = (&target * power.affine(-1.0 / q, 1.0 / q)?)?;
        weighted_mean(&losses, &target, None, targets)
    }
}
