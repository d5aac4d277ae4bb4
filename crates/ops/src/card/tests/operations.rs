//! Each operation alone, on a value that is read through a norm and an activation.

use candle::Result;
use gpu::Storage;

use super::harness::{Network, Params, agrees};
use crate::{
    Activation, Padding, Pass, Value, Window, activate, adaptive_avg_pool, add, avg_pool,
    batch_norm_fixed, concat, conv2d, depthwise, drop_path, dropout, gate, global_avg_pool,
    layer_norm, linear, max_pool, scale_and_shift,
};

/// Runs an operation between two norms, so that what it reads and the gradient that it gets have deferred steps.
fn between_norms(
    what: &str,
    operation: &dyn Fn(&Params, &Value, &Pass<'_>) -> Result<Value>,
    activation: Activation,
) {
    let network: Network<'_> = &|p, xs, pass| {
        let xs = p.norm("before", xs, activation, pass)?;
        let ys = operation(p, &xs, pass)?;
        p.norm("after", &ys, Activation::Silu, pass)
    };
    for c in [8, 5] {
        agrees(&format!("{what} of {c} channels"), network, &[2, 6, 5, c], &[Storage::F32]);
    }
    agrees(what, network, &[2, 6, 5, 8], &[Storage::F16]);
}

fn c_of(xs: &Value) -> usize {
    xs.dims()[xs.dims().len() - 1]
}

#[test]
fn products_agree_with_the_cpu() {
    let wide = |p: &Params, xs: &Value, pass: &Pass<'_>| {
        linear(xs, &p.weight("w", &[19, c_of(xs)], pass), Some(&p.bias("b", 19, pass)), None)
    };
    between_norms("linear with a bias", &wide, Activation::Relu6);
    let many = |p: &Params, xs: &Value, pass: &Pass<'_>| {
        let ys = linear(xs, &p.weight("w", &[136, c_of(xs)], pass), None, None)?;
        let ys = p.norm("between", &ys, Activation::None, pass)?;
        linear(&ys, &p.weight("v", &[8, 136], pass), None, None)
    };
    between_norms("linear with many columns", &many, Activation::Gelu);
}

#[test]
fn convolutions_agree_with_the_cpu() {
    for (kernel, stride, padding) in
        [(3, 1, Padding::Same), (3, 2, Padding::Symmetric), (2, 2, Padding::Valid)]
    {
        let window = Window::square(kernel, stride, padding);
        let dense = |p: &Params, xs: &Value, pass: &Pass<'_>| {
            conv2d(xs, &p.weight("w", &[6, kernel, kernel, c_of(xs)], pass), window, None)
        };
        between_norms(&format!("a dense {window:?}"), &dense, Activation::Silu);
        let single = |p: &Params, xs: &Value, pass: &Pass<'_>| {
            depthwise(xs, &p.taps("w", &[kernel, kernel, c_of(xs)], pass), window, None)
        };
        between_norms(&format!("a depthwise {window:?}"), &single, Activation::Silu);
    }
}

#[test]
fn pools_agree_with_the_cpu() {
    let window = Window::square(3, 2, Padding::Symmetric);
    let largest = |_: &Params, xs: &Value, _: &Pass<'_>| max_pool(xs, window);
    between_norms("max_pool", &largest, Activation::Silu);
    let mean = |_: &Params, xs: &Value, _: &Pass<'_>| avg_pool(xs, window);
    between_norms("avg_pool", &mean, Activation::Silu);
    let adaptive = |_: &Params, xs: &Value, _: &Pass<'_>| adaptive_avg_pool(xs, [4, 3]);
    between_norms("adaptive_avg_pool", &adaptive, Activation::Silu);
    let global = |_: &Params, xs: &Value, _: &Pass<'_>| {
        // Both readers of the value, in both orders.
        let spread = gate(xs, &global_avg_pool(xs)?)?;
        gate(&spread, &global_avg_pool(xs)?)
    };
    between_norms("global_avg_pool and gate", &global, Activation::Silu);
}

#[test]
fn sums_masks_and_shapes_agree_with_the_cpu() {
    let both = |_: &Params, xs: &Value, _: &Pass<'_>| {
        concat(&[&add(xs, &activate(xs, Activation::Sigmoid)?)?, xs])
    };
    between_norms("add, activate and concat", &both, Activation::Relu);
    let masked = |_: &Params, xs: &Value, pass: &Pass<'_>| {
        dropout(&drop_path(xs, 0.5, pass, "path")?, 0.3, pass, "numbers")
    };
    between_norms("dropout", &masked, Activation::Silu);
    let reshaped = |_: &Params, xs: &Value, _: &Pass<'_>| {
        let &[n, h, w, c] = xs.dims() else { unreachable!("a map") };
        xs.reshape(&[n, h * w, c])?.reshape(&[n * h, w, c])
    };
    between_norms("reshape", &reshaped, Activation::Silu);
}

#[test]
fn norms_agree_with_the_cpu() {
    let layer = |p: &Params, xs: &Value, pass: &Pass<'_>| {
        let c = c_of(xs);
        layer_norm(xs, &p.gamma("gamma", c, pass), &p.bias("beta", c, pass), 1e-6)
    };
    between_norms("layer_norm", &layer, Activation::Silu);
    let line = |p: &Params, xs: &Value, pass: &Pass<'_>| {
        let c = c_of(xs);
        let (scale, shift) = (p.gamma("gamma", c, pass), p.bias("beta", c, pass));
        scale_and_shift(xs, Some(&scale), Some(&shift), Activation::Gelu)
    };
    between_norms("scale_and_shift", &line, Activation::Silu);
    let fixed = |p: &Params, xs: &Value, pass: &Pass<'_>| {
        let c = c_of(xs);
        let mean = p.var("running.given", &[c], 0.1, 0.3);
        let variance = p.var("running.variance", &[c], 1.0, 0.5);
        let (gamma, beta) = (p.gamma("gamma", c, pass), p.bias("beta", c, pass));
        let given = (mean.as_tensor(), variance.as_tensor());
        batch_norm_fixed(xs, &gamma, &beta, given, 1e-3, Activation::Silu)
    };
    between_norms("batch_norm_fixed", &fixed, Activation::None);
}
