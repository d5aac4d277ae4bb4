//! LDAM, label-distribution-aware margin loss: margins that are larger for rare classes.
//!
//! With n_c training images of class c and m_c = margin · (n_min / n_c)^¼, the loss of an image of
//! class y is the cross-entropy of s (cos θ_c - [c = y] m_c), s being the head's scale; the loss of a
//! mixed row is the mean of its images' losses by their shares. Class weights apply only late in the
//! run: deferred re-weighting (DRW).
//!
//! Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", 2019,
//! <https://arxiv.org/abs/1906.07413>; the authors' code has margin 0.5, s = 30 and weights of β =
//! 0.9999 in the last fifth of the run. The rarest class is the rarest of those that occur; a class
//! without images has the margin of the rarest.

use base::Clock;
use candle::{D, Result, Tensor};
use candle_nn::ops::log_softmax;
use ops::{Form, Output};
use serde::{Deserialize, Serialize};

use crate::{
    Binding, ClassWeightsConfig, HeadOutput, Loss, LossKind, LossTerms, Targets,
    class_weights::{BoundWeights, Effective},
    cross_entropy::weighted_mean,
};

/// `[loss] kind = "ldam"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ldam {
    /// The margin of the rarest class, as a difference of cosines.
    pub margin: f64,
    /// The class weights.
    pub weights: ClassWeightsConfig,
}

impl Default for Ldam {
    /// As in the authors' code.
    fn default() -> Ldam {
        let weights = ClassWeightsConfig::Effective(Effective { beta: 0.9999, from: 0.8 });
        Ldam { margin: 0.5, weights }
    }
}

impl LossKind for Ldam {
    fn problem(&self) -> Option<String> {
        let margin = self.margin;
        let margin = (!(0.0..=2.0).contains(&margin))
            .then(|| format!("`margin` is from 0 to 2, not {margin}"));
        margin.or_else(|| self.weights.get().problem())
    }

    fn accepts(&self) -> &'static str {
        "cosines, the outputs of the head `cosine`"
    }

    fn bind(&self, output: &HeadOutput<'_>) -> Binding {
        let Form::Cosines { scale } = output.form else { return Ok(None) };
        let margins = margins(self.margin, &output.counts);
        let weights = BoundWeights::new(&self.weights, output)?;
        Ok(Some(Box::new(Bound { margins, scale, weights })))
    }
}

/// m_c of each class, from the number of images of each.
fn margins(margin: f64, counts: &[usize]) -> Vec<f64> {
    // Of those that occur: the margins of the others must not depend on a class without images.
    let rarest = counts.iter().copied().filter(|&n| n > 0).min().unwrap_or(1);
    let of = |&n: &usize| margin * (rarest as f64 / n.max(rarest) as f64).powf(0.25);
    counts.iter().map(of).collect()
}

struct Bound {
    margins: Vec<f64>,
    scale: f64,
    weights: BoundWeights,
}

impl Loss for Bound {
    fn compute(&self, output: &Output, targets: &Targets, clock: &Clock) -> Result<LossTerms> {
        let cosines = &output.numbers;
        let margins = Tensor::new(self.margins.as_slice(), cosines.device())?;
        let margins = margins.to_dtype(cosines.dtype())?;
        let losses = by_parts(output, targets, |one_hot| {
            (cosines - one_hot.broadcast_mul(&margins)?)? * self.scale
        })?;
        weighted_mean(&losses, &targets.of(output)?, self.weights.at(clock), targets)
    }
}

/// The cross-entropy of each row's images, weighted by their shares, each in the column of its class:
/// `[n, class]`. The logits are a function of the true classes, given as one-hot rows.
pub(crate) fn by_parts(
    output: &Output,
    targets: &Targets,
    logits: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let cosines = &output.numbers;
    let (n, n_classes) = cosines.dims2()?;
    let mut sum = cosines.zeros_like()?;
    for (classes, shares) in targets.parts(output)? {
        let mut one_hot = vec![0f32; n * n_classes];
        for (row, class) in classes.into_iter().enumerate() {
            one_hot[row * n_classes + class as usize] = 1.0;
        }
        let one_hot = Tensor::from_vec(one_hot, (n, n_classes), cosines.device())?;
        let one_hot = one_hot.to_dtype(cosines.dtype())?;
        let ln_p = log_softmax(&logits(&one_hot)?, D::Minus1)?;
        let shares = one_hot.broadcast_mul(&shares.unsqueeze(1)?)?;
        sum = (sum - (ln_p * shares)?)?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::margins;

    #[test]
    fn rarest_class_that_occurs_has_the_full_margin() {
        // (16 / 256)^¼ = ½, (16 / 1296)^¼ = ⅓; an empty class does not change the others' margins.
        let close = |got: Vec<f64>, want: &[f64]| {
            assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?}");
        };
        close(margins(0.5, &[256, 16, 1296]), &[0.25, 0.5, 0.5 / 3.0]);
        close(margins(0.5, &[256, 16, 0, 1296]), &[0.25, 0.5, 0.5, 0.5 / 3.0]);
        close(margins(0.5, &[0, 0]), &[0.5, 0.5]);
    }
}
