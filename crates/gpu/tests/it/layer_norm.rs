//! Layer norm and L2 normalisation against plain loops in f64.
//!
//! Bounds: results are rounded once to their storage. Sums of c numbers in f32 in a tree, differences from the mean
//! and the root err by about 10⁻⁶ relative to the row's numbers, which here are of the size of 1. Sums over rows err by
//! the number of rows times 2⁻²⁴ of their absolute sum.

use gpu::{
    Shape, Storage,
    l2_normalise::{l2_normalise, l2_normalise_backward},
    layer_norm::{layer_norm, layer_norm_backward},
};

use crate::harness::{Bound, Test};

const EPS: f64 = 1e-3;

fn bound(storage: Storage) -> Bound {
    Bound { relative: storage.unit() + 1e-5, absolute: 2e-5 }
}

/// What the formulas give.
struct Want {
    y: Vec<f64>,
    stats: Vec<f64>,
    dx: Vec<f64>,
    d_gamma_beta: Vec<f64>,
    /// The absolute sums of the terms of the line above.
    absolute: Vec<f64>,
}

fn want(c: usize, xs: &[f64], gs: &[f64], gamma: &[f64], beta: &[f64]) -> Want {
    let mut all = Want {
        y: vec![],
        stats: vec![],
        dx: vec![],
        d_gamma_beta: vec![0.0; 2 * c],
        absolute: vec![0.0; 2 * c],
    };
    let share = 1.0 / c as f64;
    for (xs, gs) in xs.chunks(c).zip(gs.chunks(c)) {
        let mean = xs.iter().sum::<f64>() * share;
        let variance = xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() * share;
        let inverse = 1.0 / (variance + EPS).sqrt();
        let hats: Vec<f64> = xs.iter().map(|x| (x - mean) * inverse).collect();
        let hs: Vec<f64> = gs.iter().zip(gamma).map(|(g, gamma)| g * gamma).collect();
        let plain = hs.iter().sum::<f64>() * share;
        let hat = hs.iter().zip(&hats).map(|(h, hat)| h * hat).sum::<f64>() * share;
        all.stats.extend([mean, inverse]);
        for i in 0..c {
            all.y.push(hats[i] * gamma[i] + beta[i]);
            all.dx.push((hs[i] - plain - hats[i] * hat) * inverse);
            all.d_gamma_beta[i] += gs[i] * hats[i];
            all.d_gamma_beta[c + i] += gs[i];
            all.absolute[i] += (gs[i] * hats[i]).abs();
            all.absolute[c + i] += gs[i].abs();
        }
    }
    all
}

fn check(of: Shape) {
    let mut test = Test::new();
    let Shape { storage, c, .. } = of;
    let (x, xs) = test.random(storage, of.len());
    let (g, gs) = test.random(storage, of.len());
    let [gamma, beta] = [0.5, -1.0].map(|low| {
        let numbers = test.numbers(c, low, low + 1.0);
        test.put(Storage::F32, &numbers)
    });
    let want = want(c, &xs, &gs, &gamma.1, &beta.1);

    let (mut y, mut stats) =
        (test.alloc(storage, of.len()), test.alloc(Storage::F32, 2 * of.n_rows()));
    layer_norm(test.device(), of, &x, (&gamma.0, &beta.0), EPS as f32, &mut y, &mut stats)
        .expect("it fits");
    test.close(&format!("layer_norm {of:?}"), &y, storage, &want.y, bound(storage));
    test.close(&format!("stats {of:?}"), &stats, Storage::F32, &want.stats, bound(Storage::F32));

    // Where the row is nearly constant, r is large.
    let most = want.stats.chunks(2).map(|it| it[1]).fold(1.0, f64::max);
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (mut dx, mut sums) = (test.alloc(storage, of.len()), test.alloc(Storage::F32, 2 * c));
        let saved = (&gamma.0, &stats);
        layer_norm_backward(test.device(), of, (&x, &g), saved, &mut dx, &mut sums)
            .expect("it fits");
        let Bound { relative, absolute } = bound(storage);
        let bound = Bound { relative, absolute: absolute * most * most };
        test.close(&format!("dx {of:?}"), &dx, storage, &want.dx, bound);
        let got = test.get(&sums, Storage::F32);
        for (idx, (got, want_one)) in got.iter().zip(&want.d_gamma_beta).enumerate() {
            let most_apart = 2e-6 * most * (1.0 + want.absolute[idx]);
            assert!(
                (got - want_one).abs() <= most_apart,
                "sum {idx} of {of:?}: {got}, not {want_one}"
            );
        }
        runs.push((test.bytes(&dx), test.bytes(&sums)));
    }
    assert!(runs[0] == runs[1], "{of:?}: two runs differ");
}

#[test]
fn rows_of_any_width_are_normalised() {
    // Widths of each of the kernels with registers, and of the one without; rows of 8, 16 and 32 threads.
    for (idx, c) in [1, 5, 8, 72, 96, 130, 250, 264, 520, 776, 1024, 1032].into_iter().enumerate() {
        for storage in [Storage::ALL[idx % 3], Storage::ALL[(idx + 1) % 3]] {
            check(Shape { storage, images: 1, area: if c < 100 { 37 } else { 11 }, c });
        }
    }
    // More blocks than one in both stages.
    for (storage, c) in [(Storage::Bf16, 24), (Storage::F16, 9), (Storage::F32, 136)] {
        check(Shape { storage, images: 3, area: 55, c });
    }
}

#[test]
fn a_large_mean_does_not_cancel_the_variance() {
    let test = Test::new();
    for c in [2, 30, 776] {
        let xs: Vec<f32> = (0..5 * c).map(|idx| 1e4 + (idx % 2) as f32).collect();
        let (x, stored) = test.put(Storage::F32, &xs);
        let (gamma, ones) = test.put(Storage::F32, &vec![1.0; c]);
        let (beta, zeros) = test.put(Storage::F32, &vec![0.0; c]);
        let (mut y, mut stats) = (test.alloc(Storage::F32, 5 * c), test.alloc(Storage::F32, 10));
        let shape = Shape { storage: Storage::F32, images: 5, area: 1, c };
        layer_norm(test.device(), shape, &x, (&gamma, &beta), EPS as f32, &mut y, &mut stats)
            .unwrap();
        let want = want(c, &stored, &stored, &ones, &zeros);
        // The mean of numbers near 10⁴ errs by about 10⁻³.
        test.close("y", &y, Storage::F32, &want.y, Bound { relative: 0.0, absolute: 4e-3 });
    }
}

#[test]
fn rows_get_the_given_length() {
    let mut test = Test::new();
    for (idx, (n, c)) in [(3, 7), (9, 40), (1, 300), (5, 1)].into_iter().enumerate() {
        let storage = Storage::ALL[idx % 3];
        let shape = Shape { storage, images: n, area: 1, c };
        let (x, xs) = test.random(storage, n * c);
        let (g, gs) = test.random(storage, n * c);
        let (mut y, mut dx) = (test.alloc(storage, n * c), test.alloc(storage, n * c));
        l2_normalise(test.device(), shape, &x, 30.0, &mut y).unwrap();
        l2_normalise_backward(test.device(), shape, &x, &g, 30.0, &mut dx).unwrap();
        let (mut want, mut want_dx) = (vec![], vec![]);
        let mut most: f64 = 1.0;
        for (xs, gs) in xs.chunks(c).zip(gs.chunks(c)) {
            let squares: f64 = xs.iter().map(|x| x * x).sum();
            let dot: f64 = xs.iter().zip(gs).map(|(x, g)| x * g).sum();
            let scale = 30.0 / squares.sqrt();
            most = most.max(scale);
            want.extend(xs.iter().map(|x| scale * x));
            want_dx.extend(xs.iter().zip(gs).map(|(x, g)| scale * (g - x * dot / squares)));
        }
        test.close(
            "l2_normalise",
            &y,
            storage,
            &want,
            Bound { relative: storage.unit() + 1e-6, absolute: 1e-6 },
        );
        let bound = Bound { relative: storage.unit() + 1e-6, absolute: 1e-6 * most };
        test.close("l2_normalise_backward", &dx, storage, &want_dx, bound);
    }
}

#[test]
fn tiny_rows_keep_their_direction_and_zero_rows_have_no_gradient() {
    let test = Test::new();
    let shape = Shape { storage: Storage::F32, images: 2, area: 1, c: 2 };
    let (x, _) = test.put(Storage::F32, &[3e-10, 4e-10, 0.0, 0.0]);
    let (g, _) = test.put(Storage::F32, &[1.0, 0.0, 1.0, 1.0]);
    let (mut y, mut dx) = (test.alloc(Storage::F32, 4), test.alloc(Storage::F32, 4));
    l2_normalise(test.device(), shape, &x, 1.0, &mut y).unwrap();
    l2_normalise_backward(test.device(), shape, &x, &g, 1.0, &mut dx).unwrap();
    let bound = Bound { relative: 1e-6, absolute: 1e-7 };
    test.close("y", &y, Storage::F32, &[0.6, 0.8, 0.0, 0.0], bound);
    assert_eq!(test.get(&dx, Storage::F32)[2..], [0.0, 0.0]);
}
