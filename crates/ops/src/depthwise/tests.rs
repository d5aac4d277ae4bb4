use std::ops::Range;

use candle::{Device, Result, Tensor, Var};
use testkit::{check_close, numbers};

use super::{depthwise, groups};
use crate::{Activation, Padding, Tape, Value, Window, batch_norm, check::check};

#[test]
fn convolves_each_channel_alone() -> Result<()> {
    // A 1x3 kernel [1, 2, 3] on the row 1 2 3, and a tenth of it on the row 10 20 30.
    let xs = Tensor::new(&[1f64, 10.0, 2.0, 20.0, 3.0, 30.0], &Device::Cpu)?;
    let w = Tensor::new(&[1f64, 0.1, 2.0, 0.2, 3.0, 0.3], &Device::Cpu)?;
    let window = Window { kernel: [1, 3], stride: 1, padding: Padding::Symmetric };
    let (xs, w) = (xs.reshape((1, 1, 3, 2))?, w.reshape((1, 3, 2))?);
    let ys = depthwise(&Value::constant(xs), &Value::constant(w), window, None)?;
    check_close(&ys.tensor()?, &[8.0, 8.0, 14.0, 14.0, 8.0, 8.0], 1e-12);
    Ok(())
}

#[test]
fn gradients_are_correct() {
    for padding in [Padding::Symmetric, Padding::Same] {
        for (kernel, stride, h, w) in
            [(3, 1, 4, 3), (3, 2, 5, 4), (3, 2, 4, 5), (5, 2, 6, 3), (2, 1, 3, 3)]
        {
            let window = Window::square(kernel, stride, padding);
            check(&[&[2, h, w, 11], &[kernel, kernel, 11]], |it| {
                depthwise(&it[0], &it[1], window, None)
            });
        }
    }
}

/// Kernels and strides whose windows have inputs in common, on maps with seven or more results in a row.
const WIDE: [(usize, usize, usize); 6] =
    [(3, 1, 7), (3, 2, 16), (5, 1, 9), (5, 2, 15), (7, 1, 8), (4, 1, 10)];

#[test]
fn wide_maps_agree_with_the_definition() -> Result<()> {
    let (h, c) = (5, 3);
    for (kernel, stride, w) in WIDE {
        let (xs, k) = (numbers("x", h * w * c), numbers("k", kernel * kernel * c));
        let window = Window::square(kernel, stride, Padding::Symmetric);
        let grid = window.on(1, [h, w])?;
        let x = |row: Option<usize>, col: Option<usize>, channel: usize| match (row, col) {
            (Some(row), Some(col)) if row < h && col < w => xs[(row * w + col) * c + channel],
            _ => 0.0,
        };
        let mut want = Vec::new();
        for at in 0..grid.n_out() * c {
            let (row, col, channel) = (at / c / grid.out[1], at / c % grid.out[1], at % c);
            let position = |out: usize, tap: usize, axis: usize| {
                (out * stride + tap).checked_sub(grid.before[axis])
            };
            let of_tap = |tap: usize| {
                let (ky, kx) = (tap / kernel, tap % kernel);
                x(position(row, ky, 0), position(col, kx, 1), channel) * k[tap * c + channel]
            };
            want.push((0..kernel * kernel).map(of_tap).sum::<f64>());
        }
        let x = Value::constant(Tensor::from_slice(&xs, &[1, h, w, c], &Device::Cpu)?);
        let k = Value::constant(Tensor::from_slice(&k, &[kernel, kernel, c], &Device::Cpu)?);
        check_close(&depthwise(&x, &k, window, None)?.tensor()?, &want, 1e-12);
    }
    Ok(())
}

#[test]
fn gradients_of_wide_maps_are_correct() {
    for (kernel, stride, w) in WIDE {
        let window = Window::square(kernel, stride, Padding::Same);
        check(&[&[1, 3, w, 2], &[kernel, kernel, 2]], |it| depthwise(&it[0], &it[1], window, None));
    }
}

/// With this many channels on a map this wide they are processed in groups; half of them are not.
#[test]
fn groups_of_channels_agree_with_each_half_alone() -> Result<()> {
    let (c, half, window) = (600, 300, Window::square(5, 1, Padding::Same));
    let grid = window.on(1, [12, 20])?;
    assert_eq!((groups(&grid, 0..c).len(), groups(&grid, 0..half).len()), (2, 1));
    let tensor = |name: &str, dims: &[usize]| {
        Tensor::from_vec(numbers(name, dims.iter().product()), dims, &Device::Cpu)
    };
    let (x, k) = (tensor("x", &[1, 12, 20, c])?, tensor("k", &[5, 5, c])?);
    let (gamma, beta) = (tensor("gamma", &[c])?, tensor("beta", &[c])?);
    let run = |channels: Range<usize>| -> Result<Vec<Tensor>> {
        let (first, n) = (channels.start, channels.len());
        let part =
            |it: &Tensor| Var::from_tensor(&it.narrow(it.rank() - 1, first, n)?.contiguous()?);
        let vars = [part(&x)?, part(&k)?, part(&gamma)?, part(&beta)?];
        let tape = Tape::default();
        let [x, k, gamma, beta] = vars.each_ref().map(|it| tape.leaf(it));
        let (xs, _) = batch_norm(&x, &gamma, &beta, 1e-3, Activation::Silu)?;
        let ys = tape.export(&depthwise(&xs, &k, window, None)?)?;
        let grads = tape.backward(&ys.sqr()?.sum_all()?)?;
        let grads = vars
            .iter()
            .map(|it| Ok(grads.get(it).expect("every parameter has a gradient").clone()));
        [Ok(ys.detach())].into_iter().chain(grads).collect()
    };
    for ((all, low), high) in run(0..c)?.iter().zip(run(0..half)?).zip(run(half..c)?) {
        let halves = Tensor::cat(&[low, high], all.rank() - 1)?;
        check_close(all, &halves.flatten_all()?.to_vec1::<f64>()?, 1e-9);
    }
    Ok(())
}

#[test]
fn many_channels_take_the_wide_path() {
    let window = Window::square(3, 1, Padding::Same);
    check(&[&[1, 2, 2, 75], &[3, 3, 75]], |it| depthwise(&it[0], &it[1], window, None));
}

/// Results and the gradients of inputs this large are streamed; those of one image are not.
#[test]
fn a_large_batch_agrees_with_each_of_its_images() -> Result<()> {
    let (dims, window) = ([2, 128, 256, 64], Window::square(3, 1, Padding::Same));
    let tensor = |name: &str, dims: &[usize]| {
        let of = |it: f64| it as f32;
        let xs = numbers(name, dims.iter().product()).into_iter().map(of).collect::<Vec<_>>();
        Tensor::from_vec(xs, dims, &Device::Cpu)
    };
    let k = Value::constant(tensor("k", &[3, 3, 64])?);
    let run = |xs: &Tensor| -> Result<[Tensor; 2]> {
        let (x, tape) = (Var::from_tensor(xs)?, Tape::default());
        let ys = tape.export(&depthwise(&tape.leaf(&x), &k, window, None)?)?;
        let grads = tape.backward(&ys.sqr()?.sum_all()?)?;
        Ok([ys.detach(), grads.get(&x).expect("a gradient").clone()])
    };
    let xs = tensor("x", &dims)?;
    let all = run(&xs)?;
    for image in 0..dims[0] {
        for (one, all) in run(&xs.narrow(0, image, 1)?.contiguous()?)?.iter().zip(&all) {
            let (one, all) = (one.flatten_all()?, all.narrow(0, image, 1)?.flatten_all()?);
            assert!(one.to_vec1::<f32>()? == all.to_vec1::<f32>()?, "image {image}");
        }
    }
    Ok(())
}
