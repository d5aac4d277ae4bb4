//! Concatenation and dropout against plain loops in f64. Bounds: numbers are copied, or rounded once after a prologue.

use gpu::{
    Shape, Storage,
    concat::{concat, concat_backward},
    dropout,
    prologue::{Activation, GradPrologue, Prologue},
};

use crate::{
    harness::{Bound, Test},
    prologue::{Of, PlainPrologue},
};

fn bound(storage: Storage) -> Bound {
    Bound { relative: storage.unit() + 1e-5, absolute: 1e-5 }
}

/// Concatenates parts of these widths, through prologues where there is an activation, and splits a gradient.
fn check(storage: Storage, widths: &[usize], activation: Option<Activation>) {
    let mut test = Test::new();
    let width: usize = widths.iter().sum();
    let of = |c: usize| Of { storage, images: 2, area: 5, c };
    let whole = of(width);
    let mut y = test.alloc(storage, whole.n());
    let (g, stored_g) = test.random(storage, whole.n());
    let deferred = activation
        .map(|it| PlainPrologue::of_gradient(&mut test, whole, it).with_images(&mut test, whole));
    let grad = deferred.as_ref().map_or(GradPrologue::default(), PlainPrologue::grad);
    let read_g =
        deferred.as_ref().map_or(stored_g.clone(), |it| it.read_gradient(whole, &stored_g));
    let (mut want, mut offset) = (vec![0.0; whole.n()], 0);
    for &c in widths {
        let part = of(c);
        let shapes = (part.shape(), whole.shape());
        let (x, stored) = test.random(storage, part.n());
        let plain =
            activation.map(|it| PlainPrologue::norm(&mut test, part, it).gated(&mut test, part));
        let prologue = plain.as_ref().map_or(Prologue::default(), PlainPrologue::prologue);
        let read = plain.as_ref().map_or(stored.clone(), |it| it.read(part, &stored));
        concat(test.device(), shapes, offset, &x, &prologue, &mut y).expect("it fits");
        let mut dx = test.alloc(storage, part.n());
        concat_backward(test.device(), shapes, offset, &g, &grad, &mut dx).expect("it fits");
        let mut want_dx = vec![0.0; part.n()];
        for (idx, x) in read.iter().enumerate() {
            let at = idx / c * width + offset + idx % c;
            want[at] = *x;
            want_dx[idx] = read_g[at];
        }
        test.close(
            &format!("the gradient of {c} of {widths:?}"),
            &dx,
            storage,
            &want_dx,
            bound(storage),
        );
        offset += c;
    }
    test.close(&format!("concat of {widths:?}"), &y, storage, &want, bound(storage));
}

#[test]
fn channels_are_concatenated_and_split() {
    for storage in Storage::ALL {
        check(storage, &[8, 24, 16], None);
        check(storage, &[3, 7, 1, 9], None);
        check(storage, &[16, 4, 12], Some(Activation::Relu));
        check(storage, &[40, 264], Some(Activation::Silu));
    }
}

#[test]
fn a_part_that_is_not_of_the_whole_is_an_error() {
    let test = Test::new();
    let (x, _) = test.put(Storage::F32, &[0.0; 12]);
    let mut y = test.alloc(Storage::F32, 12);
    let of = |area, c| Shape { storage: Storage::F32, images: 1, area, c };
    for (part, offset) in [(of(2, 3), 4), (of(1, 3), 0), (of(2, 7), 0), (of(2, 3), usize::MAX)] {
        let err = concat(test.device(), (part, of(2, 6)), offset, &x, &Prologue::default(), &mut y);
        let err = err.unwrap_err().to_string();
        assert!(err.contains("is not a part of"), "{err}");
    }
}

#[test]
fn dropout_keeps_what_the_mask_says() {
    let mut test = Test::new();
    let kept = 1.0 / 0.7_f32;
    for (storage, n) in
        [(Storage::F32, 10), (Storage::Bf16, 2 * 3 * 700), (Storage::F16, 64), (Storage::F16, 1)]
    {
        let bits: Vec<bool> = (0..n).map(|idx| idx * idx % 7 < 4).collect();
        let mask = test.put_plain(&dropout::mask(bits.iter().copied()));
        // Where nothing is kept, neither is a NaN.
        let mut numbers = test.numbers(n, -2.0, 2.0);
        numbers.iter_mut().zip(&bits).filter(|it| !it.1).for_each(|(x, _)| *x = f32::NAN);
        let (x, stored) = test.put(storage, &numbers);
        let mut y = test.alloc(storage, n);
        dropout::dropout(test.device(), (n, storage), &x, (&mask, kept), &mut y).unwrap();
        let one = |(x, is_kept): (&f64, &bool)| if *is_kept { x * f64::from(kept) } else { 0.0 };
        let want: Vec<f64> = stored.iter().zip(&bits).map(one).collect();
        test.close("dropout", &y, storage, &want, bound(storage));
    }
    let (x, mask) = (test.put(Storage::F32, &[0.0; 9]).0, test.put_plain(&[255_u8]));
    let mut y = test.alloc(Storage::F32, 9);
    let err =
        dropout::dropout(test.device(), (9, Storage::F32), &x, (&mask, kept), &mut y).unwrap_err();
    assert!(err.to_string().contains("`mask` has 1 bytes, and needs 2"), "{err}");
}
