//! Cross-entropy: the negative log-likelihood of each output of a network.
//!
//! With x the numbers of a row, t the target distribution, smoothed, and w the class weights,
//!
//! - classes, cosines, and bins: -Σ_c w_c t_c ln softmax(x)_c.
//! - independent classes: -Σ_c w_c (t_c ln σ(x_c) + (1 - t_c) ln(1 - σ(x_c))), summed over the
//!   classes as every likelihood is (PyTorch's default, and the loss `bce`, is their mean).
//! - number: Σ_i s_i (y - y_i)² over the images of the row with their shares: the negative
//!   log-likelihood of a normal distribution, up to its variance, which is in the output's weight.
//!
//! The mean over rows is weighted by Σ_c w_c t_c of the unsmoothed t, which for unmixed images is the
//! weight of their class, as in PyTorch. For soft targets PyTorch divides by the number of rows
//! instead; here the loss of a mixed row is the mean of its images' losses, by their shares.

use base::Clock;
use candle::{D, Result, Tensor};
use candle_nn::ops::log_softmax;
use ops::{Form, Output};
use serde::{Deserialize, Serialize};

use crate::{
    Binding, ClassWeightsConfig, HeadOutput, Loss, LossKind, LossTerms, Targets, TermValue,
    class_weights::BoundWeights,
    mse,
    smoothing::{self, SmoothingOver, smooth},
};

/// `[loss] kind = "cross_entropy"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrossEntropy {
    /// The class weights.
    pub weights: ClassWeightsConfig,
    /// Label smoothing.
    pub label_smoothing: f64,
    /// The classes that the smoothing is spread over.
    pub smoothing_over: SmoothingOver,
}

impl Default for CrossEntropy {
    /// PyTorch's defaults.
    fn default() -> CrossEntropy {
        CrossEntropy {
            weights: ClassWeightsConfig::default(),
            label_smoothing: 0.0,
            smoothing_over: SmoothingOver::All,
        }
    }
}

impl LossKind for CrossEntropy {
    fn problem(&self) -> Option<String> {
        smoothing::problem(self.label_smoothing).or_else(|| self.weights.get().problem())
    }

    fn accepts(&self) -> &'static str {
        "outputs of every form"
    }

    fn bind(&self, output: &HeadOutput<'_>) -> Binding {
        if let Form::Number { .. } = output.form {
            return mse::Mse {}.bind(output);
        }
        let weights = BoundWeights::new(&self.weights, output)?;
        Ok(Some(Box::new(Bound { config: self.clone(), weights })))
    }
}

struct Bound {
    config: CrossEntropy,
    weights: BoundWeights,
}

impl Loss for Bound {
    fn compute(&self, output: &Output, targets: &Targets, clock: &Clock) -> Result<LossTerms> {
        let CrossEntropy { label_smoothing, smoothing_over, .. } = self.config;
        let target = targets.of(output)?;
        let smoothed = match label_smoothing > 0.0 {
            true => smooth(&target, label_smoothing, smoothing_over)?,
            false => target.clone(),
        };
        let losses = match logits(output)? {
            Some(logits) => (smoothed * log_softmax(&logits, D::Minus1)?)?,
            None => independent(&output.numbers, &smoothed)?,
        };
        weighted_mean(&losses.neg()?, &target, self.weights.at(clock), targets)
    }
}

/// The logits of an output that is a distribution over its numbers.
pub(crate) fn logits(output: &Output) -> Result<Option<Tensor>> {
    match output.form {
        Form::Classes | Form::Bins { .. } => Ok(Some(output.numbers.clone())),
        Form::Cosines { scale } => (&output.numbers * scale).map(Some),
        Form::Independent | Form::Number { .. } => Ok(None),
    }
}

/// t ln σ(x) + (1 - t) ln(1 - σ(x)) of each class.
pub(crate) fn independent(xs: &Tensor, positive: &Tensor) -> Result<Tensor> {
    // Each class is a softmax over two logits, x and 0.
    let negative = positive.affine(-1.0, 1.0)?;
    let logits = Tensor::stack(&[xs, &xs.zeros_like()?], D::Minus1)?;
    let target = Tensor::stack(&[positive, &negative], D::Minus1)?;
    (target * log_softmax(&logits, D::Minus1)?)?.sum(D::Minus1)
}

/// The weighted mean over rows of the losses of each class, `[n, class]`: a class has its class weight,
/// and a row its own weight times the weights of its classes.
pub(crate) fn weighted_mean(
    losses: &Tensor,
    target: &Tensor,
    weights: Option<&[f64]>,
    targets: &Targets,
) -> Result<LossTerms> {
    let rows = targets.weights()?;
    let (losses, norm) = match weights {
        None => (losses.sum(D::Minus1)?, targets.weight()),
        Some(weights) => {
            let weights = Tensor::new(weights, losses.device())?.to_dtype(losses.dtype())?;
            let counts = target.broadcast_mul(&weights)?.sum(D::Minus1)?;
            let norm = (counts * &rows)?.sum_all()?.to_dtype(candle::DType::F64)?.to_scalar()?;
            (losses.broadcast_mul(&weights)?.sum(D::Minus1)?, norm)
        }
    };
    Ok(LossTerms::of(TermValue::PerExample { weighted: (losses * rows)?, norm }))
}

#[cfg(test)]
mod tests {
    use base::{
        Clock, Task,
        mix::{Part, Row, unmixed},
        task::Scope,
    };
    use candle::{DType, Device, Result, Tensor};
    use ops::{Decide, Form, Output};
    use testkit::check_close;

    use crate::{Counts, Criterion, HeadOutput, Labels, LossConfig, Targets};

    /// The loss of one row that is half an image of class 0 and age 20, half of class 2 and age 60.
    fn check(form: Form, weight: f64, row: &[f64], want: f64) -> Result<()> {
        let labels = Labels {
            classes: vec![0, 2],
            numbers: vec![Some(20.0), Some(60.0)],
            ..Labels::default()
        };
        let mixed: Row = [0, 1].map(|image| Part { image, weight: 0.5 }).to_vec();
        let task = Task::mask_gender_age();
        let scope = Scope::Factor(2);
        let output = HeadOutput::new(&task, scope, &form, row.len(), &Counts::default());
        let criterion = Criterion::new(&LossConfig::default(), &[output]).expect("every form");
        let targets = Targets::new(&task, labels, &[mixed], DType::F64, &Device::Cpu);
        let numbers = Tensor::new(row, &Device::Cpu)?.unsqueeze(0)?;
        let output = Output { weight, ..Output::new(scope, form, numbers) };
        let clock = Clock { step: 0, total: 1, epoch: 0.0 };
        check_close(&criterion.compute(&[output], &targets, &clock)?.mean()?, &[want], 1e-12);
        Ok(())
    }

    #[test]
    fn classes_and_bins_match_the_negative_log_likelihood() -> Result<()> {
        // Probabilities 1/2, 1/4 and 1/4: (1 bit + 2 bits) / 2 for half an image of each of two classes.
        let row = [2f64.ln(), 0.0, 0.0];
        check(Form::Classes, 1.0, &row, 1.5 * 2f64.ln())?;
        check(Form::Classes, 0.5, &row, 0.75 * 2f64.ln())?;
        check(Form::Cosines { scale: 2.0 }, 1.0, &row.map(|x| x / 2.0), 1.5 * 2f64.ln())?;
        // Both ages are in the last of three bins.
        let bins = Form::Bins { min: 0, decide: Decide::Mass, cuts: vec![30.0, 60.0] };
        check(bins, 1.0, &row, 2.0 * 2f64.ln())
    }

    #[test]
    fn soft_label_matches_the_cross_entropy_of_distributions() -> Result<()> {
        // Age below 30 with 0.5, from 30 with 0.25, from 60 with 0.25; probabilities 1/2, 1/4 and 1/4:
        // 0.5·1 bit + 0.25·2 bits + 0.25·2 bits.
        let mut soft = vec![0f32; 18];
        (soft[0], soft[4], soft[17]) = (0.5, 0.25, 0.25);
        let task = Task::mask_gender_age();
        let (scope, form) = (Scope::Factor(2), Form::Classes);
        let output = HeadOutput::new(&task, scope, &form, 3, &Counts::default());
        let criterion = Criterion::new(&LossConfig::default(), &[output]).expect("classes");
        let labels = Labels { classes: vec![0], soft: vec![soft], ..Labels::default() };
        let targets = Targets::new(&task, labels, &unmixed(1), DType::F64, &Device::Cpu);
        let numbers = Tensor::new(&[[2f64.ln(), 0.0, 0.0]], &Device::Cpu)?;
        let clock = Clock { step: 0, total: 1, epoch: 0.0 };
        let loss = criterion.compute(&[Output::new(scope, form, numbers)], &targets, &clock)?;
        check_close(&loss.mean()?, &[1.5 * 2f64.ln()], 1e-12);
        Ok(())
    }

    #[test]
    fn independent_classes_match_binary_cross_entropy() -> Result<()> {
        // σ(ln 3) = 3/4 with target 1/2; σ(0) = 1/2 with target 0, and with target 1/2.
        let want = -0.5 * (0.75f64.ln() + 0.25f64.ln()) + 2.0 * 2f64.ln();
        check(Form::Independent, 1.0, &[3f64.ln(), 0.0, 0.0], want)
    }

    #[test]
    fn number_matches_the_mean_squared_error_of_its_images() -> Result<()> {
        // 10·1 + 40 = 50: (30² + 10²) / 2.
        let number = Form::Number { scale: 10.0, center: 40.0, cuts: None };
        check(number, 0.001, &[1.0], 0.5)
    }
}
