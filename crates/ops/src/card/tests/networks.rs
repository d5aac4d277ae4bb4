//! Small networks of all operations.

use candle::Result;
use gpu::Storage;

use super::harness::{Params, agrees, on_card_with, step};
use crate::{
    Activation, Padding, Pass, Value, Window, activate, add, avg_pool, concat, conv2d, depthwise,
    drop_path, dropout, gate, global_avg_pool, l2_normalise, layer_norm, linear, max_pool,
    scale_and_shift,
};

fn head(p: &Params, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
    let features = global_avg_pool(xs)?;
    let features = dropout(&features, 0.2, pass, "dropout")?;
    let c = features.dims()[1];
    linear(
        &features,
        &p.weight("head.weight", &[5, c], pass),
        Some(&p.bias("head.bias", 5, pass)),
        None,
    )
}

/// EfficientNet's block: expanding, depthwise, squeeze-excite, projecting, stochastic depth.
///
/// - `wide`, `squeezed`: channels.
pub(super) fn inverted_residual(
    p: &Params,
    xs: &Value,
    [wide, squeezed]: [usize; 2],
    pass: &Pass<'_>,
) -> Result<Value> {
    let c = xs.dims()[3];
    let silu = Activation::Silu;
    let ys = linear(xs, &p.weight("expand", &[wide, 1, 1, c], pass), None, None)?;
    let ys = p.norm("norm1", &ys, silu, pass)?;
    let window = Window::square(3, 1, Padding::Same);
    let ys = depthwise(&ys, &p.taps("depthwise", &[3, 3, wide], pass), window, None)?;
    let ys = p.norm("norm2", &ys, silu, pass)?;
    let gates = linear(
        &global_avg_pool(&ys)?,
        &p.weight("reduce", &[squeezed, 1, 1, wide], pass),
        Some(&p.bias("reduce.bias", squeezed, pass)),
        None,
    )?;
    let gates = linear(
        &activate(&gates, silu)?,
        &p.weight("excite", &[wide, 1, 1, squeezed], pass),
        Some(&p.bias("excite.bias", wide, pass)),
        None,
    )?;
    let ys = gate(&ys, &activate(&gates, Activation::Sigmoid)?)?;
    let ys = linear(&ys, &p.weight("project", &[c, 1, 1, wide], pass), None, None)?;
    let ys = p.norm("norm3", &ys, Activation::None, pass)?;
    add(&drop_path(&ys, 0.4, pass, "drop_path")?, xs)
}

fn efficientnet(p: &Params, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
    let window = Window::square(3, 2, Padding::Same);
    let ys = conv2d(xs, &p.weight("stem", &[8, 3, 3, 3], pass), window, None)?;
    let ys = p.norm("norm0", &ys, Activation::Silu, pass)?;
    let ys = inverted_residual(p, &ys, [24, 4], pass)?;
    let ys = linear(&ys, &p.weight("last", &[16, 1, 1, 8], pass), None, None)?;
    head(p, &p.norm("norm4", &ys, Activation::Silu, pass)?, pass)
}

/// ResNet: the stem with its max pooling, and a bottleneck of groups with a strided shortcut.
fn resnet(relu: Activation, p: &Params, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
    let square = |kernel, stride| Window::square(kernel, stride, Padding::Symmetric);
    let ys = conv2d(xs, &p.weight("stem", &[8, 3, 3, 3], pass), square(3, 1), None)?;
    let ys = max_pool(&p.norm("norm0", &ys, relu, pass)?, square(3, 2))?;
    let mut xs = ys;
    for block in ["a", "b"] {
        let name = |it: &str| format!("{block}.{it}");
        let (c, stride) = (xs.dims()[3], if block == "a" { 2 } else { 1 });
        let ys = linear(&xs, &p.weight(&name("1"), &[8, 1, 1, c], pass), None, None)?;
        let ys = p.norm(&name("norm1"), &ys, relu, pass)?;
        let ys = conv2d(&ys, &p.weight(&name("2"), &[8, 3, 3, 4], pass), square(3, stride), None)?;
        let ys = p.norm(&name("norm2"), &ys, relu, pass)?;
        let ys = linear(&ys, &p.weight(&name("3"), &[16, 1, 1, 8], pass), None, None)?;
        let ys = p.norm(&name("norm3"), &ys, Activation::None, pass)?;
        let skip = match block {
            "a" => {
                let weight = p.weight(&name("skip"), &[16, 1, 1, c], pass);
                let skip = conv2d(&xs, &weight, square(1, 2), None)?;
                p.norm(&name("norm4"), &skip, Activation::None, pass)?
            }
            _ => xs,
        };
        xs = activate(&add(&ys, &skip)?, relu)?;
    }
    head(p, &xs, pass)
}

/// ConvNeXt: patches with a bias, a block with layer norms and GELU; and a concatenation, as in DenseNet.
fn convnext(p: &Params, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
    let norm = |name: &str, xs: &Value| {
        let c = xs.dims()[xs.dims().len() - 1];
        let (gamma, beta) = (p.gamma(name, c, pass), p.bias(&format!("{name}.beta"), c, pass));
        layer_norm(xs, &gamma, &beta, 1e-6)
    };
    let patches = Window::square(2, 2, Padding::Valid);
    let ys = conv2d(xs, &p.weight("stem", &[8, 2, 2, 3], pass), patches, None)?;
    let ys = scale_and_shift(&ys, None, Some(&p.bias("stem.bias", 8, pass)), Activation::None)?;
    let xs = norm("norm0", &ys)?;
    let window = Window::square(7, 1, Padding::Symmetric);
    let ys = depthwise(&xs, &p.taps("depthwise", &[7, 7, 8], pass), window, None)?;
    let bias = p.bias("depthwise.bias", 8, pass);
    let ys = norm("norm1", &scale_and_shift(&ys, None, Some(&bias), Activation::None)?)?;
    let (widen, narrow) = (p.weight("widen", &[32, 8], pass), p.weight("narrow", &[8, 32], pass));
    let ys = linear(&ys, &widen, Some(&p.bias("widen.bias", 32, pass)), None)?;
    let ys = activate(&ys, Activation::Gelu)?;
    let ys = linear(&ys, &narrow, Some(&p.bias("narrow.bias", 8, pass)), None)?;
    let scale = p.gamma("scale", 8, pass);
    let ys = scale_and_shift(&ys, Some(&scale), None, Activation::None)?;
    let ys = add(&drop_path(&ys, 0.3, pass, "drop_path")?, &xs)?;
    let pooled = avg_pool(&ys, Window::square(3, 1, Padding::Same))?;
    let features = global_avg_pool(&concat(&[&ys, &pooled])?)?;
    let features = norm("norm2", &features)?;
    let ys = linear(&features, &p.weight("head", &[6, 16], pass), None, None)?;
    l2_normalise(&ys, 3.0)
}

#[test]
fn an_efficientnet_agrees_with_the_cpu() {
    agrees("EfficientNet", &efficientnet, &[3, 12, 10, 3], &Storage::ALL);
}

#[test]
fn a_resnet_agrees_with_the_cpu() {
    let of =
        |activation| move |p: &Params, xs: &Value, pass: &Pass<'_>| resnet(activation, p, xs, pass);
    agrees("ResNet", &of(Activation::Relu), &[3, 13, 12, 3], &[Storage::F32]);
    // Numbers of two bytes turn some ReLUs on or off, which moves gradients by more than rounding does.
    agrees("a smooth ResNet", &of(Activation::Silu), &[4, 17, 16, 3], &Storage::ALL);
}

#[test]
fn a_convnext_agrees_with_the_cpu() {
    agrees("ConvNeXt", &convnext, &[3, 12, 14, 3], &Storage::ALL);
}

#[test]
fn channels_that_are_no_multiple_of_eight_agree_too() {
    let block = |p: &Params, xs: &Value, pass: &Pass<'_>| {
        head(p, &inverted_residual(p, xs, [15, 3], pass)?, pass)
    };
    agrees("an inverted residual block", &block, &[2, 5, 7, 5], &Storage::ALL);
}

#[test]
fn a_step_after_the_second_allocates_nothing() -> Result<()> {
    on_card_with(Storage::Bf16, true, |card| {
        let params = Params::default();
        let dims = [2, 12, 10, 3];
        for _ in 0..2 {
            step(Some(card), &params, &efficientnet, &dims)?;
        }
        let meter = step(Some(card), &params, &efficientnet, &dims)?.meter;
        assert_eq!(meter.map(|it| it.allocations), Some(0));
        Ok(())
    })
}
