//! Layer norm and L2 normalisation against plain loops in f64.
//!
//! Bounds: results are rounded once to their storage. Sums of c numbers in f32 in a tree, differences from the mean
//! and the root err by about 10⁻⁶ relative to the row's numbers, which here are of the size of 1. Sums over rows err by
//! the number of rows times 2⁻²⁴ of their absolute sum.

use gpu::{
    Buffer, Result, Shape, Storage,
    l2_normalise::{l2_normalise, l2_normalise_backward},
    layer_norm::{layer_norm, layer_norm_backward},
};

use crate::{
    case::List,
    check::{Bound, Check},
};

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

fn rows(check: &mut Check, of: Shape) -> Result<()> {
    let Shape { storage, c, .. } = of;
    let (x, xs) = check.random(storage, of.len())?;
    let (g, gs) = check.random(storage, of.len())?;
    let gamma = check.uniform(Storage::F32, c, 0.5, 1.5)?;
    let beta = check.uniform(Storage::F32, c, -1.0, 0.0)?;
    let want = want(c, &xs, &gs, &gamma.1, &beta.1);

    let mut y = check.alloc(storage, of.len())?;
    let mut stats = check.alloc(Storage::F32, 2 * of.n_rows())?;
    let affine = (&gamma.0, &beta.0);
    layer_norm(check.device(), of, &x, affine, EPS as f32, &mut y, &mut stats)?;
    check.close("y", &y, storage, &want.y, bound(storage))?;
    check.close("statistics", &stats, Storage::F32, &want.stats, bound(Storage::F32))?;

    // Where the row is nearly constant, r is large.
    let most = want.stats.chunks(2).map(|it| it[1]).fold(1.0, f64::max);
    let run = |dx: &mut Buffer, sums: &mut Buffer| {
        layer_norm_backward(check.device(), of, (&x, &g), (&gamma.0, &stats), dx, sums)
    };
    let (mut dx, mut sums) = (check.alloc(storage, of.len())?, check.alloc(Storage::F32, 2 * c)?);
    let mut dx_again = check.alloc(storage, of.len())?;
    let mut sums_again = check.alloc(Storage::F32, 2 * c)?;
    run(&mut dx, &mut sums)?;
    run(&mut dx_again, &mut sums_again)?;
    let Bound { relative, absolute } = bound(storage);
    let bound = Bound { relative, absolute: absolute * most * most };
    check.close("dx", &dx, storage, &want.dx, bound)?;
    let bounds: Vec<f64> = want.absolute.iter().map(|it| 2e-6 * most * (1.0 + it)).collect();
    check.within("d gamma and d beta", &check.list(&sums)?, &want.d_gamma_beta, &bounds);
    check.same("dx", &dx, &dx_again)?;
    check.same("d gamma and d beta", &sums, &sums_again)
}

/// A large mean does not cancel the variance.
fn large_mean(check: &mut Check, c: usize) -> Result<()> {
    let xs: Vec<f32> = (0..5 * c).map(|idx| 1e4 + (idx % 2) as f32).collect();
    let (x, stored) = check.put(Storage::F32, &xs)?;
    let (gamma, ones) = check.put(Storage::F32, &vec![1.0; c])?;
    let (beta, zeros) = check.put(Storage::F32, &vec![0.0; c])?;
    let (mut y, mut stats) = (check.alloc(Storage::F32, 5 * c)?, check.alloc(Storage::F32, 10)?);
    let shape = Shape { storage: Storage::F32, images: 5, area: 1, c };
    layer_norm(check.device(), shape, &x, (&gamma, &beta), EPS as f32, &mut y, &mut stats)?;
    let want = want(c, &stored, &stored, &ones, &zeros);
    // The mean of numbers near 10⁴ errs by about 10⁻³.
    check.close("y", &y, Storage::F32, &want.y, Bound { relative: 0.0, absolute: 4e-3 })
}

pub(crate) fn cases(list: &mut List) {
    let add = |list: &mut List, of: Shape| {
        let name = format!("{}x{}x{}", of.images, of.area, of.c);
        list.add(of.storage, name, move |check| rows(check, of));
    };
    // Widths of each of the kernels with registers, and of the one without; rows of 8, 16 and 32 threads.
    for (idx, c) in [1, 5, 8, 72, 96, 130, 250, 264, 520, 776, 1024, 1032].into_iter().enumerate() {
        let two = [Storage::ALL[idx % 3], Storage::ALL[(idx + 1) % 3]];
        for storage in list.storages(&two) {
            add(list, Shape { storage, images: 1, area: if c < 100 { 37 } else { 11 }, c });
        }
    }
    // More blocks than one in both stages.
    for (storage, c) in [(Storage::Bf16, 24), (Storage::F16, 9), (Storage::F32, 136)] {
        add(list, Shape { storage, images: 3, area: 55, c });
    }
    for c in [2, 30, 776] {
        list.add(Storage::F32, format!("a large mean of {c}"), move |it| large_mean(it, c));
    }
}

fn given_length(check: &mut Check, shape: Shape) -> Result<()> {
    let Shape { storage, c, .. } = shape;
    let (x, xs) = check.random(storage, shape.len())?;
    let (g, gs) = check.random(storage, shape.len())?;
    let mut y = check.alloc(storage, shape.len())?;
    let mut dx = check.alloc(storage, shape.len())?;
    l2_normalise(check.device(), shape, &x, 30.0, &mut y)?;
    l2_normalise_backward(check.device(), shape, &x, &g, 30.0, &mut dx)?;
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
    let bound = Bound { relative: storage.unit() + 1e-6, absolute: 1e-6 };
    check.close("y", &y, storage, &want, bound)?;
    check.close("dx", &dx, storage, &want_dx, Bound { absolute: 1e-6 * most, ..bound })
}

/// Tiny rows keep their direction, and zero rows have no gradient.
fn tiny(check: &mut Check) -> Result<()> {
    let shape = Shape { storage: Storage::F32, images: 2, area: 1, c: 2 };
    let (x, _) = check.put(Storage::F32, &[3e-10, 4e-10, 0.0, 0.0])?;
    let (g, _) = check.put(Storage::F32, &[1.0, 0.0, 1.0, 1.0])?;
    let (mut y, mut dx) = (check.alloc(Storage::F32, 4)?, check.alloc(Storage::F32, 4)?);
    l2_normalise(check.device(), shape, &x, 1.0, &mut y)?;
    l2_normalise_backward(check.device(), shape, &x, &g, 1.0, &mut dx)?;
    let bound = Bound { relative: 1e-6, absolute: 1e-7 };
    check.close("y", &y, Storage::F32, &[0.6, 0.8, 0.0, 0.0], bound)?;
    let dx = check.list(&dx)?;
    check.holds("dx of zeros", dx[2..] == [0.0, 0.0], || format!("{dx:?}"));
    Ok(())
}

pub(crate) fn l2(list: &mut List) {
    for (idx, (images, c)) in [(3, 7), (9, 40), (1, 300), (5, 1)].into_iter().enumerate() {
        for storage in list.storages(&[Storage::ALL[idx % 3]]) {
            let shape = Shape { storage, images, area: 1, c };
            list.add(storage, format!("{images}x{c}"), move |check| given_length(check, shape));
        }
    }
    list.add(Storage::F32, "tiny rows and zeros".into(), tiny);
}
