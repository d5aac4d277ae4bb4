//! Pooling against plain loops in f64.
//!
//! Bounds: a result is rounded once to its storage; sums of at most 49 terms and the fast exponential of an activation
//! add some 10⁻⁵.

use gpu::{
    Result, Storage,
    pool::{Pooling, Windows, avg_pool, avg_pool_backward, max_pool, max_pool_backward},
    prologue::{Activation, Prologue},
};

use crate::{
    case::List,
    check::{Bound, Check},
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
fn shapes() -> Vec<Pooling> {
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
    let Windows::Sliding { kernel, stride, before } = it.windows else { return usize::MAX };
    let ([h, w], [oh, ow]) = (it.size, it.out);
    let (channel, ox, oy) = (idx % it.c, idx / it.c % ow, idx / it.c / ow % oh);
    let (ky, kx) = (usize::from(tap) / kernel[1], usize::from(tap) % kernel[1]);
    let at = |idx: usize, tap: usize, before: usize| (idx * stride + tap).wrapping_sub(before);
    let (y, x) = (at(oy, ky, before[0]), at(ox, kx, before[1]));
    match y < h && x < w {
        true => ((idx / it.c / ow / oh * h + y) * w + x) * it.c + channel,
        false => usize::MAX,
    }
}

/// How x and the gradient are read: as they are, or through an activation with all else.
fn readings(
    check: &mut Check,
    it: &Pooling,
    activation: Option<Activation>,
) -> Result<[PlainPrologue; 2]> {
    let (of_x, of_y) = (shape(it, it.size), shape(it, it.out));
    let Some(activation) = activation else { return Ok(Default::default()) };
    let plain = PlainPrologue::norm(check, of_x, activation)?.gated(check, of_x)?;
    let of_gradient = PlainPrologue::of_gradient(check, of_y, activation)?;
    Ok([plain, of_gradient.with_images(check, of_y)?])
}

fn max(check: &mut Check, it: &Pooling, activation: Option<Activation>) -> Result<()> {
    let (of_x, of_y) = (shape(it, it.size), shape(it, it.out));
    let [by_x, by_g] = readings(check, it, activation)?;
    let (x, stored) = check.random(it.storage, of_x.n())?;
    let read = by_x.read(of_x, &stored);
    let mut y = check.alloc(it.storage, of_y.n())?;
    let mut taps = check.device().alloc(it.n_taps())?;
    max_pool(check.device(), it, &x, &by_x.prologue(), &mut y, &mut taps)?;
    let chosen_taps = check.bytes(&taps)?;
    let mut want = vec![0.0_f64; of_y.n()];
    each_window(it, |idx, xs| {
        want[idx] = xs.iter().map(|at| read[*at]).fold(f64::NEG_INFINITY, f64::max);
        let tap = chosen_taps[idx];
        let chosen = at_tap(it, idx, tap);
        if !check.holds("taps", xs.contains(&chosen), || {
            format!("tap {tap} of number {idx} is not in its window")
        }) {
            return;
        }
        let far = (read[chosen] - want[idx]).abs();
        let is_near = far <= 2e-5 + 1e-5 * want[idx].abs();
        check.holds("taps", is_near, || format!("number {idx} is not of its tap {tap}"));
        let first = xs.iter().find(|at| read[**at] == want[idx]);
        let is_first = activation.is_some() || Some(&chosen) == first;
        check.holds("taps", is_first, || format!("tap {tap} of number {idx} is not the first"));
    });
    check.close("max_pool", &y, it.storage, &want, bound(it.storage))?;

    let (g, stored) = check.random(it.storage, of_y.n())?;
    let read = by_g.read_gradient(of_y, &stored);
    let mut dx = check.alloc(it.storage, of_x.n())?;
    max_pool_backward(check.device(), it, &g, &by_g.grad(), &taps, &mut dx)?;
    let mut want = vec![0.0; of_x.n()];
    for (idx, tap) in chosen_taps.iter().enumerate() {
        // A tap beyond its window was recorded above.
        if let Some(want) = want.get_mut(at_tap(it, idx, *tap)) {
            *want += read[idx];
        }
    }
    check.close("max_pool_backward", &dx, it.storage, &want, bound(it.storage))
}

fn avg(check: &mut Check, it: &Pooling, activation: Option<Activation>) -> Result<()> {
    let (of_x, of_y) = (shape(it, it.size), shape(it, it.out));
    let [by_x, by_g] = readings(check, it, activation)?;
    let (x, stored) = check.random(it.storage, of_x.n())?;
    let read = by_x.read(of_x, &stored);
    let mut y = check.alloc(it.storage, of_y.n())?;
    avg_pool(check.device(), it, &x, &by_x.prologue(), &mut y)?;
    let mut want = vec![0.0; of_y.n()];
    each_window(it, |idx, xs| {
        want[idx] = xs.iter().map(|at| read[*at]).sum::<f64>() / xs.len() as f64;
    });
    check.close("avg_pool", &y, it.storage, &want, bound(it.storage))?;

    let (g, stored) = check.random(it.storage, of_y.n())?;
    let read = by_g.read_gradient(of_y, &stored);
    let mut dx = check.alloc(it.storage, of_x.n())?;
    avg_pool_backward(check.device(), it, &g, &by_g.grad(), &mut dx)?;
    let mut want = vec![0.0; of_x.n()];
    each_window(it, |idx, xs| xs.iter().for_each(|at| want[*at] += read[idx] / xs.len() as f64));
    check.close("avg_pool_backward", &dx, it.storage, &want, bound(it.storage))
}

/// The first of equal numbers gets the gradient, and a NaN wins.
fn ties(check: &mut Check) -> Result<()> {
    let windows = Windows::Sliding { kernel: [1, 2], stride: 2, before: [0, 0] };
    let it = Pooling { storage: Storage::F16, images: 1, size: [1, 4], out: [1, 2], c: 1, windows };
    let (x, _) = check.put(Storage::F16, &[3.0, 3.0, f32::NAN, 7.0])?;
    let (mut y, mut taps) = (check.alloc(Storage::F16, 2)?, check.device().alloc(2)?);
    max_pool(check.device(), &it, &x, &Prologue::default(), &mut y, &mut taps)?;
    let (taps, ys) = (check.bytes(&taps)?, check.get(&y, Storage::F16)?);
    check.holds("taps", taps == [0, 0], || format!("{taps:?}"));
    check.holds("numbers", ys[0] == 3.0 && ys[1].is_nan(), || format!("{ys:?}"));
    Ok(())
}

pub(crate) fn cases(list: &mut List) {
    for (idx, it) in shapes().into_iter().enumerate() {
        for storage in list.storages(&[Storage::ALL[idx % 3]]) {
            add(list, "max", Pooling { storage, ..it }, None, max);
        }
    }
    let adaptives = [
        adaptive(2, [7, 5], 9, [3, 2]),
        adaptive(1, [3, 2], 8, [7, 5]),
        adaptive(2, [4, 4], 24, [1, 1]),
        adaptive(1, [1, 1], 5, [2, 3]),
    ];
    for (idx, it) in shapes().into_iter().chain(adaptives).enumerate() {
        for storage in list.storages(&[Storage::ALL[idx % 3]]) {
            add(list, "mean", Pooling { storage, ..it }, None, avg);
        }
    }
    for storage in Storage::ALL {
        let (silu, relu, gelu) = (Activation::Silu, Activation::Relu, Activation::Gelu);
        let of = |it: Pooling| Pooling { storage, ..it };
        add(list, "max", of(sliding(2, [5, 7], 11, 3, 2, 1, 1)), None, max);
        add(list, "max", of(sliding(2, [5, 6], 16, 3, 2, 1, 1)), Some(silu), max);
        add(list, "mean", of(sliding(2, [6, 5], 11, 2, 2, 0, 0)), Some(relu), avg);
        add(list, "mean", of(adaptive(2, [5, 6], 16, [3, 4])), Some(gelu), avg);
    }
    list.add(Storage::F16, "max of equal numbers and NaN".into(), ties);
}

fn add(
    list: &mut List,
    what: &str,
    it: Pooling,
    activation: Option<Activation>,
    run: fn(&mut Check, &Pooling, Option<Activation>) -> Result<()>,
) {
    let Pooling { storage, images, size: [h, w], out: [oh, ow], c, windows } = it;
    let kind = match windows {
        Windows::Adaptive => "adaptive".to_owned(),
        Windows::Sliding { kernel: [kh, kw], stride, .. } => format!("{kh}x{kw}/{stride}"),
    };
    let read = activation.map_or(String::new(), |it| format!(", {it:?}"));
    let name = format!("{what} {kind}, {images}x{h}x{w}x{c} -> {oh}x{ow}{read}");
    list.add(storage, name, move |check| run(check, &it, activation));
}
