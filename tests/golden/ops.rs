//! crates/ops against PyTorch: see ops.py.

use candle::{Device, Result, Tensor, Var};
use ops::{Activation, Padding, Tape, Value, Window};
use testkit::{check_close_slices, numbers};

use super::golden;

fn activation(name: &str) -> Activation {
    match name {
        "none" => Activation::None,
        "relu" => Activation::Relu,
        "relu6" => Activation::Relu6,
        "silu" => Activation::Silu,
        "sigmoid" => Activation::Sigmoid,
        "gelu" => Activation::Gelu,
        other => panic!("no activation {other}"),
    }
}

/// Runs the operation of a case of the golden file.
fn run(name: &str, xs: &[Value]) -> Result<Value> {
    let parts: Vec<&str> = name.split('/').collect();
    let window = || {
        let padding = if parts[3] == "same" { Padding::Same } else { Padding::Symmetric };
        Window::square(parts[1].parse().unwrap(), parts[2].parse().unwrap(), padding)
    };
    match parts[0] {
        "conv2d" => ops::conv2d(&xs[0], &xs[1], window(), None),
        "avg_pool" => ops::avg_pool(&xs[0], window()),
        "adaptive_avg_pool" => ops::adaptive_avg_pool(&xs[0], [7, 7]),
        "layer_norm" => ops::layer_norm(&xs[0], &xs[1], &xs[2], 1e-3),
        "concat" => ops::concat(&[&xs[0], &xs[1]]),
        "max_pool" => ops::max_pool(&xs[0], window()),
        "depthwise" => ops::depthwise(&xs[0], &xs[1], window(), None),
        "product" => ops::linear(&xs[0], &xs[1], Some(&xs[2]), None),
        "batch_norm" => Ok(ops::batch_norm(&xs[0], &xs[1], &xs[2], 1e-3, activation(parts[1]))?.0),
        "batch_norm_fixed" => {
            let mean = Tensor::from_vec(numbers("mean", 6), 6, &Device::Cpu)?;
            let variance = (Tensor::from_vec(numbers("variance", 6), 6, &Device::Cpu)? + 1.5)?;
            let given = (&mean, &variance);
            ops::batch_norm_fixed(&xs[0], &xs[1], &xs[2], given, 1e-3, activation(parts[1]))
        }
        "global_avg_pool" => ops::global_avg_pool(&xs[0]),
        "gate" => ops::gate(&xs[0], &xs[1]),
        other => panic!("no operation {other}"),
    }
}

#[test]
fn every_operation_agrees_with_pytorch() -> Result<()> {
    let golden = golden("ops").at("cases");
    for name in golden.keys() {
        let case = golden.at(&name);
        let keys: &[&str] = match name.split('/').next() {
            Some("conv2d" | "depthwise") => &["x", "w"],
            Some("product") => &["x", "w", "b"],
            Some("batch_norm" | "batch_norm_fixed" | "layer_norm") => &["x", "gamma", "beta"],
            Some("gate") => &["x", "g"],
            Some("concat") => &["x", "y"],
            _ => &["x"],
        };
        let shapes: Vec<Vec<usize>> = case.to("shapes");
        let var = |(key, shape): (&&str, &Vec<usize>)| {
            let n = shape.iter().product();
            // The script scales the inputs of activations beyond their kinks.
            let scale = if name.starts_with("activate") { 9.0 } else { 1.0 };
            let xs = numbers(&format!("{name}/{key}"), n).iter().map(|x| scale * x).collect();
            Var::from_vec(xs, shape.as_slice(), &Device::Cpu)
        };
        let vars = keys.iter().zip(&shapes).map(var).collect::<Result<Vec<_>>>()?;
        let tape = Tape::default();
        let xs: Vec<Value> = vars.iter().map(|it| tape.leaf(it)).collect();
        let ys = match name.strip_prefix("activate/") {
            Some(it) => ops::activate(&xs[0], activation(it))?,
            None => run(&name, &xs)?,
        };
        assert_eq!(ys.dims(), case.to::<Vec<usize>>("output_shape"), "{name}");
        eprintln!("{name}");
        let flat = |it: &Tensor| it.flatten_all()?.to_vec1::<f64>();
        check_close_slices(&flat(&ys.tensor()?)?, &case.to::<Vec<f64>>("output"), 1e-10);

        let r = numbers(&format!("{name}/projection"), ys.tensor()?.elem_count());
        let r = Tensor::from_vec(r, ys.dims(), &Device::Cpu)?;
        let grads = tape.backward(&(tape.export(&ys)? * r)?.sum_all()?)?;
        let scale = if name.starts_with("activate") { 9.0 } else { 1.0 };
        for (var, want) in vars.iter().zip(case.to::<Vec<Vec<f64>>>("gradients")) {
            let got = (grads.get(var).expect("a gradient") * scale)?;
            check_close_slices(&flat(&got)?, &want, 1e-10);
        }
    }
    Ok(())
}
