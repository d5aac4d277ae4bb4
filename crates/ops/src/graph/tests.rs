//! The graph, replayed with candle's operations: an implementation that shares nothing with ours.

use base::task::Scope;
use candle::{D, DType, Device, Result, Tensor, Var};
use testkit::{check_close, numbers};

use super::{Graph, Node, Op, Recorder, Sliding};
use crate::{
    Activation, Epilogue, Form, Output, Padding, Pass, Prepacked, Value, Window, activate,
    adaptive_avg_pool, add, avg_pool, batch_norm_fixed, concat, conv2d, depthwise, drop_path,
    dropout, expand_depthwise, gate, global_avg_pool, l2_normalise, layer_norm, linear, max_pool,
    scale_and_shift, squeeze_excite,
};

fn tensor(name: &str, dims: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(numbers(name, dims.iter().product()), dims, &Device::Cpu)
}

fn value(name: &str, dims: &[usize]) -> Result<Value> {
    Ok(Value::constant(tensor(name, dims)?))
}

fn norm(name: &str, c: usize, activation: Activation) -> Result<Epilogue> {
    let given = (&tensor(name, &[c])?, &(tensor("variance", &[c])? + 1.5)?);
    Epilogue::norm(&value("gamma", &[c])?, &value("beta", &[c])?, given, 1e-3, activation)
}

/// A network of every operation, from `[n, 7, 6, 3]` to `[n, 5]`.
fn network(images: &Value) -> Result<Value> {
    use Activation::{Gelu, None as Plain, Relu, Relu6, Sigmoid, Silu};
    let packed = Prepacked::default();
    let pass = Pass::Eval(&packed);
    let square = Window::square;
    let (symmetric, same) = (Padding::Symmetric, Padding::Same);
    let first = Var::from_tensor(&tensor("first", &[8, 3, 3, 3])?)?;
    let then = norm("a", 8, Silu)?;
    let a = conv2d(images, &pass.param(&first), square(3, 2, same), Some(&then))?;
    let then = norm("b", 8, Relu6)?;
    let b = depthwise(&a, &value("k", &[3, 3, 8])?, square(3, 1, symmetric), Some(&then))?;
    let reduce = (&value("reduce", &[3, 8])?, &value("reduce bias", &[3])?);
    let excite = (&value("excite", &[8, 3])?, &value("excite bias", &[8])?);
    let b = squeeze_excite(&b, reduce, excite, Relu)?;
    let (between, then) = (norm("c", 12, Silu)?, norm("d", 12, Plain)?);
    let expand = value("expand", &[12, 1, 1, 8])?;
    let kernel = value("wide", &[5, 5, 12])?;
    let c = expand_depthwise(&a, (&expand, &between), &kernel, square(5, 1, same), &then)?;
    let bias = value("bias", &[12])?;
    let gates = linear(&global_avg_pool(&c)?, &value("se", &[12, 12])?, Some(&bias), None)?;
    let c = gate(&c, &activate(&gates, Sigmoid)?)?;
    let then = norm("e", 8, Relu)?.plus(&a);
    let d = linear(&c, &value("project", &[8, 1, 1, 12])?, None, Some(&then))?;
    let given = (&tensor("mean", &[8])?, &(tensor("var", &[8])? + 1.5)?);
    let (gamma, beta) = (value("gamma", &[8])?, value("beta", &[8])?);
    let e = batch_norm_fixed(&add(&d, &b)?, &gamma, &beta, given, 1e-3, Relu)?;
    let then = Epilogue::line(8, None, None, Plain)?.after_bias(&tensor("late", &[8])?)?;
    let f = conv2d(&e, &value("grouped", &[8, 3, 3, 4])?, square(3, 1, symmetric), Some(&then))?;
    let f = scale_and_shift(&f, Some(&gamma), Some(&beta), Plain)?;
    let g = activate(&layer_norm(&f, &gamma, &beta, 1e-2)?, Gelu)?;
    let h = concat(&[&g, &drop_path(&e, 0.5, &pass, "drop_path")?])?;
    let pooled = add(&max_pool(&h, square(3, 2, symmetric))?, &avg_pool(&h, square(2, 2, same))?)?;
    let map = adaptive_avg_pool(&pooled, [3, 1])?;
    let row = map.reshape(&[map.dims()[0], map.dims()[1..].iter().product()])?;
    let row = l2_normalise(&dropout(&row, 0.5, &pass, "dropout")?, 2.0)?;
    linear(&row, &l2_normalise(&value("classes", &[5, 48])?, 1.0)?, None, None)
}

/// The graph of a function of images, recorded with `n` of them.
fn record(name: &str, n: usize, f: impl Fn(&Value) -> Result<Value>) -> Result<Graph> {
    let recorder = Recorder::default();
    let numbers = f(&Value::traced(tensor(name, &[n, 7, 6, 3])?, &recorder))?.node()?;
    Ok(recorder.finish(vec![Output::new(Scope::Joint, Form::Classes, numbers)]))
}

/// Computes the only output of a graph.
fn replay(graph: &Graph, images: &Tensor) -> Result<Tensor> {
    let mut values: Vec<Tensor> = Vec::new();
    for node in &graph.nodes {
        let inputs: Vec<&Tensor> = node.inputs.iter().map(|&it| &values[it]).collect();
        values.push(compute(node, &inputs, images)?);
    }
    Ok(values[graph.outputs[0].numbers].clone())
}

fn compute(node: &Node, inputs: &[&Tensor], images: &Tensor) -> Result<Tensor> {
    let (n, dims) = (images.dims()[0], &node.dims);
    let vector = |xs: &[f64]| Tensor::new(xs, &Device::Cpu);
    let shifted = |ys: Tensor, bias: Option<&super::Weight>| match bias {
        Some(it) => ys.broadcast_add(&it.tensor),
        None => Ok(ys),
    };
    match &node.op {
        Op::Input => Ok(images.clone()),
        Op::Constant(it) => Ok(it.tensor.clone()),
        Op::Conv { weight, bias, sliding: at, groups } => {
            let xs = inputs[0].permute((0, 3, 1, 2))?.contiguous()?;
            let xs = xs.pad_with_zeros(2, at.before[0], at.after[0])?;
            let xs = xs.pad_with_zeros(3, at.before[1], at.after[1])?;
            let w = weight.tensor.permute((0, 3, 1, 2))?.contiguous()?;
            let ys = xs.conv2d(&w, 0, at.stride, 1, *groups)?;
            shifted(ys.permute((0, 2, 3, 1))?.contiguous()?, bias.as_ref())
        }
        Op::Linear { weight, bias } => {
            let rows = inputs[0].reshape(((), weight.tensor.dims()[1]))?;
            let ys = rows.matmul(&weight.tensor.t()?.contiguous()?)?;
            let dims = [&[n][..], &dims[1..]].concat();
            shifted(ys.reshape(dims)?, bias.as_ref())
        }
        Op::Affine { scale, shift } => {
            inputs[0].broadcast_mul(&vector(scale)?)?.broadcast_add(&vector(shift)?)
        }
        Op::LayerNorm { gamma, beta, eps } => {
            let xs = inputs[0].broadcast_sub(&inputs[0].mean_keepdim(D::Minus1)?)?;
            let std = (xs.sqr()?.mean_keepdim(D::Minus1)? + *eps)?.sqrt()?;
            xs.broadcast_div(&std)?.broadcast_mul(&gamma.tensor)?.broadcast_add(&beta.tensor)
        }
        Op::Activate(activation) => {
            let (xs, sigmoid) = (inputs[0], (inputs[0].neg()?.exp()? + 1.0)?.recip()?);
            match activation {
                Activation::None => Ok(xs.clone()),
                Activation::Relu => xs.relu(),
                Activation::Relu6 => xs.clamp(0.0, 6.0),
                Activation::Silu => xs * sigmoid,
                Activation::Sigmoid => Ok(sigmoid),
                Activation::Gelu => xs.gelu_erf(),
            }
        }
        Op::Add => inputs[0] + inputs[1],
        Op::Gate => inputs[0].broadcast_mul(&inputs[1].unsqueeze(1)?.unsqueeze(1)?),
        Op::Concat => Tensor::cat(inputs, inputs[0].rank() - 1),
        Op::MaxPool(at) => pool(inputs[0], dims, windows(*at), |xs| {
            xs.iter().copied().fold(f64::NEG_INFINITY, f64::max)
        }),
        Op::AvgPool(at) => pool(inputs[0], dims, windows(*at), mean),
        Op::AdaptiveAvgPool => {
            let window = |axis: usize, idx: usize, size: usize| {
                let out = dims[axis + 1];
                (idx * size / out, ((idx + 1) * size).div_ceil(out))
            };
            pool(inputs[0], dims, window, mean)
        }
        Op::GlobalAvgPool => inputs[0].mean((1, 2)),
        Op::L2Normalise { length, eps } => {
            let norm = inputs[0].sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(*eps)?;
            inputs[0].broadcast_div(&norm)? * *length
        }
        Op::Reshape => inputs[0].reshape([&[n][..], &dims[1..]].concat()),
    }
}

fn mean(xs: &[f64]) -> f64 {
    xs.iter().sum::<f64>() / xs.len() as f64
}

/// The positions on the map of window `idx` along an axis of a size.
fn windows(at: Sliding) -> impl Fn(usize, usize, usize) -> (usize, usize) {
    move |axis, idx, size| {
        let begin = idx * at.stride;
        let on_map = |it: usize| it.saturating_sub(at.before[axis]).min(size);
        (on_map(begin), on_map(begin + at.kernel[axis]))
    }
}

fn pool(
    xs: &Tensor,
    dims: &[usize],
    window: impl Fn(usize, usize, usize) -> (usize, usize),
    of: impl Fn(&[f64]) -> f64,
) -> Result<Tensor> {
    let (n, h, w, c) = xs.dims4()?;
    let (values, mut ys) = (xs.flatten_all()?.to_vec1::<f64>()?, Vec::new());
    for image in 0..n {
        for place in 0..dims[1] * dims[2] {
            let (top, bottom) = window(0, place / dims[2], h);
            let (left, right) = window(1, place % dims[2], w);
            for channel in 0..c {
                let at = |row: usize, col: usize| ((image * h + row) * w + col) * c + channel;
                let rows = (top..bottom).flat_map(|row| (left..right).map(move |col| (row, col)));
                ys.push(of(&rows.map(|(row, col)| values[at(row, col)]).collect::<Vec<_>>()));
            }
        }
    }
    Tensor::from_vec(ys, (n, dims[1], dims[2], c), &Device::Cpu)
}

#[test]
fn a_graph_computes_what_the_pass_computes_also_for_other_images() -> Result<()> {
    let graph = record("recorded", 1, network)?;
    let folded = graph.clone().folded()?;
    assert_eq!(graph.difference(&record("others", 2, network)?), None);
    for n in [1, 3] {
        let images = tensor("images", &[n, 7, 6, 3])?;
        let want = network(&Value::constant(images.clone()))?.tensor()?;
        let want = want.flatten_all()?.to_vec1::<f64>()?;
        check_close(&replay(&graph, &images)?, &want, 1e-7);
        check_close(&replay(&folded, &images)?, &want, 1e-7);
    }
    // Of six norms, a late bias and a scale, only the norm after a sum has no layer to be folded into.
    let n_affine =
        |it: &Graph| it.nodes.iter().filter(|it| it.op.name() == "norm or scale").count();
    assert_eq!((n_affine(&graph), n_affine(&folded)), (8, 1));
    Ok(())
}

#[test]
fn recording_changes_no_bit() -> Result<()> {
    let images = tensor("images", &[2, 7, 6, 3])?;
    let traced = network(&Value::traced(images.clone(), &Recorder::default()))?.tensor()?;
    let plain = network(&Value::constant(images))?.tensor()?;
    assert_eq!(traced.to_vec2::<f64>()?, plain.to_vec2::<f64>()?);
    Ok(())
}

/// What [`network`] does not contain of the public functions: those of training, and those without values.
const OTHERS: &[&str] = &[
    "batch_norm",
    "batch_norm_running",
    "expand_norm_depthwise",
    "normalise_on_card",
    "keep_freed_memory",
    "log_sum_exp_of",
    "normalise",
    "peak_allocated",
    "profile",
    "to_byte",
    "update",
    "upsample_columns",
    "upsample_rows",
    "vectorised",
];

#[test]
fn every_public_operation_is_in_the_network_of_these_tests() {
    let own = include_str!("tests.rs");
    let (_, body) = own.split_once("\nfn network(").expect("the network");
    let (body, _) = body.split_once("\n}\n").expect("its end");
    let mut n = 0;
    for line in include_str!("../lib.rs").split(';').filter_map(|it| it.split_once("pub use ")) {
        let (_, names) = line.1.split_once("::").expect("a path");
        for name in names.split(|it: char| !(it.is_alphanumeric() || it == '_')) {
            let is_function = name.starts_with(char::is_lowercase);
            if is_function && !OTHERS.contains(&name) {
                assert!(body.contains(&format!("{name}(")), "`{name}` is not in `network`");
                n += 1;
            }
        }
    }
    assert!(n > 15, "only {n} operations were found");
}

/// An operation that does not record itself.
fn doubled(xs: &Value) -> Result<Value> {
    let slot = xs.slot();
    Value::record(&[xs], (xs.tensor()? * 2.0)?, move |grad, slots| slots.give(slot, || Ok(grad)))
}

#[test]
fn an_operation_that_is_not_recorded_is_an_error_wherever_it_is() -> Result<()> {
    let images = Value::traced(tensor("images", &[1, 7, 6, 3])?, &Recorder::default());
    let lost = doubled(&images)?;
    let after = global_avg_pool(&add(&images, &activate(&lost, Activation::Relu)?)?)?;
    for it in [&lost, &after] {
        let err = it.node().expect_err("it is not recorded").to_string();
        assert!(err.contains("tests.rs") && err.contains("is not recorded"), "{err}");
    }
    let constant = value("constant", &[1, 3])?;
    let err = constant.node().expect_err("it is a constant").to_string();
    assert!(err.contains("does not depend on the images"), "{err}");
    Ok(())
}

#[test]
fn numbers_that_leave_the_values_are_found_by_a_second_pass() -> Result<()> {
    let check = |f: fn(&Value) -> Result<Value>, want: &str| -> Result<()> {
        let (one, two) = (record("one", 1, f)?, record("two", 2, f)?);
        let found = one.difference(&two).expect("a difference");
        assert!(found.contains(want), "{found}");
        Ok(())
    };
    check(
        |xs| linear(xs, &Value::constant(xs.tensor()?.mean((0, 1, 2))?.unsqueeze(0)?), None, None),
        "outside of the recorded operations",
    )?;
    check(|xs| add(xs, &Value::constant(xs.tensor()?)), "its weights or attributes")?;
    check(|xs| xs.reshape(&[7, 6 * 3 * xs.dims()[0]]), "does not begin with the number of images")
}

#[test]
fn parameters_are_named_and_keep_their_name_when_folded() -> Result<()> {
    let packed = Prepacked::default();
    let var = Var::from_tensor(&tensor("w", &[4, 3])?)?;
    let graph = record("images", 1, |xs| {
        let then = norm("norm", 4, Activation::None)?;
        linear(xs, &Pass::Eval(&packed).param(&var), None, Some(&then))
    })?;
    let graph = graph.name(|id| (id == var.id()).then(|| "layer.weight".to_owned())).folded()?;
    let Op::Linear { weight, bias } = &graph.nodes[1].op else { panic!("{:?}", graph.nodes) };
    assert_eq!(weight.name.as_deref(), Some("layer.weight"));
    assert!(bias.is_some() && graph.nodes.len() == 2);
    assert_eq!(weight.tensor.dtype(), DType::F64);
    Ok(())
}

#[test]
fn a_result_that_others_read_keeps_its_norm_and_unread_operations_are_dropped() -> Result<()> {
    let graph = record("images", 1, |xs| {
        let ys = linear(xs, &value("w", &[3, 3])?, None, None)?;
        let normed = scale_and_shift(&ys, Some(&value("scale", &[3])?), None, Activation::None)?;
        max_pool(&ys, Window::square(2, 2, Padding::Valid))?;
        add(&normed, &ys)
    })?;
    let names = |it: &Graph| it.nodes.iter().map(|it| it.op.name()).collect::<Vec<_>>();
    let folded = graph.folded()?;
    assert_eq!(names(&folded), ["input", "linear layer", "norm or scale", "add"]);
    assert_eq!(folded.outputs[0].numbers, 3);
    Ok(())
}
