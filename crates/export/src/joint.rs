//! From the distributions of several scopes and members to one of the joint classes: [`base::Task::place`],
//! [`base::Task::joint_of`] and [`base::Task::join`] as nodes of a graph.

use base::{MissingFactor, Task, task::Scope};

use crate::builder::GraphBuilder;

/// The name of a distribution over the classes of a scope, `[batch, class]`.
#[derive(Clone)]
pub(crate) struct Distribution {
    /// The scope.
    pub(crate) scope: Scope,
    /// The name of its value.
    pub(crate) name: String,
}

/// Sums a joint distribution over every factor outside `scope`.
pub(crate) fn marginal(
    builder: &mut GraphBuilder,
    task: &Task,
    joint: &str,
    scope: Scope,
) -> String {
    let size = [task.n_classes(), task.n_classes_of(scope)];
    builder.product(joint, size, |class, of| f64::from(task.project(class, scope) == of))
}

/// Returns a member's predictions in `task`, from those in its own one, `part`.
///
/// - `places`: the places of its factors in `task`.
pub(crate) fn place(
    builder: &mut GraphBuilder,
    task: &Task,
    part: &Task,
    places: &[usize],
    predictions: Vec<Distribution>,
) -> Vec<Distribution> {
    if part.factors == task.factors {
        return predictions;
    }
    let placed = |idx: usize, name: String| {
        let scope = places.get(idx).map_or(Scope::Joint, |it| Scope::Factor(*it));
        Distribution { scope, name }
    };
    if let Some(Distribution { name, .. }) = predictions.iter().find(|it| it.scope == Scope::Joint)
    {
        if places.len() < task.factors.len() {
            let mut of = |idx| placed(idx, marginal(builder, part, name, Scope::Factor(idx)));
            return (0..places.len()).map(&mut of).collect();
        }
        let class = |class| {
            let levels = task.levels_of(class);
            let levels: Vec<usize> = places.iter().map(|&it| levels[it]).collect();
            part.class_of(&levels)
        };
        let name = builder.columns(name, (0..task.n_classes()).map(class));
        return vec![Distribution { scope: Scope::Joint, name }];
    }
    let of_factor = |it: Distribution| match it.scope {
        Scope::Factor(idx) => placed(idx, it.name),
        Scope::Joint => it,
    };
    predictions.into_iter().map(of_factor).collect()
}

/// Returns the joint distribution of one member, if it predicts the joint scope or every factor.
pub(crate) fn joint_of(
    builder: &mut GraphBuilder,
    task: &Task,
    predictions: &[Distribution],
) -> Option<String> {
    if let Some(joint) = predictions.iter().find(|it| it.scope == Scope::Joint) {
        return Some(joint.name.clone());
    }
    let of = |idx| predictions.iter().find(|it| it.scope == Scope::Factor(idx));
    let factors: Vec<&Distribution> = (0..task.factors.len()).map(of).collect::<Option<_>>()?;
    if let [only] = factors[..] {
        return Some(only.name.clone());
    }
    let mut product: Option<String> = None;
    for it in factors {
        product = Some(times_levels(builder, task, product, &it.name, it.scope));
    }
    product
}

/// Multiplies each class by the number of its level; without classes, returns that.
///
/// - `levels`: `[batch, level]` of the scope.
fn times_levels(
    builder: &mut GraphBuilder,
    task: &Task,
    classes: Option<String>,
    levels: &str,
    scope: Scope,
) -> String {
    let levels =
        builder.columns(levels, (0..task.n_classes()).map(|class| task.project(class, scope)));
    match classes {
        Some(classes) => builder.call("Mul", &[&classes, &levels]),
        None => levels,
    }
}

/// Combines the predictions of several members into one joint distribution.
///
/// - `weights`: of the members, 0 or more; empty for equal ones.
///
/// # Errors
/// No member predicts some factor.
pub(crate) fn join(
    builder: &mut GraphBuilder,
    task: &Task,
    members: &[Vec<Distribution>],
    weights: &[f64],
) -> Result<String, MissingFactor> {
    let weight = |idx: usize| weights.get(idx).copied().unwrap_or(1.0);
    let (mut whole, mut part) = (Vec::new(), Vec::new());
    for (idx, member) in members.iter().enumerate() {
        match joint_of(builder, task, member) {
            Some(joint) => whole.push((weight(idx), joint)),
            None => part.push((weight(idx), member)),
        }
    }
    let base = mean(builder, &whole);
    if let (Some(base), true) = (&base, part.is_empty()) {
        return Ok(base.clone());
    }
    let mut joint = base.clone();
    for (idx, factor) in task.factors.iter().enumerate() {
        let scope = Scope::Factor(idx);
        let mut marginals = Vec::new();
        for (weight, it) in &whole {
            marginals.push((*weight, marginal(builder, task, it, scope)));
        }
        for (weight, member) in &part {
            let own = member.iter().filter(|it| it.scope == scope);
            marginals.extend(own.map(|it| (*weight, it.name.clone())));
        }
        let Some(want) = mean(builder, &marginals) else {
            return Err(MissingFactor { factor: factor.name.clone() });
        };
        let ratio = match &base {
            None => want,
            Some(base) => {
                let have = marginal(builder, task, base, scope);
                let zero = builder.float(0.0);
                let is_there = builder.call("Greater", &[&have, &zero]);
                let ratio = builder.call("Div", &[&want, &have]);
                builder.call("Where", &[&is_there, &ratio, &zero])
            }
        };
        joint = Some(times_levels(builder, task, joint, &ratio, scope));
    }
    let joint = joint.unwrap_or_default();
    // Members that contradict each other with certainty: the uniform distribution.
    let (sums, zero) = (builder.sums(&joint), builder.float(0.0));
    let is_there = builder.call("Greater", &[&sums, &zero]);
    let share = builder.call("Div", &[&joint, &sums]);
    let uniform = builder.float((1.0 / task.n_classes() as f64) as f32);
    Ok(builder.call("Where", &[&is_there, &share, &uniform]))
}

/// The weighted mean of values; `None` without one of a weight above 0.
pub(crate) fn mean(builder: &mut GraphBuilder, all: &[(f64, String)]) -> Option<String> {
    let total: f64 = all.iter().map(|it| it.0).sum();
    if total <= 0.0 {
        return None;
    }
    let shares: Vec<_> = all.iter().map(|(weight, it)| (weight / total, it.clone())).collect();
    Some(builder.weighted(&shares))
}
