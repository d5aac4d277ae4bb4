//! The logarithm of a prediction as a function of candle's graph, for gradients of a class's score.
//!
//! It is ln of the distribution that [`Output::predictions`] computes, with two differences, where that is no
//! smooth function of the numbers: it is the mass of a level before a decision swaps two of them, and that of
//! a number has no least value.
//! With u = (b - y) / s and v = (a - y) / s of a level from a to b, the mass σ(u) - σ(v) is
//! σ(u) σ(-v) (1 - e^(v - u)), whose last factor is constant: no difference of almost equal numbers is taken.

use base::task::Factor;
use candle::{D, DType, Result, Tensor};

use crate::{Form, Output};

/// ln of the mass of a level that holds no whole number, of [`Form::Bins`].
const NOTHING: f64 = -700.0;

impl Output {
    /// The logarithms of the probabilities of each row, `[n, class of the scope]`, f64, differentiable by candle;
    /// `None` for an output that is used for training only.
    pub fn log_probabilities(&self) -> Result<Option<Tensor>> {
        let xs = self.numbers.to_dtype(DType::F64)?;
        match &self.form {
            Form::Classes => log_softmax(&xs).map(Some),
            Form::Cosines { scale } => log_softmax(&(xs * *scale)?).map(Some),
            Form::Independent => log_softmax(&log_sigmoid(&xs)?).map(Some),
            Form::Bins { min, cuts, .. } => {
                let (ln_q, n) = (log_softmax(&xs)?, xs.dim(1)?);
                let level = |at: usize| Factor::level_of(*min as f64 + at as f64, cuts);
                let mass = |wanted: usize| {
                    let of_level: Vec<usize> = (0..n).filter(|&it| level(it) == wanted).collect();
                    log_sum_exp_of(&ln_q, &of_level)
                };
                let masses = (0..=cuts.len()).map(mass).collect::<Result<Vec<_>>>()?;
                Tensor::stack(&masses, 1).map(Some)
            }
            Form::Number { cuts: None, .. } => Ok(None),
            Form::Number { scale, center, cuts: Some(cuts) } => {
                let (number, spread) =
                    (xs.squeeze(1)?.affine(*scale, *center)?, Form::SPREAD * scale);
                // (cut - number) / spread.
                let to = |cut: f64| number.affine(-1.0 / spread, cut / spread);
                let mass = |level: usize| {
                    let begin = level.checked_sub(1).map(|it| cuts[it]);
                    let mut ln_p = number.zeros_like()?;
                    if let Some(&end) = cuts.get(level) {
                        ln_p = (ln_p + log_sigmoid(&to(end)?)?)?;
                        if let Some(begin) = begin {
                            let width = (end - begin) / spread;
                            ln_p = (ln_p + (-(-width).exp()).ln_1p())?;
                        }
                    }
                    match begin {
                        Some(begin) => ln_p + log_sigmoid(&to(begin)?.neg()?)?,
                        None => Ok(ln_p),
                    }
                };
                let masses = (0..=cuts.len()).map(mass).collect::<Result<Vec<_>>>()?;
                Tensor::stack(&masses, 1).map(Some)
            }
        }
    }
}

/// ln Σ e^x over some columns of each row, `[n]`.
///
/// - `columns`: if there are none, the result is that of a vanishing sum, -700.
pub fn log_sum_exp_of(xs: &Tensor, columns: &[usize]) -> Result<Tensor> {
    if columns.is_empty() {
        return Tensor::full(NOTHING, xs.dim(0)?, xs.device())?.to_dtype(xs.dtype());
    }
    let columns: Vec<u32> = columns.iter().map(|&it| it as u32).collect();
    let xs = xs.index_select(&Tensor::new(columns, xs.device())?, 1)?;
    // A constant that cancels, and has no gradient.
    let largest = xs.max_keepdim(D::Minus1)?.detach();
    let sum = xs.broadcast_sub(&largest)?.exp()?.sum_keepdim(D::Minus1)?;
    (sum.log()? + largest)?.squeeze(D::Minus1)
}

/// x - ln Σ e^x of each row.
fn log_softmax(xs: &Tensor) -> Result<Tensor> {
    let largest = xs.max_keepdim(D::Minus1)?.detach();
    let xs = xs.broadcast_sub(&largest)?;
    xs.broadcast_sub(&xs.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

/// ln σ(x): the logarithm of the first of two classes with the logits x and 0.
fn log_sigmoid(xs: &Tensor) -> Result<Tensor> {
    let two = Tensor::stack(&[xs, &xs.zeros_like()?], D::Minus1)?;
    let n_dims = two.dims().len();
    log_softmax(&two)?.narrow(n_dims - 1, 0, 1)?.squeeze(n_dims - 1)
}

#[cfg(test)]
mod tests {
    use base::task::Scope;
    use candle::{Device, Result, Tensor, Var};
    use testkit::{check_close_slices, check_gradient};

    use super::log_sum_exp_of;
    use crate::{Decide, Form, Output};

    /// All forms, with five numbers each, or one.
    fn forms() -> Vec<Form> {
        vec![
            Form::Classes,
            Form::Cosines { scale: 3.0 },
            Form::Independent,
            Form::Bins { min: 0, decide: Decide::Mass, cuts: vec![2.0, 4.0] },
            Form::Number { scale: 10.0, center: 40.0, cuts: Some(vec![30.0, 60.0]) },
        ]
    }

    fn row(form: &Form, row: &[f64]) -> Vec<f64> {
        if matches!(form, Form::Number { .. }) { row[..1].to_vec() } else { row.to_vec() }
    }

    fn log_probabilities(form: &Form, row: &[f64]) -> Result<Vec<f64>> {
        let numbers = Tensor::new(row, &Device::Cpu)?.unsqueeze(0)?;
        let output = Output::new(Scope::Joint, form.clone(), numbers);
        output.log_probabilities()?.expect("a prediction").squeeze(0)?.to_vec1()
    }

    #[test]
    fn they_are_the_logarithms_of_the_predictions() -> Result<()> {
        for form in forms() {
            let at = row(&form, &[0.3, -1.2, 0.5, 2.0, -0.4]);
            let numbers = Tensor::new(&*at, &Device::Cpu)?.unsqueeze(0)?;
            let output = Output::new(Scope::Joint, form.clone(), numbers);
            let want = output.predictions()?.expect("a prediction").remove(0).probabilities;
            let got: Vec<f64> = log_probabilities(&form, &at)?.into_iter().map(f64::exp).collect();
            check_close_slices(&got, &want, 1e-9);
        }
        Ok(())
    }

    #[test]
    fn the_gradient_matches_differences() {
        for form in forms() {
            let at = row(&form, &[0.3, -1.2, 0.5, 2.0, -0.4]);
            for class in 0..3 {
                check_gradient(&at, |at| {
                    let var = Var::new(at, &Device::Cpu).unwrap();
                    let numbers = var.as_tensor().unsqueeze(0).unwrap();
                    let output = Output::new(Scope::Joint, form.clone(), numbers);
                    let all = output.log_probabilities().unwrap().expect("a prediction");
                    let it = all.get(0).unwrap().get(class).unwrap();
                    let grads = it.backward().unwrap();
                    let grad = grads.get(&var).unwrap().to_vec1::<f64>().unwrap();
                    (it.to_scalar().unwrap(), grad)
                });
            }
        }
    }

    #[test]
    fn a_number_far_from_a_level_still_has_a_slope() -> Result<()> {
        let form = Form::Number { scale: 10.0, center: 40.0, cuts: Some(vec![30.0, 60.0]) };
        // y = 140 is 40 spreads of 2 beyond the last cut: of the middle level,
        // ln σ(-40) + ln σ(55) + ln(1 - e^-15) = -40, where a difference of two sigmoids is 0.
        let [first, middle, last] = log_probabilities(&form, &[10.0])?[..] else { panic!("three") };
        check_close_slices(&[first, middle], &[-55.0, -40.0], 1e-6);
        assert!(last > -1e-12);
        Ok(())
    }

    #[test]
    fn extreme_numbers_are_finite_and_nan_is_propagated() -> Result<()> {
        for form in forms() {
            for at in [[1e4; 5], [-1e4; 5], [1e4, -1e4, 0.0, 1e4, -1e4]] {
                let all = log_probabilities(&form, &row(&form, &at))?;
                assert!(all.iter().all(|it| it.is_finite()), "{form:?} of {at:?}: {all:?}");
            }
            let all = log_probabilities(&form, &row(&form, &[f64::NAN; 5]))?;
            assert!(all.iter().any(|it| it.is_nan()), "{form:?} hides NaN");
        }
        let auxiliary = Form::Number { scale: 1.0, center: 0.0, cuts: None };
        let numbers = Tensor::zeros((1, 1), candle::DType::F64, &Device::Cpu)?;
        let output = Output::new(Scope::Joint, auxiliary, numbers);
        assert!(output.log_probabilities()?.is_none());
        Ok(())
    }

    #[test]
    fn a_sum_over_some_columns() -> Result<()> {
        let xs = Tensor::new(&[[1f64.ln(), 2f64.ln(), 3f64.ln()]], &Device::Cpu)?;
        check_close_slices(&log_sum_exp_of(&xs, &[0, 2])?.to_vec1()?, &[4f64.ln()], 1e-12);
        assert_eq!(log_sum_exp_of(&xs, &[])?.to_vec1::<f64>()?, [-700.0]);
        Ok(())
    }
}
