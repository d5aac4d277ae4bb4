//! Batch norm against f64: moments, the affine function, the running statistics, and both backward passes.
//!
//! Moments and sums are in f32, of numbers as they are stored: means are off by at most 1e-6 of the largest number,
//! sums by 5e-6 of their absolute sum (the fast exponential's error is 2⁻²¹ of each term).

use gpu::{
    Buffer, Storage,
    norm::{self, Backward, Running},
    parts::{Parts, PartsKind},
    prologue::{Activation, GradPrologue, Prologue},
};

use crate::{
    bounds::{check_moments, within},
    harness::{Bound, Test, close},
    prologue::{Of, PlainPrologue},
};

const EPS: f32 = 1e-3;

fn shapes(storage: Storage) -> [Of; 5] {
    let of = |images, area, c| Of { storage, images, area, c };
    // A whole block of channels and more in several parts, odd channels, one channel, one position, more rows than
    // threads.
    [of(2, 41, 264), of(3, 47, 20), of(2, 300, 1), of(5, 1, 8), of(1, 1000, 3)]
}

/// The mean and the squares about it of each channel.
fn exact(stored: &[f64], c: usize) -> Vec<(f64, f64)> {
    let of = |channel: usize| {
        let column: Vec<f64> = stored.iter().skip(channel).step_by(c).copied().collect();
        let mean = column.iter().sum::<f64>() / column.len() as f64;
        (mean, column.iter().map(|it| (it - mean).powi(2)).sum())
    };
    (0..c).map(of).collect()
}

fn list(test: &Test, buffer: &Buffer) -> Vec<f64> {
    test.get(buffer, Storage::F32)
}

#[test]
fn a_batch_is_normed_by_its_moments() {
    let mut test = Test::new();
    for storage in Storage::ALL {
        for of in shapes(storage) {
            let (c, rows) = (of.c, of.images * of.area);
            let (z, stored) = test.random(storage, of.n());
            let parts = norm::moments(test.device(), of.shape(), &z).unwrap();
            check_moments(&format!("{of:?}"), &list(&test, &parts.buffer), &parts, &stored, false);
            let second = norm::moments(test.device(), of.shape(), &z).unwrap();
            assert!(
                test.bytes(&parts.buffer) == test.bytes(&second.buffer),
                "other moments: {of:?}"
            );

            let mut random = |low, high| {
                let numbers = test.numbers(c, low, high);
                test.put(Storage::F32, &numbers)
            };
            let (gamma, beta) = (random(0.5, 1.5), random(-1.0, 1.0));
            let (mut mean, mut variance) = (random(-1.0, 1.0), random(0.5, 1.5));
            let running = Running { mean: &mut mean.0, variance: &mut variance.0, momentum: 0.1 };
            let (g, b) = (Some(&gamma.0), Some(&beta.0));
            let normed = norm::batch(test.device(), &parts, g, b, EPS, Some(running)).unwrap();
            let again = norm::batch(test.device(), &parts, g, b, EPS, None).unwrap();
            assert!(test.bytes(&normed.shift) == test.bytes(&again.shift), "other bits: {of:?}");
            let plain = norm::batch(test.device(), &parts, None, None, EPS, None).unwrap();

            let exact = exact(&stored, c);
            let inverses: Vec<f64> =
                exact.iter().map(|it| 1.0 / (it.1 / rows as f64 + f64::from(EPS)).sqrt()).collect();
            let scales: Vec<f64> = inverses.iter().zip(&gamma.1).map(|(i, g)| i * g).collect();
            let means: Vec<f64> = exact.iter().map(|it| it.0).collect();
            let bound = Bound { relative: 2e-5, absolute: 1e-5 };
            let check = |what: &str, buffer: &Buffer, want: &[f64]| {
                close(&format!("{what} of {of:?}"), &list(&test, buffer), want, bound);
            };
            let of_channels = |f: &dyn Fn(usize) -> f64| (0..c).map(f).collect::<Vec<_>>();
            check("center", &normed.center, &means);
            check("inverse", &normed.inverse, &inverses);
            check("scale", &normed.scale, &scales);
            check("shift", &normed.shift, &of_channels(&|it| beta.1[it] - scales[it] * means[it]));
            check("scale without gamma", &plain.scale, &inverses);
            check(
                "shift without beta",
                &plain.shift,
                &of_channels(&|it| -inverses[it] * means[it]),
            );
            let moved = |old: f64, new: f64| old + f64::from(0.1f32) * (new - old);
            check("running mean", &mean.0, &of_channels(&|it| moved(mean.1[it], means[it])));
            let unbiased = |it: usize| exact[it].1 / (rows - 1) as f64;
            check(
                "running variance",
                &variance.0,
                &of_channels(&|it| moved(variance.1[it], unbiased(it))),
            );
        }
    }
}

#[test]
fn a_large_mean_does_not_cancel_the_variance() {
    let test = Test::new();
    // The mean is 4096.5, and the variance 1/4; their squares have no room beside each other in f32.
    let numbers: Vec<f32> = (0..3000).map(|idx| 4096.0 + (idx / 3 % 2) as f32).collect();
    let (z, stored) = test.put(Storage::F32, &numbers);
    let of = Of { storage: Storage::F32, images: 1, area: 1000, c: 3 };
    let parts = norm::moments(test.device(), of.shape(), &z).unwrap();
    let normed = norm::batch(test.device(), &parts, None, None, 0.0, None).unwrap();
    assert_eq!(exact(&stored, 3)[0], (4096.5, 250.0));
    let bound = Bound { relative: 1e-5, absolute: 0.0 };
    close("the inverse", &list(&test, &normed.inverse), &[2.0; 3], bound);
}

#[test]
fn many_parts_are_merged_in_two_steps() {
    let mut test = Test::new();
    let (n, c) = (1300, 35);
    // Parts of 1 to 3 equal rows each.
    let (means, squares) = (test.numbers(n * c, -2.0, 2.0), test.numbers(n * c, 0.0, 1.0));
    let counts: Vec<f32> = (0..n).map(|it| 1.0 + (it % 3) as f32).collect();
    let rows =
        means.chunks(c).zip(squares.chunks(c)).flat_map(|(mean, squares)| [mean, squares].concat());
    let all: Vec<f32> = rows.chain(counts.iter().copied()).collect();
    let buffer = test.put(Storage::F32, &all).0;
    let parts = Parts { buffer, n, c, kind: PartsKind::Moments };
    let normed = norm::batch(test.device(), &parts, None, None, EPS, None).unwrap();
    let total: f64 = counts.iter().map(|it| f64::from(*it)).sum();
    let sum = |f: &dyn Fn(usize) -> f64| {
        (0..n).map(|part| f64::from(counts[part]) * f(part)).sum::<f64>() / total
    };
    let (mut centers, mut inverses) = (Vec::new(), Vec::new());
    for channel in 0..c {
        let at = |part: usize| part * c + channel;
        let mean = sum(&|part| f64::from(means[at(part)]));
        let between = sum(&|part| (f64::from(means[at(part)]) - mean).powi(2));
        let within: f64 = (0..n).map(|part| f64::from(squares[at(part)])).sum::<f64>() / total;
        centers.push(mean);
        inverses.push(1.0 / (between + within + f64::from(EPS)).sqrt());
    }
    let bound = Bound { relative: 1e-5, absolute: 1e-5 };
    close("center", &list(&test, &normed.center), &centers, bound);
    close("inverse", &list(&test, &normed.inverse), &inverses, bound);

    // The sums of a backward pass, of as many parts.
    let numbers = test.numbers(n * 2 * c, -1.0, 1.0);
    let (buffer, stored) = test.put(Storage::F32, &numbers);
    let parts = Parts { buffer, n, c, kind: PartsKind::Norm };
    let (mut d_gamma, mut d_beta) = (test.alloc(Storage::F32, c), test.alloc(Storage::F32, c));
    let of =
        Backward { d_gamma: Some(&mut d_gamma), d_beta: Some(&mut d_beta), ..Backward::default() };
    assert!(norm::backward(test.device(), &parts, of).unwrap().is_none());
    let sum = |place: usize| (0..n).map(|part| stored[part * 2 * c + place]).sum::<f64>();
    let bound = Bound { relative: 1e-5, absolute: 1e-4 };
    close("d_beta", &list(&test, &d_beta), &(0..c).map(sum).collect::<Vec<_>>(), bound);
    close("d_gamma", &list(&test, &d_gamma), &(c..2 * c).map(sum).collect::<Vec<_>>(), bound);
}

#[test]
fn given_statistics_norm_too() {
    let mut test = Test::new();
    let c = 300;
    let mut random = |low, high| {
        let numbers = test.numbers(c, low, high);
        test.put(Storage::F32, &numbers)
    };
    let (mean, variance, gamma) = (random(-1.0, 1.0), random(0.5, 1.5), random(0.5, 1.5));
    let normed =
        norm::fixed(test.device(), c, (&mean.0, &variance.0), Some(&gamma.0), None, EPS).unwrap();
    let scale = |it: usize| gamma.1[it] / (variance.1[it] + f64::from(EPS)).sqrt();
    let bound = Bound { relative: 1e-6, absolute: 1e-6 };
    close("scale", &list(&test, &normed.scale), &(0..c).map(scale).collect::<Vec<_>>(), bound);
    let shift = |it: usize| -scale(it) * mean.1[it];
    close("shift", &list(&test, &normed.shift), &(0..c).map(shift).collect::<Vec<_>>(), bound);
}

/// A norm's backward pass in f64 from d, and the bound of each number.
struct Want {
    d_gamma: Vec<f64>,
    d_beta: Vec<f64>,
    slope: Vec<f64>,
    at_mean: Vec<f64>,
    bound: f64,
}

fn want(of: Of, ds: &[f64], z: &[f64], by: &PlainPrologue, inverse: &[f64]) -> Want {
    let (c, rows) = (of.c, (of.images * of.area) as f64);
    let (mut d_beta, mut d_z) = (vec![0.0; c], vec![0.0; c]);
    let mut absolute = 0f64;
    for (idx, d) in ds.iter().enumerate() {
        d_beta[idx % c] += d;
        d_z[idx % c] += d * by.apart(idx % c, z[idx]);
        absolute = absolute.max(d.abs() * 3.0);
    }
    let scale = |it: usize| by.scale.as_ref().map_or(1.0, |list| list.1[it]);
    let d_gamma: Vec<f64> = (0..c).map(|it| d_z[it] * inverse[it]).collect();
    let slope = (0..c).map(|it| -scale(it) * d_gamma[it] / rows * inverse[it]).collect();
    let at_mean = (0..c).map(|it| -scale(it) * d_beta[it] / rows).collect();
    Want { d_gamma, d_beta, slope, at_mean, bound: 5e-6 * absolute * rows + 1e-6 }
}

#[test]
fn the_backward_pass_of_a_norm_is_right() {
    let mut test = Test::new();
    for (storage, activation) in
        Storage::ALL.into_iter().zip([Activation::Silu, Activation::Relu6, Activation::None])
    {
        for of in shapes(storage) {
            let c = of.c;
            let by = PlainPrologue::norm(&mut test, of, activation);
            let gate = PlainPrologue::default().with_images(&mut test, of);
            let (z, zs) = test.random(storage, of.n());
            let (g, gs) = test.random(storage, of.n());
            let numbers = test.numbers(c, 0.5, 1.5);
            let (inverse, inverses) = test.put(Storage::F32, &numbers);
            for is_gated in [false, true] {
                let through = if is_gated { gate.through_gate(of, &gs) } else { gs.clone() };
                let ds: Vec<f64> = through
                    .iter()
                    .enumerate()
                    .map(|(idx, g)| g * by.both(idx % c, zs[idx]).1)
                    .collect();
                let want = want(of, &ds, &zs, &by, &inverses);
                let grad = if is_gated { gate.grad() } else { GradPrologue::default() };
                let sums = || {
                    norm::sums(test.device(), of.shape(), (&g, &grad), (&z, &by.prologue()))
                        .unwrap()
                };
                let (parts, second) = (sums(), sums());
                assert!(
                    test.bytes(&parts.buffer) == test.bytes(&second.buffer),
                    "other sums: {of:?}"
                );
                let by_gate =
                    norm::gate_sums(test.device(), of.shape(), &g, (&z, &by.prologue())).unwrap();
                assert_eq!(by_gate.kind, PartsKind::Gate { images: of.images });
                let scale = by.scale.as_ref().map(|it| &it.0);
                for from_gate in [false, true] {
                    let (mut d_gamma, mut d_beta) =
                        (test.alloc(Storage::F32, c), test.alloc(Storage::F32, c));
                    let into = Backward {
                        scale,
                        inverse: Some(&inverse),
                        d_gamma: Some(&mut d_gamma),
                        d_beta: Some(&mut d_beta),
                        rows: Some(of.images * of.area),
                    };
                    let line = match from_gate {
                        false => norm::backward(test.device(), &parts, into),
                        true => {
                            let lists = (grad.times, grad.plus);
                            norm::backward_gated(test.device(), storage, &by_gate, lists, into)
                        }
                    };
                    let line = line.unwrap().expect("the statistics are of a batch");
                    let rows = (of.images * of.area) as f64;
                    for (what, buffer, want, bound) in [
                        ("d_gamma", &d_gamma, &want.d_gamma, 1.5 * want.bound),
                        ("d_beta", &d_beta, &want.d_beta, want.bound),
                        ("slope", &line.slope, &want.slope, 4.0 * want.bound / rows),
                        ("at_mean", &line.at_mean, &want.at_mean, 1.5 * want.bound / rows),
                    ] {
                        let what =
                            format!("{what} of {of:?}, {activation:?}, {is_gated}, {from_gate}");
                        close(
                            &what,
                            &list(&test, buffer),
                            want,
                            Bound { relative: 1e-5, absolute: bound },
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn the_sums_of_a_gate_are_right() {
    let mut test = Test::new();
    for (storage, activation) in
        Storage::ALL.into_iter().zip([Activation::Gelu, Activation::Sigmoid, Activation::Relu])
    {
        for of in shapes(storage) {
            let c = of.c;
            let by = PlainPrologue::norm(&mut test, of, activation);
            let (z, zs) = test.random(storage, of.n());
            let (g, gs) = test.random(storage, of.n());
            let sums =
                || norm::gate_sums(test.device(), of.shape(), &g, (&z, &by.prologue())).unwrap();
            let (parts, second) = (sums(), sums());
            assert!(test.bytes(&parts.buffer) == test.bytes(&second.buffer), "other sums: {of:?}");
            let (n, per_image) = (of.images * 5 * c, parts.n / of.images);
            let (mut want, mut bounds, mut total) = (vec![0.0; n], vec![1e-6; n], vec![0.0; n]);
            for (idx, (&z, &g)) in zs.iter().zip(&gs).enumerate() {
                let ((y, slope), apart) = (by.both(idx % c, z), by.apart(idx % c, z));
                let terms = [g * y, g * slope, g * slope * apart, slope, slope * apart];
                for (kind, term) in terms.into_iter().enumerate() {
                    let to = (idx / c / of.area * 5 + kind) * c + idx % c;
                    want[to] += term;
                    bounds[to] += 5e-6 * (term.abs() + 1.0);
                }
            }
            for (idx, it) in list(&test, &parts.buffer).iter().enumerate() {
                total[idx / (per_image * 5 * c) * 5 * c + idx % (5 * c)] += it;
            }
            within(&format!("sums of {of:?}"), &total, &want, &bounds);
            let mut gates = test.alloc(storage, of.images * c);
            norm::gate_gradient(test.device(), storage, &parts, &mut gates).unwrap();
            let first = |it: &Vec<f64>| {
                it.chunks(5 * c).flat_map(|it| it[..c].to_vec()).collect::<Vec<_>>()
            };
            let (want, mut bounds) = (first(&want), first(&bounds));
            bounds
                .iter_mut()
                .zip(&want)
                .for_each(|(it, want)| *it += storage.unit() * (want.abs() + *it));
            within(
                &format!("gradient of the gates of {of:?}"),
                &test.get(&gates, storage),
                &want,
                &bounds,
            );
        }
    }
}

#[test]
fn a_scale_without_a_norm_has_gradients() {
    let mut test = Test::new();
    let of = Of { storage: Storage::Bf16, images: 2, area: 21, c: 12 };
    let by = PlainPrologue { center: None, ..PlainPrologue::norm(&mut test, of, Activation::None) };
    let (z, zs) = test.random(of.storage, of.n());
    let (g, gs) = test.random(of.storage, of.n());
    let parts =
        norm::sums(test.device(), of.shape(), (&g, &GradPrologue::default()), (&z, &by.prologue()))
            .unwrap();
    let (mut d_scale, mut d_shift) = (test.alloc(Storage::F32, 12), test.alloc(Storage::F32, 12));
    let into =
        Backward { d_gamma: Some(&mut d_scale), d_beta: Some(&mut d_shift), ..Backward::default() };
    assert!(norm::backward(test.device(), &parts, into).unwrap().is_none());
    let want = want(of, &gs, &zs, &by, &[1.0; 12]);
    let bound = Bound { relative: 0.0, absolute: want.bound };
    close("d_scale", &list(&test, &d_scale), &want.d_gamma, bound);
    close("d_shift", &list(&test, &d_shift), &want.d_beta, bound);
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let test = Test::new();
    let of = Of { storage: Storage::Bf16, images: 2, area: 2, c: 8 };
    let z = test.put(Storage::Bf16, &[0.0; 31]).0;
    let err = norm::moments(test.device(), of.shape(), &z).unwrap_err().to_string();
    assert!(err.contains("`z` has 62 bytes, and needs 64"), "{err}");
    let whole = test.put(Storage::Bf16, &[0.0; 32]).0;
    let empty = Of { images: 0, ..of };
    let err = norm::moments(test.device(), empty.shape(), &whole).unwrap_err().to_string();
    assert!(err.contains("there are no rows"), "{err}");
    let parts = norm::moments(test.device(), of.shape(), &whole).unwrap();
    let err = norm::backward(test.device(), &parts, Backward::default()).unwrap_err().to_string();
    assert!(err.contains("the parts are Moments, and must be Norm"), "{err}");
    let gamma = test.put(Storage::F32, &[1.0; 7]).0;
    let err =
        norm::batch(test.device(), &parts, Some(&gamma), None, EPS, None).unwrap_err().to_string();
    assert!(err.contains("`gamma` has 28 bytes, and needs 32"), "{err}");
    let prologue = Prologue { scale: Some(&gamma), ..Prologue::default() };
    let err = norm::gate_sums(test.device(), of.shape(), &whole, (&whole, &prologue))
        .unwrap_err()
        .to_string();
    assert!(err.contains("`prologue.scale` has 28 bytes"), "{err}");
}
