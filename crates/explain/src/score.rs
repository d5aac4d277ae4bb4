//! The score of a class: its log odds, ln p - ln(1 - p), for every form of output and every head.
//!
//! p is the probability that the network predicts: of a joint class, the product over the factors where the
//! head has an output for each; of a level, the sum over the joint classes that have it.
//!
//! Selvaraju et al. differentiate the class's number before the softmax. That number is not determined by the
//! predictions (a softmax is the same if all numbers grow alike), it also counts what supports every class, and
//! a product of factors, a range of a number and independent classes have none. Log odds have neither fault, and
//! unlike ln p their gradient does not vanish where the network is certain. Of two classes they are the
//! difference of the two numbers.

use base::{
    Task,
    task::{Scope, ScopePrediction},
};
use candle::{Result, Tensor, bail};
use ops::{Output, log_sum_exp_of};

/// Returns the log odds of a class of a scope for each row, `[n]`, f64, differentiable by candle.
///
/// - `outputs`: those of a network for `task`.
///
/// # Errors
/// The network has no output for a factor of the scope.
pub(crate) fn score(task: &Task, outputs: &[Output], scope: Scope, class: usize) -> Result<Tensor> {
    let of = |scope: Scope| -> Result<Option<Tensor>> {
        for it in outputs.iter().filter(|it| it.scope == scope) {
            if let Some(ln_p) = it.log_probabilities()? {
                return Ok(Some(ln_p));
            }
        }
        Ok(None)
    };
    if let Some(joint) = of(Scope::Joint)? {
        let classes = 0..task.n_classes();
        return log_odds(&joint, classes.map(|it| task.project(it, scope) == class));
    }
    let of_factor = |idx: usize| match of(Scope::Factor(idx))? {
        Some(it) => Ok(it),
        None => bail!("the network does not predict `{}`", task.factors[idx].name),
    };
    if let Scope::Factor(idx) = scope {
        let ln_p = of_factor(idx)?;
        return log_odds(&ln_p, (0..ln_p.dim(1)?).map(|it| it == class));
    }
    // The joint classes as the product of the factors.
    let mut joint: Option<Tensor> = None;
    for idx in 0..task.factors.len() {
        let level = |it| task.project(it, Scope::Factor(idx)) as u32;
        let levels: Vec<u32> = (0..task.n_classes()).map(level).collect();
        let ln_p = of_factor(idx)?;
        let ln_p = ln_p.index_select(&Tensor::new(levels, ln_p.device())?, 1)?;
        joint = Some(match joint {
            Some(before) => (before + ln_p)?,
            None => ln_p,
        });
    }
    let Some(joint) = joint else { bail!("the task has no factors") };
    log_odds(&joint, (0..task.n_classes()).map(|it| it == class))
}

/// ln Σ p of some classes - ln Σ p of the others.
fn log_odds(ln_p: &Tensor, is_in: impl Iterator<Item = bool>) -> Result<Tensor> {
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for (class, is_in) in is_in.enumerate() {
        if is_in { inside.push(class) } else { outside.push(class) }
    }
    let inside = log_sum_exp_of(ln_p, &inside)?;
    // The only class is certain: there are no odds, and nothing to explain.
    if outside.is_empty() { Ok(inside) } else { inside - log_sum_exp_of(ln_p, &outside)? }
}

/// Returns the probabilities of the classes of a scope for the first row.
///
/// # Errors
/// The network has no output for some factor.
pub(crate) fn probabilities(task: &Task, outputs: &[Output], scope: Scope) -> Result<Vec<f64>> {
    let mut predictions: Vec<ScopePrediction> = Vec::new();
    for it in outputs {
        predictions.extend(it.predictions()?.into_iter().flatten().next());
    }
    match task.joint_of(&predictions) {
        Some(joint) => Ok(task.marginal(&joint, scope)),
        None => bail!("the network does not predict every factor"),
    }
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Scope};
    use candle::{Device, Result, Tensor};
    use ops::{Form, Output};
    use testkit::{check_close_slices, numbers};

    use super::{probabilities, score};

    fn output(scope: Scope, n: usize, name: &str) -> Result<Output> {
        let numbers = Tensor::from_vec(numbers(name, n), (1, n), &Device::Cpu)?;
        Ok(Output::new(scope, Form::Classes, numbers))
    }

    #[test]
    fn the_score_is_the_log_odds_of_the_predicted_probability() -> Result<()> {
        let task = Task::mask_gender_age();
        let joint = vec![output(Scope::Joint, 18, "joint")?];
        let factored = vec![
            output(Scope::Factor(0), 3, "mask")?,
            output(Scope::Factor(1), 2, "gender")?,
            output(Scope::Factor(2), 3, "age")?,
        ];
        for outputs in [joint, factored] {
            for scope in task.scopes() {
                let p = probabilities(&task, &outputs, scope)?;
                for (class, p) in p.into_iter().enumerate() {
                    let got = score(&task, &outputs, scope, class)?.to_vec1::<f64>()?;
                    check_close_slices(&got, &[(p / (1.0 - p)).ln()], 1e-9);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn an_output_for_training_only_has_no_score() -> Result<()> {
        let task = Task::mask_gender_age();
        let form = Form::Number { scale: 10.0, center: 40.0, cuts: None };
        let auxiliary = Output { form, ..output(Scope::Factor(2), 1, "number")? };
        let outputs = [auxiliary, output(Scope::Factor(2), 3, "age")?];
        let got = score(&task, &outputs, Scope::Factor(2), 1)?.to_vec1::<f64>()?;
        assert_eq!(got, score(&task, &outputs[1..], Scope::Factor(2), 1)?.to_vec1::<f64>()?);
        let err = score(&task, &outputs, Scope::Joint, 0).unwrap_err().to_string();
        assert!(err.contains("does not predict `mask`"), "{err}");
        Ok(())
    }
}
