//! Pooling against plain loops in f64.
//!
//! Bounds: a result is rounded once to its storage; sums of at most 49 terms and the fast exponential of an activation
//! add some 10⁻⁵.

use gpu::{
    Storage,
    pool::{Pooling, Windows, avg_pool, avg_pool_backward, max_pool, max_pool_backward},
    prologue::{Activation, GradPrologue, Prologue},
};

use crate::{
    harness::{Bound, Test},
    prologue::{Of, PlainPrologue},
};

fn bound(storage: Storage) -> Bound {
    Bound { relative: storage.unit() + 1e-5, absolute: 2e-5 }
}

fn sliding(
    n: usize,
    size: [usize; 2],
    c: usize,
    kernel: usize,
    stride: usize,
    before: usize,
    after: usize,
) -> Pooling {
    let out = size.map(|size| (size + before + after - kernel) / stride + 1);
    let windows = Windows::Sliding { kernel: [kernel; 2], stride, before: [before; 2] };
    Pooling { storage: Storage::F32, images: n, size, out, c, windows }
}

fn adaptive(n: usize, size: [usize; 2], c: usize, out: [usize; 2]) -> Pooling {
    Pooling { storage: Storage::F32, images: n, size, out, c, windows: Windows::Adaptive }
}

/// Sliding windows: of ResNet's stem, of a transition, SAME, that overlap or leave gaps; maps of one pixel.
fn cases() -> Vec<Pooling> {
    vec![
        sliding(2, [7, 6], 8, 3, 2, 1, 1),
        sliding(1, [5, 4], 13, 3, 1, 1, 1),
        sliding(3, [6, 5], 40, 2, 2, 0, 0),
        sliding(1, [7, 7], 3, 3, 2, 0, 1),
        sliding(2, [1, 1], 1, 1, 1, 0, 0),
        sliding(1, [7, 5], 17, 2, 3, 0, 0),
        sliding(1, [4, 9], 264, 3, 2, 1, 1),
    ]
}

fn shape(it: &Pooling, [h, w]: [usize; 2]) -> Of {
    Of { storage: it.storage, images: it.images, area: h * w, c: it.c }
}

/// The positions of a window along an axis, by the definition.
fn window(it: &Pooling, axis: usize, idx: usize) -> Vec<usize> {
    let (size, out) = (it.size[axis], it.out[axis]);
    match it.windows {
        Windows::Adaptive => (idx * size / out..((idx + 1) * size).div_ceil(out)).collect(),
        Windows::Sliding { kernel, stride, before } => (0..kernel[axis])
            .filter_map(|tap| (idx * stride + tap).checked_sub(before[axis]))
            .filter(|at| *at < size)
            .collect(),
    }
}

/// Calls `f` with the index of each number of y, and the indices of the numbers of x in its window.
fn each_window(it: &Pooling, mut f: impl FnMut(usize, Vec<usize>)) {
    let ([h, w], [oh, ow]) = (it.size, it.out);
    for idx in 0..it.images * oh * ow * it.c {
        let (channel, ox, oy) = (idx % it.c, idx / it.c % ow, idx / it.c / ow % oh);
        let image = idx / it.c / ow / oh;
        let columns = window(it, 1, ox);
        let of_row = |y: usize| {
            let columns = columns.clone().into_iter();
            columns.map(move |x| ((image * h + y) * w + x) * it.c + channel)
        };
        f(idx, window(it, 0, oy).into_iter().flat_map(of_row).collect());
    }
}

/// The index of the number of x that a tap of a number of y means.
fn at_tap(it: &Pooling, idx: usize, tap: u8) -> usize {
    let Windows::Sliding { kernel, stride, before } = it.windows else {
        panic!("no sliding windows")
    };
    let ([h, w], [oh, ow]) = (it.size, it.out);
    let (channel, ox, oy) = (idx % it.c, idx / it.c % ow, idx / it.c / ow % oh);
    let (ky, kx) = (usize::from(tap) / kernel[1], usize::from(tap) % kernel[1]);
    let (y, x) = (oy * stride + ky - before[0], ox * stride + kx - before[1]);
    ((idx / it.c / ow / oh * h + y) * w + x) * it.c + channel
}

fn check_max(test: &mut Test, it: &Pooling, activation: Option<Activation>) {
    let (of_x, of_y) = (shape(it, it.size), shape(it, it.out));
    let (x, stored) = test.random(it.storage, of_x.n());
    let plain = activation.map(|it| PlainPrologue::norm(test, of_x, it).gated(test, of_x));
    let prologue = plain.as_ref().map_or(Prologue::default(), PlainPrologue::prologue);
    let read = plain.as_ref().map_or(stored.clone(), |it| it.read(of_x, &stored));
    let mut y = test.alloc(it.storage, of_y.n());
    let mut taps = test.device().alloc(it.n_taps()).expect("it fits");
    max_pool(test.device(), it, &x, &prologue, &mut y, &mut taps).expect("it fits");
    let first = (test.bytes(&y), test.bytes(&taps));
    let mut want = vec![0.0_f64; of_y.n()];
    each_window(it, |idx, xs| {
        want[idx] = xs.iter().map(|at| read[*at]).fold(f64::NEG_INFINITY, f64::max);
        let chosen = at_tap(it, idx, first.1[idx]);
        assert!(
            xs.contains(&chosen),
            "{it:?}: tap {} of number {idx} is not in its window",
            first.1[idx]
        );
        let far = (read[chosen] - want[idx]).abs();
        assert!(far <= 2e-5 + 1e-5 * want[idx].abs(), "{it:?}: number {idx} is not of its tap");
        if plain.is_none() {
            assert_eq!(
                Some(&chosen),
                xs.iter().find(|at| read[**at] == want[idx]),
                "{it:?}: not the first"
            );
        }
    });
    test.close(&format!("max_pool {it:?}"), &y, it.storage, &want, bound(it.storage));

    let (g, stored) = test.random(it.storage, of_y.n());
    let deferred =
        activation.map(|it| PlainPrologue::of_gradient(test, of_y, it).with_images(test, of_y));
    let prologue = deferred.as_ref().map_or(GradPrologue::default(), PlainPrologue::grad);
    let read = deferred.as_ref().map_or(stored.clone(), |it| it.read_gradient(of_y, &stored));
    let mut dx = test.alloc(it.storage, of_x.n());
    max_pool_backward(test.device(), it, &g, &prologue, &taps, &mut dx).expect("it fits");
    let mut want = vec![0.0; of_x.n()];
    for (idx, tap) in first.1.iter().enumerate() {
        want[at_tap(it, idx, *tap)] += read[idx];
    }
    test.close(&format!("max_pool_backward {it:?}"), &dx, it.storage, &want, bound(it.storage));
}

fn check_avg(test: &mut Test, it: &Pooling, activation: Option<Activation>) {
    let (of_x, of_y) = (shape(it, it.size), shape(it, it.out));
    let (x, stored) = test.random(it.storage, of_x.n());
    let plain = activation.map(|it| PlainPrologue::norm(test, of_x, it).gated(test, of_x));
    let prologue = plain.as_ref().map_or(Prologue::default(), PlainPrologue::prologue);
    let read = plain.as_ref().map_or(stored.clone(), |it| it.read(of_x, &stored));
    let mut y = test.alloc(it.storage, of_y.n());
    avg_pool(test.device(), it, &x, &prologue, &mut y).expect("it fits");
    let mut want = vec![0.0; of_y.n()];
    each_window(it, |idx, xs| {
        want[idx] = xs.iter().map(|at| read[*at]).sum::<f64>() / xs.len() as f64
    });
    test.close(&format!("avg_pool {it:?}"), &y, it.storage, &want, bound(it.storage));

    let (g, stored) = test.random(it.storage, of_y.n());
    let deferred =
        activation.map(|it| PlainPrologue::of_gradient(test, of_y, it).with_images(test, of_y));
    let prologue = deferred.as_ref().map_or(GradPrologue::default(), PlainPrologue::grad);
    let read = deferred.as_ref().map_or(stored.clone(), |it| it.read_gradient(of_y, &stored));
    let mut dx = test.alloc(it.storage, of_x.n());
    avg_pool_backward(test.device(), it, &g, &prologue, &mut dx).expect("it fits");
    let mut want = vec![0.0; of_x.n()];
    each_window(it, |idx, xs| xs.iter().for_each(|at| want[*at] += read[idx] / xs.len() as f64));
    test.close(&format!("avg_pool_backward {it:?}"), &dx, it.storage, &want, bound(it.storage));
}

#[test]
fn the_largest_number_of_each_window_gets_its_gradient() {
    let mut test = Test::new();
    for (idx, it) in cases().into_iter().enumerate() {
        let storage = Storage::ALL[idx % 3];
        check_max(&mut test, &Pooling { storage, ..it }, None);
    }
    for storage in Storage::ALL {
        check_max(&mut test, &Pooling { storage, ..sliding(2, [5, 7], 11, 3, 2, 1, 1) }, None);
        check_max(
            &mut test,
            &Pooling { storage, ..sliding(2, [5, 6], 16, 3, 2, 1, 1) },
            Some(Activation::Silu),
        );
    }
}

#[test]
fn every_position_of_a_window_counts_for_its_mean() {
    let mut test = Test::new();
    let more = [
        adaptive(2, [7, 5], 9, [3, 2]),
        adaptive(1, [3, 2], 8, [7, 5]),
        adaptive(2, [4, 4], 24, [1, 1]),
        adaptive(1, [1, 1], 5, [2, 3]),
    ];
    for (idx, it) in cases().into_iter().chain(more).enumerate() {
        let storage = Storage::ALL[idx % 3];
        check_avg(&mut test, &Pooling { storage, ..it }, None);
    }
    for storage in Storage::ALL {
        check_avg(
            &mut test,
            &Pooling { storage, ..sliding(2, [6, 5], 11, 2, 2, 0, 0) },
            Some(Activation::Relu),
        );
        check_avg(
            &mut test,
            &Pooling { storage, ..adaptive(2, [5, 6], 16, [3, 4]) },
            Some(Activation::Gelu),
        );
    }
}

#[test]
fn the_first_of_equal_numbers_and_nan_win() {
    let test = Test::new();
    let it = Pooling { storage: Storage::F16, ..sliding(1, [1, 4], 1, 1, 1, 0, 0) };
    let it = Pooling {
        out: [1, 2],
        windows: Windows::Sliding { kernel: [1, 2], stride: 2, before: [0, 0] },
        ..it
    };
    let (x, _) = test.put(Storage::F16, &[3.0, 3.0, f32::NAN, 7.0]);
    let (mut y, mut taps) = (test.alloc(Storage::F16, 2), test.device().alloc(2).unwrap());
    max_pool(test.device(), &it, &x, &Prologue::default(), &mut y, &mut taps).unwrap();
    assert_eq!(test.bytes(&taps), [0, 0]);
    let ys = test.get(&y, Storage::F16);
    assert!(ys[0] == 3.0 && ys[1].is_nan(), "{ys:?}");
}

#[test]
fn windows_beyond_the_map_are_an_error() {
    let test = Test::new();
    let (x, _) = test.put(Storage::F32, &[0.0; 9]);
    let (mut y, mut taps) = (test.alloc(Storage::F32, 9), test.device().alloc(9).unwrap());
    let it = sliding(1, [3, 3], 1, 2, 1, 0, 0);
    let mut fails = |it: Pooling| {
        let err =
            max_pool(test.device(), &it, &x, &Prologue::default(), &mut y, &mut taps).unwrap_err();
        err.to_string()
    };
    let err = fails(Pooling { out: [4, 4], ..it });
    assert!(err.contains("not on the map"), "{err}");
    let err = fails(Pooling { c: 0, ..it });
    assert!(err.contains("no channels"), "{err}");
    let err = fails(Pooling { images: 2, ..it });
    assert!(err.contains("`x` has 36 bytes"), "{err}");
    let err = fails(Pooling { windows: Windows::Adaptive, ..it });
    assert!(err.contains("sliding"), "{err}");
}
