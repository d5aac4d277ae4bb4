use candle::{Device, Result, Tensor, Var};
use testkit::{check_close, numbers};

use super::Epilogue;
use crate::{
    Activation, Padding, Tape, Value, Window, activate, add, batch_norm_fixed, conv2d, depthwise,
    expand_depthwise, global_avg_pool, linear,
};

fn tensor(name: &str, dims: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(numbers(name, dims.iter().product()), dims, &Device::Cpu)
}

fn value(name: &str, dims: &[usize]) -> Result<Value> {
    Ok(Value::constant(tensor(name, dims)?))
}

/// The statistics and factors of a norm over `c` channels.
fn norm(c: usize) -> Result<[Tensor; 4]> {
    let variance = (tensor("variance", &[c])? + 1.5)?;
    Ok([tensor("gamma", &[c])?, tensor("beta", &[c])?, tensor("mean", &[c])?, variance])
}

fn norm_epilogue(c: usize, activation: Activation) -> Result<Epilogue> {
    let [gamma, beta, mean, variance] = norm(c)?;
    let (gamma, beta) = (Value::constant(gamma), Value::constant(beta));
    Epilogue::norm(&gamma, &beta, (&mean, &variance), 1e-3, activation)
}

/// The same operations, unfused.
fn by_steps(xs: &Value, plus: Option<&Value>, activation: Activation) -> Result<Value> {
    let [gamma, beta, mean, variance] = norm(xs.dims()[xs.dims().len() - 1])?;
    let (gamma, beta) = (Value::constant(gamma), Value::constant(beta));
    let given = (&mean, &variance);
    let ys = batch_norm_fixed(xs, &gamma, &beta, given, 1e-3, Activation::None)?;
    let ys = plus.map_or(Ok(ys.clone()), |it| add(&ys, it))?;
    activate(&ys, activation)
}

#[track_caller]
fn check_same(got: &Value, want: &Value) -> Result<()> {
    check_close(&got.tensor()?, &want.tensor()?.flatten_all()?.to_vec1::<f64>()?, 1e-12);
    Ok(())
}

#[test]
fn agrees_with_the_unfused_norm_sum_and_activation() -> Result<()> {
    let (xs, window) = (value("x", &[2, 5, 6, 7])?, Window::square(3, 2, Padding::Same));
    let (dense, single, bias) =
        (value("dense", &[19, 3, 3, 7])?, value("w", &[19, 7])?, value("b", &[19])?);
    let (small, large) = (value("small", &[2, 3, 3, 19])?, value("large", &[2, 5, 6, 19])?);
    for it in [Activation::None, Activation::Relu, Activation::Relu6, Activation::Silu] {
        let then = norm_epilogue(19, it)?.plus(&small);
        let ys = conv2d(&xs, &dense, window, None)?;
        let got = conv2d(&xs, &dense, window, Some(&then))?;
        check_same(&got, &by_steps(&ys, Some(&small), it)?)?;

        let then = norm_epilogue(19, it)?.plus(&large);
        let ys = linear(&xs, &single, Some(&bias), None)?;
        let got = linear(&xs, &single, Some(&bias), Some(&then))?;
        check_same(&got, &by_steps(&ys, Some(&large), it)?)?;

        let alone = value("alone", &[3, 3, 7])?;
        let got = depthwise(&xs, &alone, window, Some(&norm_epilogue(7, it)?))?;
        let want = by_steps(&depthwise(&xs, &alone, window, None)?, None, it)?;
        check_same(&got, &want)?;
        check_same(&global_avg_pool(&got)?, &global_avg_pool(&want)?)?;
    }
    Ok(())
}

/// A panel of this many rows is read piece by piece, and only the last one ends with the epilogue.
#[test]
fn a_deep_convolution_has_its_epilogue_once() -> Result<()> {
    let (xs, window) = (value("x", &[1, 4, 6, 256])?, Window::square(3, 2, Padding::Same));
    let (dense, small) = (value("dense", &[19, 3, 3, 256])?, value("small", &[1, 2, 3, 19])?);
    let then = norm_epilogue(19, Activation::Silu)?.plus(&small);
    let ys = conv2d(&xs, &dense, window, None)?;
    let got = conv2d(&xs, &dense, window, Some(&then))?;
    check_same(&got, &by_steps(&ys, Some(&small), Activation::Silu)?)
}

/// With this many channels on a map this wide, they are processed in groups.
#[test]
fn expand_depthwise_agrees_with_the_unfused_convolutions() -> Result<()> {
    for (c, activation) in [(600, Activation::Silu), (20, Activation::Relu6)] {
        for window in [Window::square(5, 1, Padding::Same), Window::square(3, 2, Padding::Same)] {
            let xs = value("x", &[2, 12, 20, 5])?;
            let (expand, single) = (value("expand", &[c, 1, 1, 5])?, norm_epilogue(c, activation)?);
            let [k, _] = window.kernel;
            let weight = value("k", &[k, k, c])?;
            let stored = linear(&xs, &expand, None, Some(&single))?;
            let want = depthwise(&stored, &weight, window, Some(&single))?;
            let got = expand_depthwise(&xs, (&expand, &single), &weight, window, &single)?;
            check_same(&got, &want)?;
            check_same(&global_avg_pool(&got)?, &global_avg_pool(&want)?)?;
        }
    }
    Ok(())
}

#[test]
fn an_epilogue_with_a_required_gradient_is_an_error() -> Result<()> {
    let (tape, xs) = (Tape::default(), value("x", &[2, 7])?);
    let weight = tape.leaf(&Var::from_tensor(&tensor("w", &[3, 7])?)?);
    let then = norm_epilogue(3, Activation::Relu)?;
    let err = linear(&xs, &weight, None, Some(&then)).err().unwrap().to_string();
    assert!(err.contains("no gradient"), "{err}");
    let err = linear(&xs, &value("w", &[4, 7])?, None, Some(&then)).err().unwrap().to_string();
    assert!(err.contains("3 channels"), "{err}");
    Ok(())
}
