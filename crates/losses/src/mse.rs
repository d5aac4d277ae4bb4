//! The squared error of a predicted number, such as an age.
//!
//! Σ_i s_i (y - y_i)² over the images of a row with their shares. y is the number that a head predicts,
//! or the expected number of its bins, Σ_j (min + j) softmax(x)_j.
//!
//! A write-up of the competition (001) adds 0.001 times this to the loss of its classes. With bins it is
//! the mean term of the mean-variance loss (Pan et al., 2018).

use base::Clock;
use candle::{D, Result, Tensor, bail};
use candle_nn::ops::softmax;
use ops::{Form, Output};
use serde::{Deserialize, Serialize};

use crate::{Binding, HeadOutput, Loss, LossKind, LossTerms, Targets, TermValue};

/// `[loss] kind = "mse"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mse {}

impl LossKind for Mse {
    fn accepts(&self) -> &'static str {
        "a number, the output of the heads `regression` and `bins`"
    }

    fn bind(&self, output: &HeadOutput<'_>) -> Binding {
        let is_numeric = output.form.is_numeric();
        Ok(is_numeric.then(|| Box::new(self.clone()) as Box<dyn Loss>))
    }
}

impl Loss for Mse {
    fn compute(&self, output: &Output, targets: &Targets, _: &Clock) -> Result<LossTerms> {
        of_errors(output, targets, Tensor::sqr)
    }
}

/// The mean over rows of `cost` of the error, averaged over the row's images by their shares.
pub(crate) fn of_errors(
    output: &Output,
    targets: &Targets,
    cost: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<LossTerms> {
    let number = number(output)?;
    let mut sum = number.zeros_like()?;
    for (wanted, shares) in targets.number_parts()? {
        sum = (sum + (cost(&(&number - wanted)?)? * shares)?)?;
    }
    let weighted = (sum * targets.weights()?)?;
    Ok(LossTerms::of(TermValue::PerExample { weighted, norm: targets.weight() }))
}

/// Returns the predicted number of each row: `[n]`.
fn number(output: &Output) -> Result<Tensor> {
    let xs = &output.numbers;
    match output.form {
        Form::Number { scale, center, .. } => xs.squeeze(D::Minus1)?.affine(scale, center),
        Form::Bins { min, .. } => {
            let bins = Tensor::arange(min, min + xs.dim(1)? as i64, xs.device())?;
            let bins = bins.to_dtype(xs.dtype())?;
            softmax(xs, D::Minus1)?.broadcast_mul(&bins)?.sum(D::Minus1)
        }
        _ => bail!("{} are not a number", output.form.name()),
    }
}
