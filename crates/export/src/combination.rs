//! From the joint distributions of the members to the prediction: combined, calibrated, and decided, as nodes of a
//! graph. The formulas are those of the crate `ensemble`.

use base::{Task, task::Scope};
use ensemble::{CalibrationConfig, CombineConfig, Decision, Stack};

use crate::{
    ExportError,
    builder::{Attr, GraphBuilder},
    joint::{marginal, mean},
};

/// Shares of a hard vote that differ by less are tied: in 32-bit floats more than the 1e-9 of ours.
const TIED: f64 = 1e-6;

/// Adds the combination of several joint distributions, each of `n_classes`.
///
/// # Errors
/// A combination that is not exported.
pub(crate) fn combine(
    builder: &mut GraphBuilder,
    by: &CombineConfig,
    inputs: &[String],
    n_classes: usize,
) -> Result<String, ExportError> {
    let none = || ExportError::Unfit("the weights of all members are 0".to_owned());
    let weighted = |weights: &[f64], values: Vec<String>| -> Vec<(f64, String)> {
        let weight = |idx: usize| weights.get(idx).copied().unwrap_or(1.0);
        values.into_iter().enumerate().map(|(idx, it)| (weight(idx), it)).collect()
    };
    match by {
        CombineConfig::SoftVote(vote) => {
            mean(builder, &weighted(&vote.weights, inputs.to_vec())).ok_or_else(none)
        }
        CombineConfig::HardVote(vote) => {
            let votes: Vec<String> = inputs
                .iter()
                .map(|it| {
                    let class = builder.largest(it);
                    let is_class = builder.is_column(&class, n_classes);
                    builder.as_floats(&is_class)
                })
                .collect();
            let means = mean(builder, &weighted(&vote.weights, inputs.to_vec()));
            let shares = mean(builder, &weighted(&vote.weights, votes));
            let (means, shares) = means.zip(shares).ok_or_else(none)?;
            Ok(share_ties(builder, &means, &shares))
        }
        CombineConfig::Stack(stack) => Ok(stacked(builder, stack, inputs, n_classes)),
        CombineConfig::RankAverage(_) => Err(ExportError::Unfit(format!(
            "the combination `{}` cannot be exported: combine the runs with `soft_vote`, `hard_vote` or `stack` \
             (`maskfit ensemble --combine`), or export each of them",
            by.kind()
        ))),
    }
}

/// The shares of a hard vote, where the classes that are tied at the top share their votes in proportion to their
/// mean probability.
fn share_ties(builder: &mut GraphBuilder, means: &str, shares: &str) -> String {
    let axes = builder.ints(&[1]);
    let attrs = [("keepdims", Attr::Int(1))];
    let top = builder.node("top", "ReduceMax", &[shares, &axes], &attrs);
    let tolerance = builder.float(TIED as f32);
    let least = builder.call("Sub", &[&top, &tolerance]);
    let is_tied = builder.call("Greater", &[shares, &least]);
    let tied = builder.as_floats(&is_tied);
    let of_tied = builder.call("Mul", &[means, &tied]);
    let proportions = builder.normalised(&of_tied);
    let votes = builder.call("Mul", &[shares, &tied]);
    let votes = builder.sums(&votes);
    let split = builder.call("Mul", &[&votes, &proportions]);
    builder.call("Where", &[&is_tied, &split, shares])
}

/// A multinomial logistic regression on the log-probabilities of all members.
fn stacked(
    builder: &mut GraphBuilder,
    stack: &Stack,
    inputs: &[String],
    n_classes: usize,
) -> String {
    let is_learned =
        |class: &usize| stack.coefficients.get(*class).is_some_and(|it| !it.is_empty());
    let learned: Vec<usize> = (0..n_classes).filter(is_learned).collect();
    let parts: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let all = builder.node("members", "Concat", &parts, &[("axis", Attr::Int(1))]);
    let all = builder.at_least(&all, Stack::LOWEST);
    let features = builder.call("Log", &[&all]);
    let size = [inputs.len() * n_classes, learned.len()];
    let coefficient = |feature: usize, of: usize| stack.coefficients[learned[of]][feature];
    let products = builder.product(&features, size, coefficient);
    let intercepts: Vec<f64> = learned.iter().map(|&it| stack.intercepts[it]).collect();
    let intercepts = builder.row(&intercepts);
    let logits = builder.call("Add", &[&products, &intercepts]);
    let shares = builder.softmax(&logits);
    if learned.len() == n_classes {
        return shares;
    }
    // A class that was not learned keeps the members' mean, and the others share what is left.
    let equal: Vec<(f64, String)> =
        inputs.iter().map(|it| (1.0 / inputs.len() as f64, it.clone())).collect();
    let means = builder.weighted(&equal);
    let absent: Vec<f64> = (0..n_classes).map(|it| f64::from(!is_learned(&it))).collect();
    let kept = builder.times_row(&means, &absent);
    let (sum, one) = (builder.sums(&kept), builder.float(1.0));
    let left = builder.call("Sub", &[&one, &sum]);
    let left = builder.at_least(&left, 0.0);
    let place = |of: usize, class: usize| f64::from(learned[of] == class);
    let placed = builder.product(&shares, [learned.len(), n_classes], place);
    let placed = builder.call("Mul", &[&placed, &left]);
    builder.call("Add", &[&kept, &placed])
}

/// Adds the calibration of a joint distribution.
///
/// # Errors
/// A calibration that is not exported.
pub(crate) fn calibrate(
    builder: &mut GraphBuilder,
    by: &CalibrationConfig,
    p: String,
) -> Result<String, ExportError> {
    match by {
        CalibrationConfig::Off(_) => Ok(p),
        CalibrationConfig::Temperature(it) => {
            let logs = logs(builder, &p);
            let scaled = builder.times(&logs, 1.0 / it.temperature);
            Ok(builder.softmax(&scaled))
        }
        CalibrationConfig::Vector(it) => {
            let mut logits = logs(builder, &p);
            if !it.scale.is_empty() {
                logits = builder.times_row(&logits, &it.scale);
            }
            if !it.bias.is_empty() {
                let bias = builder.row(&it.bias);
                logits = builder.call("Add", &[&logits, &bias]);
            }
            Ok(builder.softmax(&logits))
        }
        CalibrationConfig::Isotonic(_) => Err(ExportError::Unfit(format!(
            "the calibration `{}` cannot be exported: calibrate with `temperature` or `vector` (`maskfit ensemble --calibrate`)",
            by.kind()
        ))),
    }
}

fn logs(builder: &mut GraphBuilder, p: &str) -> String {
    let p = builder.at_least(p, CalibrationConfig::LOWEST);
    builder.call("Log", &[&p])
}

/// Adds the predicted joint class, `[batch]`.
pub(crate) fn decide(
    builder: &mut GraphBuilder,
    decision: &Decision,
    task: &Task,
    p: &str,
) -> String {
    let mut allowed = p.to_owned();
    for it in &decision.thresholds {
        let Ok(idx) = task.numeric_named(&it.factor) else { continue };
        let scope = Scope::Factor(idx);
        let marginal = marginal(builder, task, p, scope);
        // P(level ≥ k), from level 1 on.
        let size = [task.n_classes_of(scope), it.thresholds.len()];
        let tails = builder.product(&marginal, size, |level, cut| f64::from(level > cut));
        let thresholds = builder.row(&it.thresholds);
        let is_reached = builder.call("GreaterOrEqual", &[&tails, &thresholds]);
        let level = builder.count(&is_reached);
        let levels = builder.indices((0..task.n_classes()).map(|it| task.project(it, scope)));
        let is_allowed = builder.call("Equal", &[&level, &levels]);
        let never = builder.float(-1.0);
        allowed = builder.call("Where", &[&is_allowed, &allowed, &never]);
    }
    if !decision.class_weights.is_empty() {
        allowed = builder.times_row(&allowed, &decision.class_weights);
    }
    let attrs = [("axis", Attr::Int(1)), ("keepdims", Attr::Int(0))];
    builder.node("class", "ArgMax", &[&allowed], &attrs)
}
