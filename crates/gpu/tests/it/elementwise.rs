//! Elementwise operations against f64: prologues applied, sums, gradients, and what is summed by channel or image.
//!
//! A number is off by the fast exponential's 5e-6 and by its own rounding; sums by 5e-6 of their absolute sum.

use gpu::{
    Buffer, Storage,
    elementwise::{add, apply, average, column_sums, gradient, scale},
    parts::PartsKind,
    prologue::{Activation, GradPrologue},
};

use crate::{
    bounds::{check_moments, within},
    harness::{Bound, Test},
    prologue::{Of, PlainPrologue},
};

fn bound(storage: Storage) -> Bound {
    Bound { relative: 1.01 * storage.unit() + 1e-5, absolute: 1e-5 }
}

fn shapes(storage: Storage) -> [Of; 5] {
    let of = |images, area, c| Of { storage, images, area, c };
    [of(2, 41, 264), of(3, 47, 20), of(2, 300, 1), of(5, 1, 8), of(1, 400, 3)]
}

#[test]
fn prologues_are_applied() {
    let mut test = Test::new();
    for storage in Storage::ALL {
        for (of, activation) in shapes(storage).into_iter().cycle().zip(Activation::ALL) {
            let (x, stored) = test.random(storage, of.n());
            let norm = PlainPrologue::norm(&mut test, of, activation);
            let alone = PlainPrologue { activation, ..PlainPrologue::default() };
            let gated = PlainPrologue::default().gated(&mut test, of);
            let all = PlainPrologue::norm(&mut test, of, activation).gated(&mut test, of);
            for by in [norm, alone, gated, all] {
                let (mut out, mut again) =
                    (test.alloc(storage, of.n()), test.alloc(storage, of.n()));
                for out in [&mut out, &mut again] {
                    apply(test.device(), of.shape(), (&x, &by.prologue()), out).unwrap();
                }
                let what = format!("{activation:?} of {of:?}");
                test.close(&what, &out, storage, &by.read(of, &stored), bound(storage));
                assert!(test.bytes(&out) == test.bytes(&again), "other bits: {what}");
            }
        }
    }
}

#[test]
fn extreme_numbers_give_finite_results() {
    let test = Test::new();
    let of = Of { storage: Storage::F32, images: 1, area: 1, c: 5 };
    let (x, _) = test.put(of.storage, &[-1e4, 1e4, -100.0, 100.0, 0.0]);
    for (activation, want) in [
        (Activation::Silu, [0.0, 1e4, 0.0, 100.0, 0.0]),
        (Activation::Sigmoid, [0.0, 1.0, 0.0, 1.0, 0.5]),
        (Activation::Gelu, [0.0, 1e4, 0.0, 100.0, 0.0]),
        (Activation::Relu6, [0.0, 6.0, 0.0, 6.0, 0.0]),
    ] {
        let by = PlainPrologue { activation, ..PlainPrologue::default() };
        let mut out = test.alloc(of.storage, 5);
        apply(test.device(), of.shape(), (&x, &by.prologue()), &mut out).unwrap();
        test.close("extremes", &out, of.storage, &want, Bound { relative: 1e-6, absolute: 1e-30 });
    }
}

#[test]
fn two_tensors_are_added_through_their_prologues() {
    let mut test = Test::new();
    for storage in Storage::ALL {
        for of in shapes(storage) {
            let ((x, xs), (y, ys)) = (test.random(storage, of.n()), test.random(storage, of.n()));
            // A residual block: the branch has a norm and drop-path, the skip connection a norm and an activation.
            let a = PlainPrologue::norm(&mut test, of, Activation::None).gated(&mut test, of);
            let b = PlainPrologue::norm(&mut test, of, Activation::Relu);
            let want: Vec<f64> =
                a.read(of, &xs).iter().zip(b.read(of, &ys)).map(|(a, b)| a + b).collect();
            let run = |out: &mut Buffer, needs_moments: bool| {
                add(
                    test.device(),
                    of.shape(),
                    (&x, &a.prologue()),
                    (&y, &b.prologue()),
                    out,
                    needs_moments,
                )
                .unwrap()
            };
            let (mut out, mut again) = (test.alloc(storage, of.n()), test.alloc(storage, of.n()));
            let parts = run(&mut out, true).expect("moments");
            assert!(run(&mut again, false).is_none());
            let what = format!("sum of {of:?}");
            test.close(&what, &out, storage, &want, bound(storage));
            assert!(test.bytes(&out) == test.bytes(&again), "other bits: {what}");
            check_moments(
                &what,
                &test.get(&parts.buffer, Storage::F32),
                &parts,
                &test.get(&out, storage),
                false,
            );
        }
    }
}

#[test]
fn gradients_are_added_and_applied() {
    let mut test = Test::new();
    for (storage, activation) in
        Storage::ALL.into_iter().zip([Activation::Silu, Activation::Gelu, Activation::Relu])
    {
        for of in shapes(storage) {
            let c = of.c;
            let ((g, gs), (h, hs), (z, zs)) = (
                test.random(storage, of.n()),
                test.random(storage, of.n()),
                test.random(storage, of.n()),
            );
            let a =
                PlainPrologue::of_gradient(&mut test, of, activation).with_images(&mut test, of);
            let by = PlainPrologue::norm(&mut test, of, activation);
            let read = a.read_gradient(of, &gs);
            for (has_other, has_before) in
                [(false, false), (true, false), (false, true), (true, true)]
            {
                let other = has_other.then_some(&h);
                let prologue = by.prologue();
                let before = has_before.then_some((&z, &prologue));
                let mut want = read.clone();
                if has_other {
                    want.iter_mut().zip(&hs).for_each(|(a, b)| *a += b);
                }
                if has_before {
                    want.iter_mut()
                        .enumerate()
                        .for_each(|(idx, it)| *it *= by.both(idx % c, zs[idx]).1);
                }
                let run = |out: &mut Buffer| {
                    gradient(
                        test.device(),
                        of.shape(),
                        (&g, &a.grad()),
                        other,
                        before,
                        out,
                        has_before,
                    )
                    .unwrap()
                };
                let (mut out, mut again) =
                    (test.alloc(storage, of.n()), test.alloc(storage, of.n()));
                let (parts, second) = (run(&mut out), run(&mut again));
                let what = format!("gradient of {of:?}, {has_other}, {has_before}");
                let bound = Bound { absolute: 4e-5, ..bound(storage) };
                test.close(&what, &out, storage, &want, bound);
                assert!(test.bytes(&out) == test.bytes(&again), "other bits: {what}");
                let (Some(parts), Some(second)) = (parts, second) else {
                    assert!(!has_before);
                    continue;
                };
                assert_eq!((parts.kind, parts.c), (PartsKind::Norm, c));
                assert!(
                    test.bytes(&parts.buffer) == test.bytes(&second.buffer),
                    "other sums: {what}"
                );
                let (mut want, mut bounds, mut total) =
                    (vec![0.0; 2 * c], vec![1e-6; 2 * c], vec![0.0; 2 * c]);
                for (idx, d) in test.get(&out, storage).iter().enumerate() {
                    for (kind, term) in [*d, d * by.apart(idx % c, zs[idx])].into_iter().enumerate()
                    {
                        want[kind * c + idx % c] += term;
                        bounds[kind * c + idx % c] += 1e-6 * term.abs();
                    }
                }
                let found = test.get(&parts.buffer, Storage::F32);
                found.iter().enumerate().for_each(|(idx, it)| total[idx % (2 * c)] += it);
                within(&format!("sums of {what}"), &total, &want, &bounds);
            }
        }
    }
}

#[test]
fn columns_are_summed() {
    let mut test = Test::new();
    for storage in Storage::ALL {
        for of in shapes(storage).into_iter().chain([Of { storage, images: 1, area: 1700, c: 8 }]) {
            let (g, gs) = test.random(storage, of.n());
            for by in [
                PlainPrologue::default(),
                PlainPrologue::of_gradient(&mut test, of, Activation::Silu),
            ] {
                let (mut out, mut again) =
                    (test.alloc(Storage::F32, of.c), test.alloc(Storage::F32, of.c));
                for out in [&mut out, &mut again] {
                    column_sums(test.device(), of.shape(), (&g, &by.grad()), out).unwrap();
                }
                let (mut want, mut bounds) = (vec![0.0; of.c], vec![1e-6; of.c]);
                for (idx, d) in by.read_gradient(of, &gs).iter().enumerate() {
                    want[idx % of.c] += d;
                    bounds[idx % of.c] += 5e-6 * (d.abs() + 1.0);
                }
                within(&format!("sums of {of:?}"), &test.get(&out, Storage::F32), &want, &bounds);
                assert!(test.bytes(&out) == test.bytes(&again), "other bits: {of:?}");
            }
        }
    }
}

#[test]
fn each_image_is_averaged() {
    let mut test = Test::new();
    for storage in Storage::ALL {
        // One part an image, and several.
        for of in shapes(storage).into_iter().chain([Of { storage, images: 2, area: 700, c: 40 }]) {
            let (x, xs) = test.random(storage, of.n());
            for by in
                [PlainPrologue::default(), PlainPrologue::norm(&mut test, of, Activation::Silu)]
            {
                let n = of.images * of.c;
                let (mut out, mut again) = (test.alloc(storage, n), test.alloc(storage, n));
                for out in [&mut out, &mut again] {
                    average(test.device(), of.shape(), (&x, &by.prologue()), out).unwrap();
                }
                let mut want = vec![0.0; n];
                for (idx, it) in by.read(of, &xs).iter().enumerate() {
                    want[idx / of.c / of.area * of.c + idx % of.c] += it / of.area as f64;
                }
                test.close(&format!("means of {of:?}"), &out, storage, &want, bound(storage));
                assert!(test.bytes(&out) == test.bytes(&again), "other bits: {of:?}");
            }
        }
    }
}

#[test]
fn numbers_are_scaled() {
    let mut test = Test::new();
    for storage in Storage::ALL {
        let (x, xs) = test.random(storage, 777);
        let mut out = test.alloc(storage, 777);
        scale(test.device(), storage, 777, (&x, 1.0 / 49.0), &mut out).unwrap();
        let want: Vec<f64> = xs.iter().map(|it| it / 49.0).collect();
        test.close("scaled", &out, storage, &want, bound(storage));
    }
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let test = Test::new();
    let of = Of { storage: Storage::F32, images: 2, area: 3, c: 4 };
    let (x, short) = (test.put(of.storage, &[0.0; 24]).0, test.put(of.storage, &[0.0; 23]).0);
    let mut out = test.alloc(of.storage, 24);
    let by = PlainPrologue::default();
    let mut run = |x: &Buffer, of: Of| {
        apply(test.device(), of.shape(), (x, &by.prologue()), &mut out).unwrap_err().to_string()
    };
    assert!(run(&short, of).contains("`x` has 92 bytes, and needs 96"), "{}", run(&short, of));
    assert!(
        run(&x, Of { area: 0, ..of }).contains("there are no rows"),
        "{}",
        run(&x, Of { area: 0, ..of })
    );
    let plain = (&x, &GradPrologue::default());
    let err = gradient(test.device(), of.shape(), plain, None, None, &mut out, true)
        .unwrap_err()
        .to_string();
    assert!(err.contains("there is none"), "{err}");
}
