use candle::{DType, Device, Result, Tensor, Var};
use testkit::{check_close, check_close_slices, numbers};

use super::Side;
use crate::{Padding, Tape, Value, Window, check::check, conv2d};

/// Maps whose results, and whose gradient of the weight, are computed with tiles of these sides, in blocks of
/// some rows and with tiles that are cut off.
const SHAPES: [(Padding, [usize; 2], [Side; 2]); 4] = [
    (Padding::Symmetric, [9, 8], [Side::Two, Side::Two]),
    (Padding::Valid, [13, 16], [Side::Two, Side::Two]),
    (Padding::Symmetric, [19, 15], [Side::Four, Side::Two]),
    (Padding::Valid, [41, 21], [Side::Four, Side::Four]),
];

fn window(padding: Padding) -> Window {
    Window::square(3, 1, padding)
}

fn tensor(name: &str, dims: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(numbers(name, dims.iter().product()), dims, &Device::Cpu)
}

fn list(of: &Tensor) -> Result<Vec<f64>> {
    of.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}

#[test]
fn results_agree_with_the_definition() -> Result<()> {
    // 17 to 18 channels.
    let (n_in, n_out) = (17, 18);
    for (padding, [h, w], sides) in SHAPES {
        let grid = window(padding).on(2, [h, w])?;
        assert_eq!(Side::of_results(&grid, n_in, n_out), Some(sides[0]), "{h}x{w}");
        let (xs, k) = (tensor("x", &[2, h, w, n_in])?, tensor("k", &[n_out, 3, 3, n_in])?);
        let (xs_of, k_of) = (list(&xs)?, list(&k)?);
        let mut want: Vec<f64> = Vec::new();
        for at in 0..grid.n_out() * n_out {
            let (at, o) = (at / n_out, at % n_out);
            let (n, y, x) = (at / grid.out[1] / grid.out[0], at / grid.out[1], at % grid.out[1]);
            let mut sum = 0.0;
            for tap in 0..9 {
                let row = grid.source(0, y % grid.out[0], tap / 3);
                let Some((row, col)) = row.zip(grid.source(1, x, tap % 3)) else { continue };
                for c in 0..n_in {
                    sum += xs_of[((n * h + row) * w + col) * n_in + c]
                        * k_of[(o * 9 + tap) * n_in + c];
                }
            }
            want.push(sum);
        }
        let ys = conv2d(&Value::constant(xs), &Value::constant(k), window(padding), None)?;
        check_close(&ys.tensor()?, &want, 1e-10);
    }
    Ok(())
}

/// The gradients of Σ r·y with respect to inputs and weight.
fn gradients(xs: &Tensor, k: &Tensor, r: &Tensor, window: Window) -> Result<[Tensor; 2]> {
    let vars = [Var::from_tensor(xs)?, Var::from_tensor(k)?];
    let tape = Tape::default();
    let ys = tape.export(&conv2d(&tape.leaf(&vars[0]), &tape.leaf(&vars[1]), window, None)?)?;
    let grads = tape.backward(&(ys * r)?.sum_all()?)?;
    Ok(vars.map(|it| grads.get(&it).expect("a gradient").clone()))
}

#[test]
fn gradients_are_those_of_the_results() -> Result<()> {
    // A convolution is linear in its inputs, and in its weight: Σ dx·x' = Σ r·y(x', k) for every x'.
    let (n_in, n_out) = (9, 10);
    for (padding, [h, w], sides) in SHAPES {
        let grid = window(padding).on(3, [h, w])?;
        assert_eq!(Side::of_weight(&grid, n_in, n_out), Some(sides[1]), "{h}x{w}");
        let [x_dims, k_dims] = [[3, h, w, n_in], [n_out, 3, 3, n_in]];
        let (xs, k) = (tensor("x", &x_dims)?, tensor("k", &k_dims)?);
        let r = tensor("r", &[3, grid.out[0], grid.out[1], n_out])?;
        let [dx, dk] = gradients(&xs, &k, &r, window(padding))?;
        for name in ["first", "second", "third"] {
            let (other_xs, other_k) = (tensor(name, &x_dims)?, tensor(name, &k_dims)?);
            let total = |a: &Tensor, b: &Tensor| (a * b)?.sum_all()?.to_scalar::<f64>();
            let of = |xs: &Tensor, k: &Tensor| {
                let [xs, k] = [xs, k].map(|it| Value::constant(it.clone()));
                total(&conv2d(&xs, &k, window(padding), None)?.tensor()?, &r)
            };
            let got = [total(&dx, &other_xs)?, total(&dk, &other_k)?];
            check_close_slices(&got, &[of(&other_xs, &k)?, of(&xs, &other_k)?], 1e-10);
        }
    }
    Ok(())
}

#[test]
fn gradients_are_correct() {
    check(&[&[2, 9, 8, 8], &[9, 3, 3, 8]], |it| {
        conv2d(&it[0], &it[1], window(Padding::Symmetric), None)
    });
}

/// The largest errors of results, input gradients and weight gradients in `f32`, relative to the largest of
/// each: of the direct product, and of tiles.
fn errors(size: usize, c: usize) -> Result<[[f64; 3]; 2]> {
    let single = |it: Tensor| it.to_dtype(DType::F32);
    let xs = single(tensor("x", &[2, size, size, c])?.relu()?)?;
    let (k, r) = (single(tensor("k", &[c, 3, 3, c])?)?, single(tensor("r", &[2, size, size, c])?)?);
    let double = |it: &Tensor| it.to_dtype(DType::F64);
    let run = |xs: &Tensor, k: &Tensor, r: &Tensor, kernel: usize| -> Result<[Vec<f64>; 3]> {
        let window = Window::square(kernel, 1, Padding::Symmetric);
        let ys = conv2d(&Value::constant(xs.clone()), &Value::constant(k.clone()), window, None)?;
        let [dx, dk] = gradients(xs, k, r, window)?;
        let margin = (kernel - 3) / 2;
        let dk = dk.narrow(1, margin, 3)?.narrow(2, margin, 3)?;
        Ok([list(&ys.tensor()?)?, list(&dx)?, list(&dk)?])
    };
    let want = run(&double(&xs)?, &double(&k)?, &double(&r)?, 3)?;
    // Zeros around the kernel: there are tiles for 3x3 only.
    let wide = k.pad_with_zeros(1, 1, 1)?.pad_with_zeros(2, 1, 1)?;
    let errors = |got: [Vec<f64>; 3]| {
        std::array::from_fn(|idx| {
            let (got, want) = (&got[idx], &want[idx]);
            let largest = want.iter().fold(0.0, |most: f64, it| most.max(it.abs()));
            let error = |(a, b): (&f64, &f64)| (a - b).abs() / largest;
            got.iter().zip(want).map(error).fold(0.0, f64::max)
        })
    };
    Ok([errors(run(&xs, &wide, &r, 5)?), errors(run(&xs, &k, &r, 3)?)])
}

#[test]
fn the_error_in_f32_is_a_few_times_that_of_the_direct_product() -> Result<()> {
    for (size, c) in [(14, 32), (14, 128), (28, 16), (28, 64), (28, 128)] {
        let [direct, tiled] = errors(size, c)?;
        for (direct, tiled) in direct.into_iter().zip(tiled) {
            assert!(tiled < 5e-6 && tiled < 5.0 * direct, "{size}, {c}: {tiled}, direct {direct}");
        }
    }
    Ok(())
}
