//! From the numbers of a head's output to probabilities and to a number: [`ops::Output::predictions`] and
//! [`ops::Output::number`] as nodes of a graph. In 32-bit floats, where ours are in 64 bits.

use base::task::Factor;
use ops::{Decide, Form};

use crate::builder::{Attr, GraphBuilder};

/// Adds the distribution over the classes of an output's scope, `[batch, class]`; `None` for an output that is used
/// for training only.
///
/// - `xs`: the numbers, `[batch, number]`.
/// - `n`: how many there are.
pub(crate) fn probabilities(
    builder: &mut GraphBuilder,
    form: &Form,
    xs: &str,
    n: usize,
) -> Option<String> {
    Some(match form {
        Form::Classes => builder.softmax(xs),
        Form::Cosines { scale } => {
            let logits = builder.times(xs, *scale);
            builder.softmax(&logits)
        }
        Form::Independent => {
            let logs = log_sigmoid(builder, xs);
            builder.softmax(&logs)
        }
        Form::Bins { min, decide, cuts } => {
            let level = |bin: usize| Factor::level_of((*min + bin as i64) as f64, cuts);
            let q = builder.softmax(xs);
            let mass = |bin: usize, of: usize| f64::from(level(bin) == of);
            let p = builder.product(&q, [n, cuts.len() + 1], mass);
            let decided = match decide {
                Decide::Mass => return Some(p),
                Decide::Likeliest => {
                    let bin = builder.largest(&q);
                    let levels = builder.indices((0..n).map(level));
                    builder.node("level", "Gather", &[&levels, &bin], &[("axis", Attr::Int(0))])
                }
                Decide::Expected => {
                    let number = expected(builder, &q, *min, n);
                    level_of(builder, &number, cuts)
                }
            };
            with_largest_at(builder, &p, &decided, cuts.len() + 1)
        }
        Form::Number { cuts: None, .. } => return None,
        Form::Number { scale, center, cuts: Some(cuts) } => {
            let n_levels = cuts.len() + 1;
            let number = affine(builder, xs, *scale, *center);
            // Of each cut σ((cut - y) / s), the probability of being below it.
            let ends = builder.row(cuts);
            let left = builder.call("Sub", &[&ends, &number]);
            let left = builder.times(&left, 1.0 / (Form::SPREAD * scale));
            let below = builder.call("Sigmoid", &[&left]);
            // The differences of neighbours, between 0 and 1.
            let difference =
                |cut: usize, level: usize| f64::from(cut == level) - f64::from(cut + 1 == level);
            let differences = builder.product(&below, [cuts.len(), n_levels], difference);
            let last: Vec<f64> = (0..n_levels).map(|it| f64::from(it + 1 == n_levels)).collect();
            let last = builder.row(&last);
            let p = builder.call("Add", &[&differences, &last]);
            let p = builder.at_least(&p, Form::LEAST);
            let p = builder.normalised(&p);
            let level = level_of(builder, &number, cuts);
            with_largest_at(builder, &p, &level, n_levels)
        }
    })
}

/// Adds the predicted number, `[batch, 1]`, if the form has one.
///
/// - `xs`: the numbers of the output, `[batch, number]`.
/// - `n`: how many there are.
pub(crate) fn number(
    builder: &mut GraphBuilder,
    form: &Form,
    xs: &str,
    n: usize,
) -> Option<String> {
    match form {
        Form::Classes | Form::Cosines { .. } | Form::Independent => None,
        Form::Bins { min, .. } => {
            let q = builder.softmax(xs);
            Some(expected(builder, &q, *min, n))
        }
        Form::Number { scale, center, .. } => Some(affine(builder, xs, *scale, *center)),
    }
}

/// scale·x + center.
fn affine(builder: &mut GraphBuilder, xs: &str, scale: f64, center: f64) -> String {
    let (scaled, center) = (builder.times(xs, scale), builder.float(center as f32));
    builder.call("Add", &[&scaled, &center])
}

/// The expected number of a distribution over `n` numbers from `min` on, `[batch, 1]`.
fn expected(builder: &mut GraphBuilder, q: &str, min: i64, n: usize) -> String {
    builder.product(q, [n, 1], |bin, _| (min + bin as i64) as f64)
}

/// The level that a number is in, `[batch, 1]`.
fn level_of(builder: &mut GraphBuilder, number: &str, cuts: &[f64]) -> String {
    let cuts = builder.row(cuts);
    let is_above = builder.call("GreaterOrEqual", &[number, &cuts]);
    builder.count(&is_above)
}

/// Swaps the largest probability with that of `level`, `[batch, 1]`.
fn with_largest_at(builder: &mut GraphBuilder, p: &str, level: &str, n: usize) -> String {
    let largest = builder.largest(p);
    let mut of = |index: &str| {
        let at = [("axis", Attr::Int(1))];
        let value = builder.node("probability", "GatherElements", &[p, index], &at);
        (builder.is_column(index, n), value)
    };
    let ((is_largest, of_largest), (is_level, of_level)) = (of(&largest), of(level));
    let rest = builder.call("Where", &[&is_level, &of_largest, p]);
    builder.call("Where", &[&is_largest, &of_level, &rest])
}

/// ln σ(x) = min(x, 0) - ln(1 + e^-|x|).
fn log_sigmoid(builder: &mut GraphBuilder, xs: &str) -> String {
    let (zero, one) = (builder.float(0.0), builder.float(1.0));
    let negative = builder.call("Min", &[xs, &zero]);
    let size = builder.call("Abs", &[xs]);
    let size = builder.call("Neg", &[&size]);
    let power = builder.call("Exp", &[&size]);
    let sum = builder.call("Add", &[&power, &one]);
    let log = builder.call("Log", &[&sum]);
    builder.call("Sub", &[&negative, &log])
}
