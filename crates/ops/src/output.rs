//! The outputs of a network for a batch: one per target, whose form defines the meaning of its numbers.
//!
//! With x the numbers of a row, the predicted distribution p is, always computed in `f64`:
//!
//! - classes: p = softmax(x).
//! - cosines: p = softmax(scale·x).
//! - independent: p_c = σ(x_c) / Σ_k σ(x_k), computed as softmax(ln σ(x)), so that a row in
//!   which all classes are improbable is still a distribution.
//! - bins: q = softmax(x) over the whole numbers min, min + 1, …; p of a level is the sum of q over its
//!   numbers. That is the decision by mass. The two others choose one level: that of the likeliest
//!   number, or of the expected one, Σ_i i·q_i. Its p is then swapped with that of the level of the
//!   largest mass, so that the decision is the argmax and the uncertainty is kept.
//! - number: y = scale·x + center; its error is assumed to be logistic with s = scale / 5, so that p of a
//!   level that begins at a and ends at b is σ((b - y) / s) - σ((a - y) / s), at least 1e-9.
//!   The level that contains y has the largest p.
//!
//! A decision is not a distribution by itself. A one-hot distribution would have infinite loss where it is
//! wrong, outvote every other member of a bundle, and make a product with factors that disagree vanish;
//! here an uncertain decision has less weight than a certain one.
//! The bins are those of Rothe et al., "DEX", 2015, for ages, who use the expected one.

use base::task::{Factor, Scope, ScopePrediction};
use candle::{DType, Result, Tensor};
use serde::{Deserialize, Serialize};

/// The output of a network for one target.
#[derive(Clone, Debug)]
pub struct Output<T = Tensor> {
    /// What the output predicts.
    pub scope: Scope,
    /// The meaning of the numbers.
    pub form: Form,
    /// The weight of its loss in the total loss.
    pub weight: f64,
    /// `[n, number]`, any real numbers.
    pub numbers: T,
}

/// The meaning of the numbers of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// Logits of mutually exclusive classes of the scope.
    Classes,
    /// Cosines between the features and a direction per class of the scope.
    Cosines {
        /// The factor that turns cosines into logits.
        scale: f64,
    },
    /// One independent (sigmoid) logit per class of the scope.
    Independent,
    /// Logits of the whole numbers min, min + 1, …; the first and the last also for all beyond.
    Bins {
        /// The first number.
        min: i64,
        /// How the distribution over numbers is converted to a level.
        decide: Decide,
        /// The lower bounds of the levels after the first.
        cuts: Vec<f64>,
    },
    /// One x: the number is scale·x + center.
    Number {
        /// The number per unit of x, above 0.
        scale: f64,
        /// The number at x = 0.
        center: f64,
        /// The lower bounds of the levels after the first; `None` if the number is auxiliary, without a
        /// prediction of the level.
        cuts: Option<Vec<f64>>,
    },
}

/// How a distribution over numbers is converted to a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decide {
    /// The level of the most likely number.
    Likeliest,
    /// The level of the expected number.
    Expected,
    /// The level of the largest probability mass.
    Mass,
}

impl<T> Output<T> {
    /// An output whose loss has weight 1.
    pub fn new(scope: Scope, form: Form, numbers: T) -> Output<T> {
        Output { scope, form, weight: 1.0, numbers }
    }
}

impl Output {
    /// The prediction of each row; `None` for an output that is used for training only.
    pub fn predictions(&self) -> Result<Option<Vec<ScopePrediction>>> {
        if matches!(self.form, Form::Number { cuts: None, .. }) {
            return Ok(None);
        }
        let rows = self.numbers.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        let predict = |row: &Vec<f64>| ScopePrediction {
            scope: self.scope,
            probabilities: self.form.probabilities(row),
        };
        Ok(Some(rows.iter().map(predict).collect()))
    }

    /// The predicted number of each row, if the form has one: for bins the expected one.
    pub fn number(&self) -> Result<Option<Vec<f64>>> {
        let rows = || self.numbers.to_dtype(DType::F64)?.to_vec2::<f64>();
        match self.form {
            Form::Classes | Form::Cosines { .. } | Form::Independent => Ok(None),
            Form::Bins { min, .. } => {
                Ok(Some(rows()?.iter().map(|it| expected(&softmax(it), min)).collect()))
            }
            Form::Number { scale, center, .. } => {
                Ok(Some(rows()?.iter().map(|it| scale * it[0] + center).collect()))
            }
        }
    }
}

impl Form {
    /// The assumed error of x of [`Form::Number`], as the scale of a logistic distribution: its standard
    /// deviation is π / √3 times as large, for ages with a scale of 10 years 3.6 years.
    pub const SPREAD: f64 = 0.2;

    /// The minimum probability of a level of [`Form::Number`], so that a product with other factors does not
    /// vanish.
    pub const LEAST: f64 = 1e-9;

    /// The name of the form, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Form::Classes => "classes",
            Form::Cosines { .. } => "cosines",
            Form::Independent => "independent classes",
            Form::Bins { .. } => "bins of a number",
            Form::Number { .. } => "a number",
        }
    }

    /// Whether a number is predicted.
    pub fn is_numeric(&self) -> bool {
        matches!(self, Form::Bins { .. } | Form::Number { .. })
    }

    /// The distribution over the classes of the scope for a row.
    fn probabilities(&self, row: &[f64]) -> Vec<f64> {
        match self {
            Form::Classes => softmax(row),
            Form::Cosines { scale } => softmax(&row.iter().map(|x| scale * x).collect::<Vec<_>>()),
            Form::Independent => softmax(&row.iter().copied().map(log_sigmoid).collect::<Vec<_>>()),
            Form::Bins { min, decide, cuts } => {
                let q = softmax(row);
                let mut p = vec![0.0; cuts.len() + 1];
                let numbers = (*min..).map(|it| it as f64);
                numbers.zip(&q).for_each(|(number, q)| p[Factor::level_of(number, cuts)] += q);
                let decided = match decide {
                    Decide::Mass => return p,
                    Decide::Likeliest => *min as f64 + largest(&q) as f64,
                    Decide::Expected => expected(&q, *min),
                };
                with_largest_at(p, Factor::level_of(decided, cuts))
            }
            Form::Number { scale, center, cuts } => {
                let cuts = cuts.as_deref().unwrap_or_default();
                let number = scale * row[0] + center;
                let below = |cut: &f64| log_sigmoid((cut - number) / (Form::SPREAD * scale)).exp();
                let ends: Vec<f64> = cuts.iter().map(below).chain([1.0]).collect();
                let starts = std::iter::once(0.0).chain(ends.iter().copied());
                // NaN is propagated.
                let p = starts.zip(&ends).map(|(start, end)| (end - start).clamp(Form::LEAST, 1.0));
                let p: Vec<f64> = p.collect();
                let sum: f64 = p.iter().sum();
                let p = p.into_iter().map(|it| it / sum).collect();
                with_largest_at(p, Factor::level_of(number, cuts))
            }
        }
    }
}

/// Swaps the largest probability with that of `level`.
fn with_largest_at(mut p: Vec<f64>, level: usize) -> Vec<f64> {
    let largest = largest(&p);
    p.swap(level, largest);
    p
}

/// The expected number of a distribution over the numbers `min`, `min` + 1, ….
fn expected(q: &[f64], min: i64) -> f64 {
    (min..).zip(q).map(|(number, q)| number as f64 * q).sum()
}

/// The index of the largest number; the first of equal ones.
fn largest(xs: &[f64]) -> usize {
    let larger = |best: usize, at: usize| if xs[at] > xs[best] { at } else { best };
    (0..xs.len()).reduce(larger).unwrap_or(0)
}

/// ln σ(x) = min(x, 0) - ln(1 + e^-|x|).
fn log_sigmoid(x: f64) -> f64 {
    // NaN is not greater than 0, and is propagated.
    let negative = if x > 0.0 { 0.0 } else { x };
    negative - (-x.abs()).exp().ln_1p()
}

/// The softmax of a row.
fn softmax(xs: &[f64]) -> Vec<f64> {
    let largest = xs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = xs.iter().map(|it| (it - largest).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.into_iter().map(|it| it / sum).collect()
}

#[cfg(test)]
mod tests {
    use base::task::Scope;
    use candle::{DType, Device, Result, Tensor};
    use testkit::check_close_slices;

    use super::{Decide, Form, Output};

    /// The predicted distribution of one row.
    fn predict(form: &Form, row: &[f64]) -> Vec<f64> {
        let numbers = Tensor::new(row, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let output = Output::new(Scope::Joint, form.clone(), numbers);
        output.predictions().unwrap().expect("a prediction").remove(0).probabilities
    }

    #[track_caller]
    fn check(form: &Form, row: &[f64], want: &[f64]) {
        check_close_slices(&predict(form, row), want, 1e-12);
    }

    fn bins(decide: Decide) -> Form {
        Form::Bins { min: 0, decide, cuts: vec![2.0, 4.0] }
    }

    /// x such that scale·x + center is `number`.
    fn number(number: f64) -> (Form, [f64; 1]) {
        let form = Form::Number { scale: 10.0, center: 40.0, cuts: Some(vec![30.0, 60.0]) };
        (form, [(number - 40.0) / 10.0])
    }

    #[test]
    fn classes_are_a_softmax() {
        check(&Form::Classes, &[2f64.ln(), 0.0, 0.0], &[0.5, 0.25, 0.25]);
        check(&Form::Cosines { scale: 2.0 }, &[2f64.ln() / 2.0, 0.0, 0.0], &[0.5, 0.25, 0.25]);
    }

    #[test]
    fn independent_classes_are_normalised_sigmoids() {
        // σ(ln 3) = 3/4, σ(0) = 1/2, σ(-ln 3) = 1/4; they sum to 3/2.
        let row = [3f64.ln(), 0.0, -(3f64.ln())];
        check(&Form::Independent, &row, &[1.0 / 2.0, 1.0 / 3.0, 1.0 / 6.0]);
    }

    #[test]
    fn a_level_has_the_mass_of_its_numbers() {
        // Numbers 0 to 4 with 1, 2, 3, 4 and 10 parts of 20; levels begin at 2 and at 4.
        let row = [1f64, 2.0, 3.0, 4.0, 10.0].map(f64::ln);
        check(&bins(Decide::Mass), &row, &[0.15, 0.35, 0.5]);
        // As the numbers -2 to 2, cut at 0 and 2.
        let form = Form::Bins { min: -2, decide: Decide::Mass, cuts: vec![0.0, 2.0] };
        check(&form, &row, &[0.15, 0.35, 0.5]);
    }

    #[test]
    fn the_decided_level_has_the_largest_probability() {
        // 3, 2, 0.1, 0.1 and 4.8 parts of 10: mass 0.5, 0.02, 0.48. 4 is the likeliest.
        let row = [3f64, 2.0, 0.1, 0.1, 4.8].map(f64::ln);
        check(&bins(Decide::Mass), &row, &[0.5, 0.02, 0.48]);
        check(&bins(Decide::Likeliest), &row, &[0.48, 0.02, 0.5]);
        // Expected: (2 + 0.2 + 0.3 + 19.2) / 10 = 2.17, in the middle level.
        check(&bins(Decide::Expected), &row, &[0.02, 0.5, 0.48]);
    }

    #[test]
    fn a_number_is_binned_and_is_uncertain_near_a_cut() {
        // On a cut half of the error distribution is below, and the level that begins there has the rest:
        // σ(15) - 1/2 of the middle, 1 - σ(15) beyond.
        let (form, row) = number(30.0);
        let beyond = 1.0 / (1.0 + 15f64.exp());
        // The cut itself belongs to the level above, which has the larger share.
        check(&form, &row, &[0.5 - beyond, 0.5, beyond]);
        // Two above a cut: σ(-1) below it.
        let (form, row) = number(62.0);
        let below = 1.0 / (1.0 + 1f64.exp());
        check_close_slices(&predict(&form, &row), &[1e-7, below, 1.0 - below], 2e-7);
        for (it, level) in [(10.0, 0), (29.99, 0), (30.01, 1), (59.99, 1), (60.0, 2)] {
            let (form, row) = number(it);
            assert_eq!(super::largest(&predict(&form, &row)), level, "{it}");
        }
    }

    #[test]
    fn a_number_without_cuts_has_no_prediction() -> Result<()> {
        let form = Form::Number { scale: 10.0, center: 40.0, cuts: None };
        let numbers = Tensor::zeros((2, 1), DType::F32, &Device::Cpu)?;
        assert_eq!(Output::new(Scope::Joint, form, numbers).predictions()?, None);
        Ok(())
    }

    #[test]
    fn bins_and_regressions_predict_a_number() -> Result<()> {
        let number = |form: Form, row: &[f64]| -> Result<Option<Vec<f64>>> {
            let numbers = Tensor::new(row, &Device::Cpu)?.unsqueeze(0)?;
            Output::new(Scope::Joint, form, numbers).number()
        };
        // 1, 1 and 2 parts of 4: 0.25 + 2 · 0.5 = 1.25.
        let row = [0.0, 0.0, 2f64.ln()];
        for decide in [Decide::Mass, Decide::Likeliest] {
            check_close_slices(&number(bins(decide), &row)?.expect("a number"), &[1.25], 1e-12);
        }
        let form = Form::Bins { min: -2, decide: Decide::Mass, cuts: vec![0.0] };
        check_close_slices(&number(form, &row)?.expect("a number"), &[-0.75], 1e-12);
        for cuts in [None, Some(vec![30.0, 60.0])] {
            let form = Form::Number { scale: 10.0, center: 40.0, cuts };
            check_close_slices(&number(form, &[0.5])?.expect("a number"), &[45.0], 1e-12);
        }
        assert_eq!(number(Form::Classes, &row)?, None);
        assert_eq!(number(Form::Independent, &row)?, None);
        Ok(())
    }

    #[test]
    fn extreme_numbers_give_a_distribution_and_nan_is_propagated() {
        let forms = [
            Form::Classes,
            Form::Cosines { scale: 30.0 },
            Form::Independent,
            bins(Decide::Mass),
            bins(Decide::Likeliest),
            bins(Decide::Expected),
            number(0.0).0,
        ];
        for form in forms {
            let rows = [[1e4; 5], [-1e4; 5], [0.0; 5], [1e4, -1e4, 0.0, 1e4, -1e4]];
            for row in rows {
                let p = predict(&form, &row);
                assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{form:?} of {row:?}: {p:?}");
                assert!(p.iter().all(|it| (0.0..=1.0).contains(it)), "{form:?} of {row:?}: {p:?}");
            }
            let p = predict(&form, &[f64::NAN; 5]);
            assert!(p.iter().any(|it| it.is_nan()), "{form:?} hides NaN");
        }
    }
}
