//! Symmetric cross-entropy: cross-entropy plus reverse cross-entropy.
//!
//! α (-Σ_c t_c ln p_c) + β (-Σ_c p_c max(ln t_c, A)): the second term is at most -A for any prediction,
//! so that the effect of a wrong label is bounded.
//!
//! Wang et al., "Symmetric Cross Entropy for Robust Learning with Noisy Labels", 2019,
//! <https://arxiv.org/abs/1908.06112>: α = 0.1, β = 1 and A = -4 for ten classes.

use base::Clock;
use candle::{D, Result};
use candle_nn::ops::log_softmax;
use ops::Output;
use serde::{Deserialize, Serialize};

use crate::{
    Binding, HeadOutput, Loss, LossKind, LossTerms, Targets,
    cross_entropy::{logits, weighted_mean},
};

/// `[loss] kind = "symmetric_cross_entropy"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SymmetricCrossEntropy {
    /// The weight α of the cross-entropy.
    pub alpha: f64,
    /// The weight β of the reverse cross-entropy.
    pub beta: f64,
    /// The value A that replaces the logarithm of 0.
    pub ln_zero: f64,
}

impl Default for SymmetricCrossEntropy {
    /// The paper's, for CIFAR-10.
    fn default() -> SymmetricCrossEntropy {
        SymmetricCrossEntropy { alpha: 0.1, beta: 1.0, ln_zero: -4.0 }
    }
}

impl LossKind for SymmetricCrossEntropy {
    fn problem(&self) -> Option<String> {
        let SymmetricCrossEntropy { alpha, beta, ln_zero } = *self;
        let is_share = |it: f64| it >= 0.0 && it.is_finite();
        if !is_share(alpha) || !is_share(beta) || alpha + beta == 0.0 {
            return Some(format!(
                "`alpha` and `beta` are from 0, and not both 0; they are {alpha} and {beta}"
            ));
        }
        (!(-100.0..0.0).contains(&ln_zero))
            .then(|| format!("`ln_zero` is from -100 to below 0, not {ln_zero}"))
    }

    fn accepts(&self) -> &'static str {
        "classes"
    }

    fn bind(&self, output: &HeadOutput<'_>) -> Binding {
        Ok(output.is_categorical().then(|| Box::new(self.clone()) as Box<dyn Loss>))
    }
}

impl Loss for SymmetricCrossEntropy {
    fn compute(&self, output: &Output, targets: &Targets, _: &Clock) -> Result<LossTerms> {
        let target = targets.of(output)?;
        let ln_p = log_softmax(&logits(output)?.expect("a categorical output"), D::Minus1)?;
        let ln_target = target.maximum(self.ln_zero.exp())?.log()?;
        let forward = (&target * &ln_p)?.affine(-self.alpha, 0.0)?;
        let reverse = (ln_p.exp()? * ln_target)?.affine(-self.beta, 0.0)?;
        weighted_mean(&(forward + reverse)?, &target, None, targets)
    }
}
