//! The squared error of the age in years.
//!
//! Σ_i s_i (years - age_i)² over the images of a row with their shares. Years are the number that a
//! head predicts, or the expected year of its bins, Σ_j j softmax(x)_j.
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
        "years, the outputs of the heads `age_number` and `age_bins`"
    }

    fn bind(&self, output: &HeadOutput<'_>) -> Binding {
        match output.form {
            Form::Number { .. } | Form::Bins { .. } => Ok(Some(Box::new(self.clone()))),
            _ => Ok(None),
        }
    }
}

impl Loss for Mse {
    fn compute(&self, output: &Output, targets: &Targets, _: &Clock) -> Result<LossTerms> {
        of_errors(output, targets, Tensor::sqr)
    }
}

/// The mean over rows of `cost` of the error in years, averaged over the row's images by their shares.
pub(crate) fn of_errors(
    output: &Output,
    targets: &Targets,
    cost: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<LossTerms> {
    let years = years(output)?;
    let mut sum = years.zeros_like()?;
    for (ages, shares) in targets.age_parts()? {
        sum = (sum + (cost(&(&years - ages)?)? * shares)?)?;
    }
    let weighted = (sum * targets.weights()?)?;
    Ok(LossTerms::of(TermValue::PerExample { weighted, norm: targets.weight() }))
}

/// Returns the predicted age of each row: `[n]`.
fn years(output: &Output) -> Result<Tensor> {
    let xs = &output.numbers;
    match output.form {
        Form::Number { scale, shift, .. } => xs.squeeze(D::Minus1)?.affine(scale, shift),
        Form::Bins { .. } => {
            let bins = Tensor::arange(0, xs.dim(1)? as u32, xs.device())?.to_dtype(xs.dtype())?;
            softmax(xs, D::Minus1)?.broadcast_mul(&bins)?.sum(D::Minus1)
        }
        _ => bail!("{} are not years", output.form.name()),
    }
}
