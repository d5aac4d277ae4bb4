//! Soft F1 loss: one minus the macro F1 of the batch, with probabilities instead of counts.
//!
//! With p = softmax(x) and t the targets of the rows, for each class tp = Σ t p, fp = Σ (1 - t) p and
//! fn = Σ t (1 - p) over the batch; P = tp / (tp + fp + ε), R = tp / (tp + fn + ε), F1 = 2 P R /
//! (P + R + ε), clamped to ε and 1 - ε; the loss is 1 minus the mean of F1 over the classes.
//!
//! From the competition's baseline, after a widely copied gist. It is a loss of the batch as a whole: a
//! class that is not in the batch adds a constant, so that small batches of many classes have weak
//! gradients; it is best used in a `sum` with another loss.

use base::Clock;
use candle::{D, Result};
use candle_nn::ops::log_softmax;
use ops::Output;
use serde::{Deserialize, Serialize};

use crate::{
    Binding, HeadOutput, Loss, LossKind, LossTerms, Targets, TermValue, cross_entropy::logits,
};

/// `[loss] kind = "f1"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct F1 {
    /// ε, which keeps the quotients finite.
    pub epsilon: f64,
}

impl Default for F1 {
    /// The baseline's.
    fn default() -> F1 {
        F1 { epsilon: 1e-7 }
    }
}

impl LossKind for F1 {
    fn problem(&self) -> Option<String> {
        let epsilon = self.epsilon;
        (!(1e-12..0.5).contains(&epsilon))
            .then(|| format!("`epsilon` is from 1e-12 to below 0.5, not {epsilon}"))
    }

    fn accepts(&self) -> &'static str {
        "classes"
    }

    fn bind(&self, output: &HeadOutput<'_>) -> Binding {
        Ok(output.is_categorical().then(|| Box::new(self.clone()) as Box<dyn Loss>))
    }
}

impl Loss for F1 {
    fn compute(&self, output: &Output, targets: &Targets, _: &Clock) -> Result<LossTerms> {
        let epsilon = self.epsilon;
        let logits = logits(output)?.expect("a categorical output");
        let p = log_softmax(&logits, D::Minus1)?.exp()?;
        let (rows, target) = (targets.weights()?.unsqueeze(1)?, targets.of(output)?);
        let p = p.broadcast_mul(&rows)?;
        let hits = (&target * &p)?.sum(0)?;
        // tp + fp is the sum of p, and tp + fn the sum of t.
        let precision = (&hits / (p.sum(0)? + epsilon)?)?;
        let recall = (&hits / (target.broadcast_mul(&rows)?.sum(0)? + epsilon)?)?;
        let f1 = ((&precision * &recall)? * 2.0)?.div(&((precision + recall)? + epsilon)?)?;
        let f1 = f1.maximum(epsilon)?.minimum(1.0 - epsilon)?;
        Ok(LossTerms::of(TermValue::Batch(f1.mean_all()?.affine(-1.0, 1.0)?)))
    }
}
