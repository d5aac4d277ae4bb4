//! From the images of each member to the outputs of the graph: networks, test-time augmentation, ensemble,
//! calibration and decision, in the steps of `infer::Predictor`.

use augment::{Merge, Step, TransformConfig};
use base::task::Scope;
use infer::{Bundle, Member};
use ops::{Form, Output};

use crate::{
    ExportError,
    builder::{Attr, Dim, GraphBuilder},
    combination::{calibrate, combine, decide},
    forms,
    joint::{Distribution, join, joint_of, marginal, place},
    nodes::{Network, Numbers},
    proto::DataType,
};

/// Adds the networks of all members, and everything that follows from them up to the outputs of the graph:
/// `probabilities` of the joint classes first, then `predicted`, `probabilities_<factor>` of each factor if there are
/// several, the predicted `number` if there is one, and of a single member its `logits`.
///
/// - `images`: for each member the name of its normalised images, 32-bit floats `[batch, 3, h, w]` with the size of
///   the member's pipeline. Members with the same images share a name.
///
/// # Errors
/// Whatever of the bundle has no counterpart in the graph, by name, with what to do.
pub(crate) fn predict(
    builder: &mut GraphBuilder,
    bundle: &Bundle,
    images: &[String],
) -> Result<(), ExportError> {
    let Bundle { task, calibration, decision, .. } = bundle;
    let mut rows = Vec::new();
    for (idx, (member, images)) in bundle.members.iter().zip(images).enumerate() {
        let build = |it: &mut GraphBuilder| member_of(it, bundle, member, images);
        rows.push(match bundle.members.len() {
            1 => build(builder)?,
            _ => builder.within(&format!("members.{idx}"), build)?,
        });
    }
    let combined = combined(builder, bundle, &rows)?;
    let probabilities = calibrate(builder, calibration, combined)?;
    let predicted = decide(builder, decision, task, &probabilities);
    let float = DataType::Float;

    let dims = |scope| [Dim::BATCH, Dim::Fixed(task.n_classes_of(scope))];
    let doc = "the probability of each joint class";
    let joint = dims(Scope::Joint);
    builder.output("probabilities", &probabilities, float, &joint, doc);
    let doc = "the index of the predicted joint class";
    builder.output("predicted", &predicted, DataType::Int64, &[Dim::BATCH], doc);
    for scope in task.scopes().into_iter().filter(|it| *it != Scope::Joint) {
        let name = task.scope_name(scope);
        let value = marginal(builder, task, &probabilities, scope);
        let doc = format!("the probability of each level of {name}");
        builder.output(&format!("probabilities_{name}"), &value, float, &dims(scope), &doc);
    }
    if let Some(idx) = bundle.number() {
        let number = mean_number(builder, bundle, &rows);
        let axes = builder.ints(&[1]);
        let number = builder.call("Squeeze", &[&number, &axes]);
        let doc = format!("the predicted number of {}", task.scope_name(Scope::Factor(idx)));
        builder.output("number", &number, float, &[Dim::BATCH], &doc);
    }
    if let [Row { logits, .. }] = &rows[..] {
        for Logits { name, value, n } in logits {
            let dims = [Dim::BATCH, Dim::Fixed(*n)];
            builder.output(name, value, float, &dims, "the network's output before the softmax");
        }
    }
    Ok(())
}

/// The predictions of one member.
struct Row {
    /// In the bundle's task: of the joint classes, or of some factors.
    outputs: Vec<Distribution>,
    /// `[batch, 1]`.
    number: Option<String>,
    /// Empty with test-time augmentation.
    logits: Vec<Logits>,
}

/// The numbers of an output of a head.
struct Logits {
    /// The name of the graph's output.
    name: String,
    /// The name of the value.
    value: String,
    /// The number of logits of an image.
    n: usize,
}

/// Adds the predictions of one member.
fn member_of(
    builder: &mut GraphBuilder,
    bundle: &Bundle,
    member: &Member,
    images: &str,
) -> Result<Row, ExportError> {
    let size = member.pipeline.size().map_err(ExportError::Unfit)?;
    let views = views(member)?;
    let mut network = Network::new(&member.model, size)?;
    let mut rows = Vec::new();
    for (weight, is_mirrored) in &views {
        let images = match is_mirrored {
            true => mirrored(builder, images, size[1]),
            false => images.to_owned(),
        };
        let outputs = network.add(builder, &images)?;
        rows.push((*weight, view_of(builder, bundle, member, &outputs)?));
    }
    if rows.len() == 1 {
        return Ok(rows.remove(0).1);
    }
    Ok(merged(builder, &rows, member.views.get().merge()))
}

/// The weight of each view of a member, and whether it is the mirror image.
fn views(member: &Member) -> Result<Vec<(f64, bool)>, ExportError> {
    let plain = &member.pipeline.ops;
    let is_flip = |it: &Step| matches!(it.op, TransformConfig::HorizontalFlip(_)) && it.p >= 1.0;
    let mut all = Vec::new();
    for view in member.views().map_err(ExportError::Unfit)? {
        let ops = &view.pipeline.ops;
        all.push(match ops.strip_prefix(&plain[..]) {
            Some([]) => (view.weight, false),
            Some([last]) if is_flip(last) => (view.weight, true),
            _ => {
                return Err(ExportError::Unfit(format!(
                    "the test-time augmentation `{}` cannot be exported, only `flip`: export the prediction of the \
                     image alone with `--no-tta`",
                    member.views.kind()
                )));
            }
        });
    }
    Ok(all)
}

/// Adds the mirror images of images `[batch, 3, h, w]`.
fn mirrored(builder: &mut GraphBuilder, images: &str, width: usize) -> String {
    let columns: Vec<i64> = (0..width as i64).rev().collect();
    let columns = builder.ints(&columns);
    builder.node("mirrored", "Gather", &[images, &columns], &[("axis", Attr::Int(3))])
}

/// Adds the predictions of one member for one view.
fn view_of(
    builder: &mut GraphBuilder,
    bundle: &Bundle,
    member: &Member,
    outputs: &[Output<Numbers>],
) -> Result<Row, ExportError> {
    let task = &bundle.task;
    let places = task.places(&member.task).map_err(ExportError::Unfit)?;
    let has_number = bundle.number().is_some() && member.number(task) == bundle.number();
    let mut row = Row { outputs: Vec::new(), number: None, logits: Vec::new() };
    for it in outputs {
        let Numbers { name: numbers, n } = &it.numbers;
        if let Some(name) = forms::probabilities(builder, &it.form, numbers, *n) {
            row.outputs.push(Distribution { scope: it.scope, name });
        }
        if has_number && row.number.is_none() {
            row.number = forms::number(builder, &it.form, numbers, *n);
        }
        if !matches!(it.form, Form::Number { .. }) {
            let name = match outputs.len() {
                1 => "logits".to_owned(),
                _ => format!("logits_{}", member.task.scope_name(it.scope)),
            };
            let value = match it.form {
                Form::Cosines { scale } => builder.times(numbers, scale),
                _ => numbers.clone(),
            };
            row.logits.push(Logits { name, value, n: *n });
        }
    }
    let outputs = place(builder, task, &member.task, &places, row.outputs);
    row.outputs = match joint_of(builder, task, &outputs) {
        Some(name) => vec![Distribution { scope: Scope::Joint, name }],
        None => outputs,
    };
    Ok(row)
}

/// Adds the prediction of a member from those for its views, with their weights.
fn merged(builder: &mut GraphBuilder, views: &[(f64, Row)], merge: Merge) -> Row {
    let mut outputs = Vec::new();
    for (idx, first) in views.first().iter().flat_map(|it| it.1.outputs.iter().enumerate()) {
        let of_view = |(weight, row): &(f64, Row)| {
            Some((*weight, row.outputs.get(idx).map(|it| it.name.clone())?))
        };
        let all: Vec<(f64, String)> = views.iter().filter_map(of_view).collect();
        outputs.push(Distribution { scope: first.scope, name: merged_one(builder, &all, merge) });
    }
    let number = |(weight, row): &(f64, Row)| Some((*weight, row.number.clone()?));
    let numbers: Option<Vec<(f64, String)>> = views.iter().map(number).collect();
    let number = numbers.map(|it| builder.weighted(&it));
    Row { outputs, number, logits: Vec::new() }
}

/// Adds the distribution that several are merged to: [`Merge::merge`].
fn merged_one(builder: &mut GraphBuilder, all: &[(f64, String)], merge: Merge) -> String {
    if merge == Merge::Mean {
        return builder.weighted(all);
    }
    if merge == Merge::Max {
        let all: Vec<&str> = all.iter().map(|it| it.1.as_str()).collect();
        let most = builder.call("Max", &all);
        return builder.normalised(&most);
    }
    let [least, most] = Merge::LIMITS.map(|it| builder.float(it as f32));
    let mut logs = Vec::new();
    for (weight, p) in all {
        let limited = builder.call("Clip", &[p, &least, &most]);
        let ratio = match merge {
            Merge::Logits => {
                let one = builder.float(1.0);
                let rest = builder.call("Sub", &[&one, &limited]);
                builder.call("Div", &[&limited, &rest])
            }
            _ => limited,
        };
        logs.push((*weight, builder.call("Log", &[&ratio])));
    }
    let mean = builder.weighted(&logs);
    let op = if merge == Merge::Logits { "Sigmoid" } else { "Exp" };
    let shares = builder.call(op, &[&mean]);
    builder.normalised(&shares)
}

/// Adds the joint distribution of all members.
fn combined(
    builder: &mut GraphBuilder,
    bundle: &Bundle,
    rows: &[Row],
) -> Result<String, ExportError> {
    let Bundle { task, inputs, combine: by, .. } = bundle;
    let is_whole = |it: &Row| matches!(&it.outputs[..], [Distribution { scope: Scope::Joint, .. }]);
    if !rows.iter().all(is_whole) {
        // Only a soft vote takes members that predict some factors.
        let outputs: Vec<Vec<Distribution>> = rows.iter().map(|it| it.outputs.clone()).collect();
        return join(builder, task, &outputs, &bundle.weights())
            .map_err(|err| ExportError::Unfit(err.to_string()));
    }
    let all: Vec<String> =
        rows.iter().flat_map(|it| &it.outputs).map(|it| it.name.clone()).collect();
    let mut means = Vec::new();
    let mut rest = &all[..];
    for &n in inputs {
        let own;
        (own, rest) = rest.split_at_checked(n).unwrap_or((rest, &[]));
        let share = 1.0 / own.len().max(1) as f64;
        let own: Vec<(f64, String)> = own.iter().map(|it| (share, it.clone())).collect();
        means.push(builder.weighted(&own));
    }
    let all = if inputs.is_empty() { all } else { means };
    combine(builder, by, &all, task.n_classes())
}

/// Adds the mean number of the members that have one, by their weights, `[batch, 1]`.
fn mean_number(builder: &mut GraphBuilder, bundle: &Bundle, rows: &[Row]) -> String {
    let weights = bundle.weights();
    let weight = |idx: usize| weights.get(idx).copied().unwrap_or(1.0);
    let number = |(idx, it): (usize, &Row)| Some((weight(idx), it.number.clone()?));
    let numbers: Vec<(f64, String)> = rows.iter().enumerate().filter_map(number).collect();
    let total: f64 = numbers.iter().map(|it| it.0).sum();
    let shares: Vec<_> = numbers.into_iter().map(|(weight, it)| (weight / total, it)).collect();
    builder.weighted(&shares)
}
