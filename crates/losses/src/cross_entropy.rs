//! Cross-entropy: the negative log-likelihood of what each output of a network says.
//!
//! With x the numbers of a row and t the distribution that they should be,
//!
//! - classes, and bins of years: -Σ_c t_c ln softmax(x)_c.
//! - independent classes: -Σ_c (t_c ln σ(x_c) + (1 - t_c) ln(1 - σ(x_c))), summed over the classes
//!   as every likelihood is (PyTorch's default is their mean).
//! - number: Σ_i w_i (years - age_i)² over the pictures of the row: that of a normal distribution, up
//!   to its width, which is the output's weight.
//!
//! Each times its output's weight, summed over the outputs: the negative log-likelihood of the joint
//! class where factors are answered independently.

use base::{Clock, Task};
use candle::{D, Result, Tensor};
use candle_nn::ops::log_softmax;
use ops::{Form, Output};
use serde::{Deserialize, Serialize};

use crate::{Counts, Loss, LossKind, Penalty, Targets};

/// `[loss] kind = "cross_entropy"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrossEntropy {}

impl LossKind for CrossEntropy {
    fn bind(&self, _: &Task, _: &Counts) -> Box<dyn Loss> {
        Box::new(self.clone())
    }
}

impl Loss for CrossEntropy {
    fn judge(&self, outputs: &[Output], targets: &Targets, _: &Clock) -> Result<Penalty> {
        let mut total: Option<Tensor> = None;
        for output in outputs {
            let loss = (judge_one(output, targets)? * output.weight)?;
            total = Some(match total {
                Some(before) => (before + loss)?,
                None => loss,
            });
        }
        let weighted = total.expect("a network says at least one thing");
        Ok(Penalty::PerExample { weighted, norm: targets.n_rows() as f64 })
    }
}

/// The loss of each row: `[n]`.
fn judge_one(output: &Output, targets: &Targets) -> Result<Tensor> {
    let xs = &output.numbers;
    match &output.form {
        Form::Classes => entropy(xs, &targets.distribution(output.asks)?),
        Form::Bins { .. } => entropy(xs, &targets.years(xs.dim(D::Minus1)?)?),
        Form::Independent => {
            // Each class is a question with two answers, whose logits are x and 0.
            let (yes, n) = (targets.distribution(output.asks)?, xs.dim(0)?);
            let no = yes.affine(-1.0, 1.0)?;
            let logits = Tensor::stack(&[xs, &xs.zeros_like()?], D::Minus1)?;
            let losses = entropy(&logits, &Tensor::stack(&[yes, no], D::Minus1)?)?;
            losses.reshape((n, ()))?.sum(D::Minus1)
        }
        Form::Number { scale, shift, .. } => {
            let (mean, variance) = targets.ages()?;
            let error = (xs.squeeze(D::Minus1)?.affine(*scale, *shift)? - mean)?;
            error.sqr()? + variance
        }
    }
}

/// -Σ t ln softmax(x) over the last dimension.
fn entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    (targets * log_softmax(logits, D::Minus1)?)?.sum(D::Minus1)?.neg()
}

#[cfg(test)]
mod tests {
    use base::{
        Clock, Task,
        mix::{Part, Row},
        task::Scope,
    };
    use candle::{DType, Device, Result, Tensor};
    use ops::{Decide, Form, Output};
    use testkit::check_close;

    use super::CrossEntropy;
    use crate::{Labels, Loss as _, Penalty, Targets};

    /// The loss of one row that is half a picture of class 0 and age 20, half of class 2 and age 60.
    fn check(form: Form, weight: f64, row: &[f64], want: f64) -> Result<()> {
        let labels = Labels { classes: vec![0, 2], ages: vec![Some(20.0), Some(60.0)] };
        let mixed: Row = [0, 1].map(|picture| Part { picture, weight: 0.5 }).to_vec();
        let task = Task::mask_gender_age();
        let targets = Targets::new(&task, labels, &[mixed], DType::F64, &Device::Cpu);
        let numbers = Tensor::new(row, &Device::Cpu)?.unsqueeze(0)?;
        let output = Output { weight, ..Output::new(Scope::Factor(2), form, numbers) };
        let clock = Clock { step: 0, total: 1, epoch: 0.0 };
        let judged = CrossEntropy {}.judge(&[output], &targets, &clock)?;
        let Penalty::PerExample { weighted, norm } = judged else { panic!("row by row") };
        assert_eq!(norm, 1.0);
        check_close(&weighted, &[want], 1e-12);
        Ok(())
    }

    #[test]
    fn classes_and_years_cost_their_surprise() -> Result<()> {
        // Half a bit for the level that has one half, one for each that has a quarter.
        let row = [2f64.ln(), 0.0, 0.0];
        check(Form::Classes, 1.0, &row, 1.5 * 2f64.ln())?;
        check(Form::Classes, 0.5, &row, 0.75 * 2f64.ln())?;
        // Both ages are beyond the last of three years.
        let bins = Form::Bins { decide: Decide::Mass, cuts: vec![30.0, 60.0] };
        check(bins, 1.0, &row, 2.0 * 2f64.ln())
    }

    #[test]
    fn independent_classes_cost_what_each_answer_does() -> Result<()> {
        // σ(ln 3) = 3/4 where half is right, σ(0) = 1/2 where nothing is, and where half is.
        let want = -0.5 * (0.75f64.ln() + 0.25f64.ln()) + 2.0 * 2f64.ln();
        check(Form::Independent, 1.0, &[3f64.ln(), 0.0, 0.0], want)
    }

    #[test]
    fn a_number_costs_its_squared_error_to_each_picture() -> Result<()> {
        // 10·1 + 40 = 50 years: (30² + 10²) / 2.
        let number = Form::Number { scale: 10.0, shift: 40.0, cuts: None };
        check(number, 0.001, &[1.0], 0.5)
    }
}
