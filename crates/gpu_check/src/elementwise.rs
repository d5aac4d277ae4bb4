//! Elementwise operations against f64: prologues applied, sums, gradients, and what is summed by channel or image.
//!
//! A number is off by the fast exponential's 5e-6 and by its own rounding; sums by 5e-6 of their absolute sum.

use gpu::{
    Buffer, Result, Storage,
    elementwise::{add, apply, average, column_sums, gradient, scale},
    parts::PartsKind,
    prologue::Activation,
};

use crate::{
    case::List,
    check::{Bound, Check},
    prologue::{Of, PlainPrologue},
};

fn bound(storage: Storage) -> Bound {
    Bound { relative: 1.01 * storage.unit() + 1e-5, absolute: 1e-5 }
}

fn shapes(storage: Storage) -> [Of; 5] {
    let of = |images, area, c| Of { storage, images, area, c };
    [of(2, 41, 264), of(3, 47, 20), of(2, 300, 1), of(5, 1, 8), of(1, 400, 3)]
}

pub(crate) fn cases(list: &mut List) {
    for storage in Storage::ALL {
        for (of, activation) in shapes(storage).into_iter().cycle().zip(Activation::ALL) {
            let name = format!("apply {activation:?}, {}", of.name());
            list.add(storage, name, move |check| applied(check, of, activation));
        }
        for of in shapes(storage) {
            list.add(storage, format!("add, {}", of.name()), move |check| added(check, of));
        }
    }
    list.add(Storage::F32, "extremes".into(), extremes);
    let activations = [Activation::Silu, Activation::Gelu, Activation::Relu];
    for (storage, activation) in Storage::ALL.into_iter().zip(activations) {
        for storage in list.storages(&[storage]) {
            for of in shapes(storage) {
                let name = format!("gradient {activation:?}, {}", of.name());
                list.add(storage, name, move |check| gradients(check, of, activation));
            }
        }
    }
    for storage in Storage::ALL {
        for of in shapes(storage).into_iter().chain([Of { storage, images: 1, area: 1700, c: 8 }]) {
            let name = format!("sums by channel, {}", of.name());
            list.add(storage, name, move |check| summed(check, of));
        }
        // One part an image, and several.
        for of in shapes(storage).into_iter().chain([Of { storage, images: 2, area: 700, c: 40 }]) {
            let name = format!("means by image, {}", of.name());
            list.add(storage, name, move |check| averaged(check, of));
        }
        list.add(storage, "scale".into(), move |check| {
            let (x, xs) = check.random(storage, 777)?;
            let mut out = check.alloc(storage, 777)?;
            scale(check.device(), storage, 777, (&x, 1.0 / 49.0), &mut out)?;
            let want: Vec<f64> = xs.iter().map(|it| it / 49.0).collect();
            check.close("scaled", &out, storage, &want, bound(storage))
        });
    }
}

fn applied(check: &mut Check, of: Of, activation: Activation) -> Result<()> {
    let (x, stored) = check.random(of.storage, of.n())?;
    let norm = PlainPrologue::norm(check, of, activation)?;
    let alone = PlainPrologue { activation, ..PlainPrologue::default() };
    let gated = PlainPrologue::default().gated(check, of)?;
    let all = PlainPrologue::norm(check, of, activation)?.gated(check, of)?;
    for (read, by) in [("norm", norm), ("activation", alone), ("gate", gated), ("all", all)] {
        let mut out = check.alloc(of.storage, of.n())?;
        let mut again = check.alloc(of.storage, of.n())?;
        for out in [&mut out, &mut again] {
            apply(check.device(), of.shape(), (&x, &by.prologue()), out)?;
        }
        check.close(read, &out, of.storage, &by.read(of, &stored), bound(of.storage))?;
        check.same(read, &out, &again)?;
    }
    Ok(())
}

/// Numbers whose exponential is not finite.
fn extremes(check: &mut Check) -> Result<()> {
    let of = Of { storage: Storage::F32, images: 1, area: 1, c: 5 };
    let (x, _) = check.put(of.storage, &[-1e4, 1e4, -100.0, 100.0, 0.0])?;
    for (activation, want) in [
        (Activation::Silu, [0.0, 1e4, 0.0, 100.0, 0.0]),
        (Activation::Sigmoid, [0.0, 1.0, 0.0, 1.0, 0.5]),
        (Activation::Gelu, [0.0, 1e4, 0.0, 100.0, 0.0]),
        (Activation::Relu6, [0.0, 6.0, 0.0, 6.0, 0.0]),
    ] {
        let by = PlainPrologue { activation, ..PlainPrologue::default() };
        let mut out = check.alloc(of.storage, 5)?;
        apply(check.device(), of.shape(), (&x, &by.prologue()), &mut out)?;
        let bound = Bound { relative: 1e-6, absolute: 1e-30 };
        check.close(&format!("{activation:?}"), &out, of.storage, &want, bound)?;
    }
    Ok(())
}

/// A residual block: the branch has a norm and drop-path, the skip connection a norm and an activation.
fn added(check: &mut Check, of: Of) -> Result<()> {
    let storage = of.storage;
    let ((x, xs), (y, ys)) = (check.random(storage, of.n())?, check.random(storage, of.n())?);
    let a = PlainPrologue::norm(check, of, Activation::None)?.gated(check, of)?;
    let b = PlainPrologue::norm(check, of, Activation::Relu)?;
    let want: Vec<f64> = a.read(of, &xs).iter().zip(b.read(of, &ys)).map(|(a, b)| a + b).collect();
    let run = |out: &mut Buffer, needs_moments: bool| {
        let (x, y) = ((&x, &a.prologue()), (&y, &b.prologue()));
        add(check.device(), of.shape(), x, y, out, needs_moments)
    };
    let (mut out, mut again) = (check.alloc(storage, of.n())?, check.alloc(storage, of.n())?);
    let (parts, none) = (run(&mut out, true)?, run(&mut again, false)?);
    check.close("sum", &out, storage, &want, bound(storage))?;
    check.same("sum", &out, &again)?;
    let is_right = parts.is_some() && none.is_none();
    check.holds("moments", is_right, || "there are none, or some".into());
    let stored = check.get(&out, storage)?;
    parts.map_or(Ok(()), |it| check.moments("moments", &it, &stored, false))
}

fn gradients(check: &mut Check, of: Of, activation: Activation) -> Result<()> {
    let (c, storage) = (of.c, of.storage);
    let (g, gs) = check.random(storage, of.n())?;
    let (h, hs) = check.random(storage, of.n())?;
    let (z, zs) = check.random(storage, of.n())?;
    let a = PlainPrologue::of_gradient(check, of, activation)?.with_images(check, of)?;
    let by = PlainPrologue::norm(check, of, activation)?;
    let read = a.read_gradient(of, &gs);
    for (has_other, has_before) in [(false, false), (true, false), (false, true), (true, true)] {
        let other = has_other.then_some(&h);
        let prologue = by.prologue();
        let before = has_before.then_some((&z, &prologue));
        let mut want = read.clone();
        if has_other {
            want.iter_mut().zip(&hs).for_each(|(a, b)| *a += b);
        }
        if has_before {
            want.iter_mut().enumerate().for_each(|(idx, it)| *it *= by.both(idx % c, zs[idx]).1);
        }
        let run = |out: &mut Buffer| {
            let g = (&g, &a.grad());
            gradient(check.device(), of.shape(), g, other, before, out, has_before)
        };
        let (mut out, mut again) = (check.alloc(storage, of.n())?, check.alloc(storage, of.n())?);
        let (parts, second) = (run(&mut out)?, run(&mut again)?);
        let what = format!("gradient, another {has_other}, a norm before {has_before}");
        let bound = Bound { absolute: 4e-5, ..bound(storage) };
        check.close(&what, &out, storage, &want, bound)?;
        check.same(&what, &out, &again)?;
        let what = format!("sums of the {what}");
        check.holds(&what, parts.is_some() == has_before, || "there are none, or some".into());
        let Some((parts, second)) = parts.zip(second) else { continue };
        let is_right = (parts.kind, parts.c) == (PartsKind::Norm, c);
        if !check.holds(&what, is_right, || format!("{:?} of {} channels", parts.kind, parts.c)) {
            continue;
        }
        check.same(&what, &parts.buffer, &second.buffer)?;
        let (mut want, mut bounds, mut total) =
            (vec![0.0; 2 * c], vec![1e-6; 2 * c], vec![0.0; 2 * c]);
        for (idx, d) in check.get(&out, storage)?.iter().enumerate() {
            for (kind, term) in [*d, d * by.apart(idx % c, zs[idx])].into_iter().enumerate() {
                want[kind * c + idx % c] += term;
                bounds[kind * c + idx % c] += 1e-6 * term.abs();
            }
        }
        let found = check.list(&parts.buffer)?;
        found.iter().enumerate().for_each(|(idx, it)| total[idx % (2 * c)] += it);
        check.within(&what, &total, &want, &bounds);
    }
    Ok(())
}

fn summed(check: &mut Check, of: Of) -> Result<()> {
    let (g, gs) = check.random(of.storage, of.n())?;
    let through = PlainPrologue::of_gradient(check, of, Activation::Silu)?;
    for by in [PlainPrologue::default(), through] {
        let mut out = check.alloc(Storage::F32, of.c)?;
        let mut again = check.alloc(Storage::F32, of.c)?;
        for out in [&mut out, &mut again] {
            column_sums(check.device(), of.shape(), (&g, &by.grad()), out)?;
        }
        let (mut want, mut bounds) = (vec![0.0; of.c], vec![1e-6; of.c]);
        for (idx, d) in by.read_gradient(of, &gs).iter().enumerate() {
            want[idx % of.c] += d;
            bounds[idx % of.c] += 5e-6 * (d.abs() + 1.0);
        }
        check.within("sums", &check.list(&out)?, &want, &bounds);
        check.same("sums", &out, &again)?;
    }
    Ok(())
}

fn averaged(check: &mut Check, of: Of) -> Result<()> {
    let (x, xs) = check.random(of.storage, of.n())?;
    let through = PlainPrologue::norm(check, of, Activation::Silu)?;
    for by in [PlainPrologue::default(), through] {
        let n = of.images * of.c;
        let (mut out, mut again) = (check.alloc(of.storage, n)?, check.alloc(of.storage, n)?);
        for out in [&mut out, &mut again] {
            average(check.device(), of.shape(), (&x, &by.prologue()), out)?;
        }
        let mut want = vec![0.0; n];
        for (idx, it) in by.read(of, &xs).iter().enumerate() {
            want[idx / of.c / of.area * of.c + idx % of.c] += it / of.area as f64;
        }
        check.close("means", &out, of.storage, &want, bound(of.storage))?;
        check.same("means", &out, &again)?;
    }
    Ok(())
}
