//! Batch norm against f64: moments, the affine function, the running statistics, and both backward passes.
//!
//! Moments and sums are in f32, of numbers as they are stored: means are off by at most 1e-6 of the largest number,
//! sums by 5e-6 of their absolute sum (the fast exponential's error is 2⁻²¹ of each term).

use gpu::{
    Result, Storage,
    norm::{self, Backward, Running},
    parts::{Parts, PartsKind},
    prologue::{Activation, GradPrologue},
};

use crate::{
    case::List,
    check::{Bound, Check},
    prologue::{Of, PlainPrologue},
};

const EPS: f32 = 1e-3;

fn shapes(storage: Storage) -> [Of; 5] {
    let of = |images, area, c| Of { storage, images, area, c };
    // A whole block of channels and more in several parts, odd channels, one channel, one position, more rows than
    // threads.
    [of(2, 41, 264), of(3, 47, 20), of(2, 300, 1), of(5, 1, 8), of(1, 1000, 3)]
}

pub(crate) fn cases(list: &mut List) {
    for storage in Storage::ALL {
        for of in shapes(storage) {
            list.add(storage, format!("batch, {}", of.name()), move |check| batch(check, of));
        }
    }
    list.add(Storage::F32, "a large mean".into(), large_mean);
    list.add(Storage::F32, "many parts, moments".into(), many_moments);
    list.add(Storage::F32, "many parts, sums".into(), many_sums);
    list.add(Storage::F32, "given statistics".into(), fixed);
    list.add(Storage::Bf16, "a scale without a norm".into(), scale_alone);
    let backward_by = [Activation::Silu, Activation::Relu6, Activation::None];
    let gate_by = [Activation::Gelu, Activation::Sigmoid, Activation::Relu];
    for (storage, (a, b)) in Storage::ALL.into_iter().zip(backward_by.into_iter().zip(gate_by)) {
        for storage in list.storages(&[storage]) {
            for of in shapes(storage) {
                let name = format!("backward {a:?}, {}", of.name());
                list.add(storage, name, move |check| backward(check, of, a));
                let name = format!("sums of a gate {b:?}, {}", of.name());
                list.add(storage, name, move |check| gate_sums(check, of, b));
            }
        }
    }
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

/// A batch is normed by its moments.
fn batch(check: &mut Check, of: Of) -> Result<()> {
    let (c, rows) = (of.c, of.images * of.area);
    let (z, stored) = check.random(of.storage, of.n())?;
    let parts = norm::moments(check.device(), of.shape(), &z)?;
    check.moments("moments", &parts, &stored, false)?;
    let second = norm::moments(check.device(), of.shape(), &z)?;
    check.same("moments", &parts.buffer, &second.buffer)?;

    let gamma = check.uniform(Storage::F32, c, 0.5, 1.5)?;
    let beta = check.uniform(Storage::F32, c, -1.0, 1.0)?;
    let mut mean = check.uniform(Storage::F32, c, -1.0, 1.0)?;
    let mut variance = check.uniform(Storage::F32, c, 0.5, 1.5)?;
    let running = Running { mean: &mut mean.0, variance: &mut variance.0, momentum: 0.1 };
    let (g, b) = (Some(&gamma.0), Some(&beta.0));
    let normed = norm::batch(check.device(), &parts, g, b, EPS, Some(running))?;
    let again = norm::batch(check.device(), &parts, g, b, EPS, None)?;
    check.same("shift", &normed.shift, &again.shift)?;
    let plain = norm::batch(check.device(), &parts, None, None, EPS, None)?;

    let exact = exact(&stored, c);
    let inverses: Vec<f64> =
        exact.iter().map(|it| 1.0 / (it.1 / rows as f64 + f64::from(EPS)).sqrt()).collect();
    let scales: Vec<f64> = inverses.iter().zip(&gamma.1).map(|(i, g)| i * g).collect();
    let means: Vec<f64> = exact.iter().map(|it| it.0).collect();
    let of_channels = |f: &dyn Fn(usize) -> f64| (0..c).map(f).collect::<Vec<_>>();
    let moved = |old: f64, new: f64| old + f64::from(0.1f32) * (new - old);
    let unbiased = |it: usize| exact[it].1 / (rows - 1) as f64;
    let bound = Bound { relative: 2e-5, absolute: 1e-5 };
    for (what, buffer, want) in [
        ("center", &normed.center, means.clone()),
        ("inverse", &normed.inverse, inverses.clone()),
        ("scale", &normed.scale, scales.clone()),
        ("shift", &normed.shift, of_channels(&|it| beta.1[it] - scales[it] * means[it])),
        ("scale without gamma", &plain.scale, inverses.clone()),
        ("shift without beta", &plain.shift, of_channels(&|it| -inverses[it] * means[it])),
        ("running mean", &mean.0, of_channels(&|it| moved(mean.1[it], means[it]))),
        ("running variance", &variance.0, of_channels(&|it| moved(variance.1[it], unbiased(it)))),
    ] {
        check.close(what, buffer, Storage::F32, &want, bound)?;
    }
    Ok(())
}

/// The mean is 4096.5, and the variance 1/4; their squares have no room beside each other in f32.
fn large_mean(check: &mut Check) -> Result<()> {
    let numbers: Vec<f32> = (0..3000).map(|idx| 4096.0 + (idx / 3 % 2) as f32).collect();
    let (z, stored) = check.put(Storage::F32, &numbers)?;
    let of = Of { storage: Storage::F32, images: 1, area: 1000, c: 3 };
    let parts = norm::moments(check.device(), of.shape(), &z)?;
    let normed = norm::batch(check.device(), &parts, None, None, 0.0, None)?;
    check.holds("the numbers", exact(&stored, 3)[0] == (4096.5, 250.0), || "others".into());
    let bound = Bound { relative: 1e-5, absolute: 0.0 };
    check.close("the inverse", &normed.inverse, Storage::F32, &[2.0; 3], bound)
}

/// The parts of the two cases below, and their channels.
const MANY: [usize; 2] = [1300, 35];

/// Parts of 1 to 3 equal rows each are merged in two steps.
fn many_moments(check: &mut Check) -> Result<()> {
    let [n, c] = MANY;
    let (means, squares) = (check.numbers(n * c, -2.0, 2.0), check.numbers(n * c, 0.0, 1.0));
    let counts: Vec<f32> = (0..n).map(|it| 1.0 + (it % 3) as f32).collect();
    let rows =
        means.chunks(c).zip(squares.chunks(c)).flat_map(|(mean, squares)| [mean, squares].concat());
    let all: Vec<f32> = rows.chain(counts.iter().copied()).collect();
    let buffer = check.put(Storage::F32, &all)?.0;
    let parts = Parts { buffer, n, c, kind: PartsKind::Moments };
    let normed = norm::batch(check.device(), &parts, None, None, EPS, None)?;
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
    check.close("center", &normed.center, Storage::F32, &centers, bound)?;
    check.close("inverse", &normed.inverse, Storage::F32, &inverses, bound)
}

/// The sums of a backward pass, of as many parts.
fn many_sums(check: &mut Check) -> Result<()> {
    let [n, c] = MANY;
    let (buffer, stored) = check.uniform(Storage::F32, n * 2 * c, -1.0, 1.0)?;
    let parts = Parts { buffer, n, c, kind: PartsKind::Norm };
    let (mut d_gamma, mut d_beta) = (check.alloc(Storage::F32, c)?, check.alloc(Storage::F32, c)?);
    let of =
        Backward { d_gamma: Some(&mut d_gamma), d_beta: Some(&mut d_beta), ..Backward::default() };
    let line = norm::backward(check.device(), &parts, of)?;
    check.holds("fixed statistics", line.is_none(), || "they have a gradient".into());
    let sum = |place: usize| (0..n).map(|part| stored[part * 2 * c + place]).sum::<f64>();
    let bound = Bound { relative: 1e-5, absolute: 1e-4 };
    let (betas, gammas): (Vec<_>, Vec<_>) = (0..c).map(|it| (sum(it), sum(c + it))).unzip();
    check.close("d_beta", &d_beta, Storage::F32, &betas, bound)?;
    check.close("d_gamma", &d_gamma, Storage::F32, &gammas, bound)
}

/// Given statistics norm too.
fn fixed(check: &mut Check) -> Result<()> {
    let c = 300;
    let mean = check.uniform(Storage::F32, c, -1.0, 1.0)?;
    let variance = check.uniform(Storage::F32, c, 0.5, 1.5)?;
    let gamma = check.uniform(Storage::F32, c, 0.5, 1.5)?;
    let given = (&mean.0, &variance.0);
    let normed = norm::fixed(check.device(), c, given, Some(&gamma.0), None, EPS)?;
    let scale = |it: usize| gamma.1[it] / (variance.1[it] + f64::from(EPS)).sqrt();
    let bound = Bound { relative: 1e-6, absolute: 1e-6 };
    let (scales, shifts): (Vec<_>, Vec<_>) =
        (0..c).map(|it| (scale(it), -scale(it) * mean.1[it])).unzip();
    check.close("scale", &normed.scale, Storage::F32, &scales, bound)?;
    check.close("shift", &normed.shift, Storage::F32, &shifts, bound)
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

fn backward(check: &mut Check, of: Of, activation: Activation) -> Result<()> {
    let (c, storage, rows) = (of.c, of.storage, (of.images * of.area) as f64);
    let by = PlainPrologue::norm(check, of, activation)?;
    let gate = PlainPrologue::default().with_images(check, of)?;
    let (z, zs) = check.random(storage, of.n())?;
    let (g, gs) = check.random(storage, of.n())?;
    let (inverse, inverses) = check.uniform(Storage::F32, c, 0.5, 1.5)?;
    for is_gated in [false, true] {
        let through = if is_gated { gate.through_gate(of, &gs) } else { gs.clone() };
        let slope = |(idx, g): (usize, &f64)| g * by.both(idx % c, zs[idx]).1;
        let ds: Vec<f64> = through.iter().enumerate().map(slope).collect();
        let want = want(of, &ds, &zs, &by, &inverses);
        let grad = if is_gated { gate.grad() } else { GradPrologue::default() };
        let by_z = (&z, &by.prologue());
        let sums = || norm::sums(check.device(), of.shape(), (&g, &grad), by_z);
        let (parts, second) = (sums()?, sums()?);
        check.same(&format!("sums, gated {is_gated}"), &parts.buffer, &second.buffer)?;
        let by_gate = norm::gate_sums(check.device(), of.shape(), &g, by_z)?;
        let is_right = by_gate.kind == PartsKind::Gate { images: of.images };
        check.holds("sums of a gate", is_right, || format!("{:?}", by_gate.kind));
        let scale = by.scale.as_ref().map(|it| &it.0);
        for from_gate in [false, true] {
            let mut d_gamma = check.alloc(Storage::F32, c)?;
            let mut d_beta = check.alloc(Storage::F32, c)?;
            let into = Backward {
                scale,
                inverse: Some(&inverse),
                d_gamma: Some(&mut d_gamma),
                d_beta: Some(&mut d_beta),
                rows: Some(of.images * of.area),
            };
            let lists = (grad.times, grad.plus);
            let line = match from_gate {
                false => norm::backward(check.device(), &parts, into)?,
                true => norm::backward_gated(check.device(), storage, &by_gate, lists, into)?,
            };
            check.holds("the line", line.is_some(), || "there is none of a batch".into());
            let Some(line) = line else { continue };
            for (what, buffer, want, absolute) in [
                ("d_gamma", &d_gamma, &want.d_gamma, 1.5 * want.bound),
                ("d_beta", &d_beta, &want.d_beta, want.bound),
                ("slope", &line.slope, &want.slope, 4.0 * want.bound / rows),
                ("at_mean", &line.at_mean, &want.at_mean, 1.5 * want.bound / rows),
            ] {
                let what = format!("{what}, gated {is_gated}, from a gate's sums {from_gate}");
                let bound = Bound { relative: 1e-5, absolute };
                check.close(&what, buffer, Storage::F32, want, bound)?;
            }
        }
    }
    Ok(())
}

fn gate_sums(check: &mut Check, of: Of, activation: Activation) -> Result<()> {
    let (c, storage) = (of.c, of.storage);
    let by = PlainPrologue::norm(check, of, activation)?;
    let (z, zs) = check.random(storage, of.n())?;
    let (g, gs) = check.random(storage, of.n())?;
    let sums = || norm::gate_sums(check.device(), of.shape(), &g, (&z, &by.prologue()));
    let (parts, second) = (sums()?, sums()?);
    check.same("sums", &parts.buffer, &second.buffer)?;
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
    for (idx, it) in check.list(&parts.buffer)?.iter().enumerate() {
        total[idx / (per_image * 5 * c) * 5 * c + idx % (5 * c)] += it;
    }
    check.within("sums", &total, &want, &bounds);
    let mut gates = check.alloc(storage, of.images * c)?;
    norm::gate_gradient(check.device(), storage, &parts, &mut gates)?;
    let first = |it: &[f64]| it.chunks(5 * c).flat_map(|it| it[..c].to_vec()).collect::<Vec<_>>();
    let (want, mut bounds) = (first(&want), first(&bounds));
    let rounded = |(it, want): (&mut f64, &f64)| *it += storage.unit() * (want.abs() + *it);
    bounds.iter_mut().zip(&want).for_each(rounded);
    check.within("gradient of the gates", &check.get(&gates, storage)?, &want, &bounds);
    Ok(())
}

/// Without a norm before it a scale has gradients.
fn scale_alone(check: &mut Check) -> Result<()> {
    let of = Of { storage: Storage::Bf16, images: 2, area: 21, c: 12 };
    let by = PlainPrologue { center: None, ..PlainPrologue::norm(check, of, Activation::None)? };
    let (z, zs) = check.random(of.storage, of.n())?;
    let (g, gs) = check.random(of.storage, of.n())?;
    let (g, z) = ((&g, &GradPrologue::default()), (&z, &by.prologue()));
    let parts = norm::sums(check.device(), of.shape(), g, z)?;
    let mut d_scale = check.alloc(Storage::F32, 12)?;
    let mut d_shift = check.alloc(Storage::F32, 12)?;
    let into =
        Backward { d_gamma: Some(&mut d_scale), d_beta: Some(&mut d_shift), ..Backward::default() };
    let line = norm::backward(check.device(), &parts, into)?;
    check.holds("a scale alone", line.is_none(), || "it has statistics".into());
    let want = want(of, &gs, &zs, &by, &[1.0; 12]);
    let bound = Bound { relative: 0.0, absolute: want.bound };
    check.close("d_scale", &d_scale, Storage::F32, &want.d_gamma, bound)?;
    check.close("d_shift", &d_shift, Storage::F32, &want.d_beta, bound)
}
