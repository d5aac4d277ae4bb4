use candle::{Device, Result, Tensor, Var};
use testkit::{check_close, numbers};

use super::{BatchNorm, expand_norm_depthwise, fused, is_worth};
use crate::{
    Activation, Padding, RunningStatistics, Tape, Value, Window, batch_norm, batch_norm_running,
    check::check, depthwise, isa::Isa, linear,
};

fn tensor(name: &str, dims: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(numbers(name, dims.iter().product()), dims, &Device::Cpu)
}

/// The fused operation, with a 1x1 kernel, γ, β and a depthwise kernel.
fn run(xs: &Value, it: &[Value], window: Window, activation: Activation) -> Result<Value> {
    let zeros = || Var::from_tensor(&it[1].tensor()?.zeros_like()?);
    let (mean, variance) = (&zeros()?, &zeros()?);
    let running = RunningStatistics { mean, variance, momentum: 0.1 };
    let norm = BatchNorm { gamma: &it[1], beta: &it[2], running, eps: 1e-3, activation };
    fused(xs, (&it[0], norm), &it[3], window)
}

#[test]
fn gradients_are_correct() {
    for padding in [Padding::Symmetric, Padding::Same, Padding::Valid] {
        for (kernel, stride, h, w) in
            [(3, 1, 4, 3), (3, 2, 5, 4), (3, 2, 4, 5), (5, 2, 6, 5), (1, 3, 5, 4)]
        {
            let window = Window::square(kernel, stride, padding);
            let shapes: [&[usize]; 5] =
                [&[2, h, w, 3], &[11, 1, 1, 3], &[11], &[11], &[kernel, kernel, 11]];
            check(&shapes, |it| run(&it[0], &it[1..], window, Activation::Silu));
        }
    }
}

#[test]
fn gradients_through_a_prologue_are_correct() {
    let window = Window::square(3, 1, Padding::Symmetric);
    let shapes: [&[usize]; 7] = [&[2, 4, 3, 3], &[3], &[3], &[7, 1, 1, 3], &[7], &[7], &[3, 3, 7]];
    check(&shapes, |it| {
        let xs = batch_norm(&it[0], &it[1], &it[2], 1e-3, Activation::None)?.0;
        run(&xs, &it[3..], window, Activation::Relu6)
    });
}

/// The result, the running statistics and all gradients of the three operations, fused or one by one.
fn results(
    vars: &[Var],
    f: impl Fn(&[Value], BatchNorm<'_>) -> Result<Value>,
) -> Result<Vec<Tensor>> {
    let tape = Tape::default();
    let it: Vec<Value> = vars.iter().map(|it| tape.leaf(it)).collect();
    let zeros = || Var::from_tensor(&vars[2].zeros_like()?);
    let (mean, variance) = (zeros()?, zeros()?);
    let running = RunningStatistics { mean: &mean, variance: &variance, momentum: 0.3 };
    let activation = Activation::Silu;
    let norm = BatchNorm { gamma: &it[2], beta: &it[3], running, eps: 1e-3, activation };
    let ys = tape.export(&f(&it, norm)?)?;
    let grads = tape.backward(&ys.sqr()?.mean_all()?)?;
    let grads = vars.iter().map(|it| Ok(grads.get(it).expect("a gradient").clone()));
    [ys.detach(), mean.as_detached_tensor(), variance.as_detached_tensor()]
        .into_iter()
        .map(Ok)
        .chain(grads)
        .collect()
}

fn one_by_one(it: &[Value], norm: BatchNorm<'_>, window: Window) -> Result<Value> {
    let BatchNorm { gamma, beta, running, eps, activation } = norm;
    let wide = linear(&it[0], &it[1], None, None)?;
    let wide = batch_norm_running(&wide, gamma, beta, running, eps, activation)?;
    depthwise(&wide, &it[4], window, None)
}

/// With this many channels on a map this wide, they are processed in groups.
#[test]
fn agrees_with_the_operations_one_by_one() -> Result<()> {
    for (c, window) in [
        (600, Window::square(5, 1, Padding::Same)),
        (600, Window::square(3, 2, Padding::Symmetric)),
        (20, Window::square(5, 2, Padding::Same)),
    ] {
        let [k, _] = window.kernel;
        let shapes: [&[usize]; 5] = [&[2, 12, 20, 5], &[c, 1, 1, 5], &[c], &[c], &[k, k, c]];
        let names = ["x", "expand", "gamma", "beta", "k"];
        let vars =
            names.iter().zip(shapes).map(|(name, dims)| Var::from_tensor(&tensor(name, dims)?));
        let vars = vars.collect::<Result<Vec<_>>>()?;
        let got = results(&vars, |it, norm| fused(&it[0], (&it[1], norm), &it[4], window))?;
        let want = results(&vars, |it, norm| one_by_one(it, norm, window))?;
        for (got, want) in got.iter().zip(&want) {
            check_close(got, &want.flatten_all()?.to_vec1::<f64>()?, 1e-9);
        }
    }
    Ok(())
}

/// Maps large enough to be fused on AVX-512, in `f32`.
#[test]
fn large_maps_are_fused_and_agree() -> Result<()> {
    let (c, window) = (64, Window::square(3, 2, Padding::Symmetric));
    let shapes: [&[usize]; 5] = [&[2, 64, 64, 4], &[c, 1, 1, 4], &[c], &[c], &[3, 3, c]];
    assert_eq!(is_worth(shapes[0], shapes[1]), Isa::chosen() == Isa::Avx512);
    assert!(!is_worth(&[9, 64, 63, 4], shapes[1]));
    let names = ["x", "expand", "gamma", "beta", "k"];
    let var = |(name, dims): (&&str, &[usize])| {
        Var::from_tensor(&tensor(name, dims)?.to_dtype(candle::DType::F32)?)
    };
    let vars = names.iter().zip(shapes).map(var).collect::<Result<Vec<_>>>()?;
    let want = results(&vars, |it, norm| one_by_one(it, norm, window))?;
    let largest = |it: &Tensor| it.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>();
    // On every instruction set, and where it is chosen.
    for got in [
        results(&vars, |it, norm| fused(&it[0], (&it[1], norm), &it[4], window))?,
        results(&vars, |it, norm| expand_norm_depthwise(&it[0], (&it[1], norm), &it[4], window))?,
    ] {
        for (idx, (got, want)) in got.iter().zip(&want).enumerate() {
            let (apart, all) = (largest(&(got - want)?)?, largest(want)?);
            assert!(apart <= 2e-5 * all, "{idx}: {apart} of {all}");
        }
    }
    Ok(())
}
