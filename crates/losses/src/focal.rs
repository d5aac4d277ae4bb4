//! Focal loss: cross-entropy with a lower weight on well-classified examples.
//!
//! With p_c = softmax(x)_c, t the target and w the class weights,
//!
//! - `paper`: Σ_c t_c w_c (1 - p_c)^γ (-ln p_c), the mean over rows. Lin et al., "Focal Loss for Dense
//!   Object Detection", 2017, where w is α.
//! - `baseline`: the same, divided by the sum of the weights of the rows' classes instead of their
//!   number. The competition's baseline code, which has γ = 5.
//! - `fastai`: Σ_c t_c (1 - q_c)^γ (-ln q_c) with q_c = p_c^w_c, the mean over rows: the weights apply
//!   to the probability as well. fastai's code, and that of LDAM.
//!
//! Without weights all three are the same.

use base::Clock;
use candle::{D, Result, Tensor};
use candle_nn::ops::log_softmax;
use ops::Output;
use serde::{Deserialize, Serialize};

use crate::{
    Binding, ClassWeightsConfig, HeadOutput, Loss, LossKind, LossTerms, Targets,
    class_weights::BoundWeights,
    cross_entropy::{logits, weighted_mean},
};

/// `[loss] kind = "focal"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Focal {
    /// The focusing parameter γ; 0 is cross-entropy.
    pub gamma: f64,
    /// The class weights.
    pub weights: ClassWeightsConfig,
    /// Where the class weights are applied.
    pub weighting: Weighting,
}

/// Where class weights are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// To the loss of each row.
    Paper,
    /// To the loss of each row, and to the mean.
    Baseline,
    /// To the logarithm of the probability.
    Fastai,
}

impl Default for Focal {
    /// The paper's defaults.
    fn default() -> Focal {
        Focal { gamma: 2.0, weights: ClassWeightsConfig::default(), weighting: Weighting::Paper }
    }
}

impl LossKind for Focal {
    fn problem(&self) -> Option<String> {
        let Focal { gamma, .. } = *self;
        let gamma = (!(0.0..=100.0).contains(&gamma))
            .then(|| format!("`gamma` is from 0 to 100, not {gamma}"));
        gamma.or_else(|| self.weights.get().problem())
    }

    fn accepts(&self) -> &'static str {
        "classes"
    }

    fn bind(&self, output: &HeadOutput<'_>) -> Binding {
        if !output.is_categorical() {
            return Ok(None);
        }
        let weights = BoundWeights::new(&self.weights, output)?;
        Ok(Some(Box::new(Bound { gamma: self.gamma, weighting: self.weighting, weights })))
    }
}

struct Bound {
    gamma: f64,
    weighting: Weighting,
    weights: BoundWeights,
}

impl Loss for Bound {
    fn compute(&self, output: &Output, targets: &Targets, clock: &Clock) -> Result<LossTerms> {
        let logits = logits(output)?.expect("a categorical output");
        let target = targets.of(output)?;
        let mut ln_p = log_softmax(&logits, D::Minus1)?;
        let weights = self.weights.at(clock);
        let weigh = |xs: &Tensor| match weights {
            Some(it) => xs.broadcast_mul(&Tensor::new(it, xs.device())?.to_dtype(xs.dtype())?),
            None => Ok(xs.clone()),
        };
        if self.weighting == Weighting::Fastai {
            ln_p = weigh(&ln_p)?;
        }
        let losses = (&target * (modulating_factor(&ln_p, self.gamma)? * ln_p)?)?.neg()?;
        match self.weighting {
            Weighting::Fastai => weighted_mean(&losses, &target, None, targets),
            Weighting::Paper => weighted_mean(&weigh(&losses)?, &target, None, targets),
            Weighting::Baseline => weighted_mean(&losses, &target, weights, targets),
        }
    }
}

/// (1 - p)^γ.
fn modulating_factor(ln_p: &Tensor, gamma: f64) -> Result<Tensor> {
    // For γ < 1 the derivative is infinite at p = 1, but its product with ln p is finite.
    ln_p.exp()?.affine(-1.0, 1.0)?.maximum(1e-12)?.powf(gamma)
}
