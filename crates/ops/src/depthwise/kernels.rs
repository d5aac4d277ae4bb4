//! The loops of a depthwise convolution: rows of results gathered from a frame, and of taps summed up.
//!
//! Both go one register of channels at a time, and keep their sums in registers.

use crate::{
    finish::Last,
    lanes::{Lanes, lanes_kernel},
    matmul::padded,
    real::Real,
};

/// A line of results: how many, how far apart what they see begins, and how far apart they lie.
#[derive(Clone, Copy)]
pub(super) struct Line<'a, T> {
    pub(super) n: usize,
    pub(super) from_step: usize,
    pub(super) into_step: usize,
    /// What is done to each.
    pub(super) last: Option<Last<'a, T>>,
}

/// Results that are gathered together.
const NEIGHBOURS: usize = 8;

/// Gathers `line.n` results of `c` channels: the sum over `taps` (where the first result's begins in
/// the frame, and in the kernel).
pub(super) fn gather_row<T: Real>(
    from: &[T],
    k: &[T],
    taps: &[(usize, usize)],
    line: Line<'_, T>,
    into: &mut [T],
    c: usize,
) {
    let last = (line.n - 1) * line.from_step + padded(c);
    for &(at, tap) in taps {
        assert!(at + last <= from.len() && tap + padded(c) <= k.len(), "a tap beyond the frame");
    }
    let end = (line.n - 1) * line.into_step + c;
    assert!(into.len() >= end, "no room for a row");
    assert!(line.last.is_none_or(|it| it.fits(c, end)), "a finish of another size");
    // SAFETY: the first and the last register of each tap and result were just checked; in between
    // they rise.
    unsafe { gather(from.as_ptr(), k.as_ptr(), taps, line, into.as_mut_ptr(), c) }
}

lanes_kernel! {
    unsafe fn gather(
        from: *const T, k: *const T, taps: &[(usize, usize)], line: Line<'_, T>, into: *mut T, c: usize,
    ) {
        let mut channel = 0;
        while channel < c {
            let left = c - channel;
            // SAFETY: the caller's.
            unsafe {
                let (from, k) = (from.add(channel), k.add(channel));
                let mut first = 0;
                while first < line.n {
                    let many = NEIGHBOURS.min(line.n - first);
                    let at = first * line.into_step + channel;
                    let from = from.add(first * line.from_step);
                    let to = To { line, into, channel, at, left };
                    match many {
                        1 => neighbours::<T, V, 1>(from, k, taps, to),
                        2 => neighbours::<T, V, 2>(from, k, taps, to),
                        3 => neighbours::<T, V, 3>(from, k, taps, to),
                        4 => neighbours::<T, V, 4>(from, k, taps, to),
                        5 => neighbours::<T, V, 5>(from, k, taps, to),
                        6 => neighbours::<T, V, 6>(from, k, taps, to),
                        7 => neighbours::<T, V, 7>(from, k, taps, to),
                        _ => neighbours::<T, V, NEIGHBOURS>(from, k, taps, to),
                    }
                    first += many;
                }
            }
            channel += V::LANES;
        }
    }
}

/// Where neighbours of a line go: from the place `at` on, and `left` channels from `channel` on.
struct To<'a, T> {
    line: Line<'a, T>,
    into: *mut T,
    channel: usize,
    at: usize,
    left: usize,
}

#[inline(always)]
unsafe fn neighbours<T: Real, V: Lanes<Number = T>, const N: usize>(
    from: *const T,
    k: *const T,
    taps: &[(usize, usize)],
    to: To<'_, T>,
) {
    let To { line, into, channel, at, left } = to;
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [V::splat(T::ZERO); N];
        for &(at, tap) in taps {
            let (w, from) = (V::load(k.add(tap)), from.add(at));
            for (idx, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(from.add(idx * line.from_step)).mul_add(w, *sum);
            }
        }
        for (idx, mut sum) in sums.into_iter().enumerate() {
            let at = at + idx * line.into_step;
            if let Some(last) = &line.last {
                sum = last.of(sum, channel, at, left);
            }
            sum.store_some(into.add(at), left);
        }
    }
}

/// Adds to a row of `kw` taps, `apart` from each other, the products of gradients of `c` channels
/// and of what each tap saw.
pub(super) fn correlate_row<T: Real>(
    xs: &[T],
    gs: &[T],
    c: usize,
    stride: usize,
    kw: usize,
    dw: &mut [T],
    apart: usize,
) {
    let n = gs.len() / c;
    assert!(xs.len() >= ((n - 1) * stride + kw) * c, "a row that is too short");
    assert!(dw.len() >= (kw - 1) * apart + c, "no room for the taps");
    // SAFETY: the last number that is read of `xs` and written of `dw` was just checked.
    unsafe { correlate(xs.as_ptr(), gs.as_ptr(), n, c, stride, kw, dw.as_mut_ptr(), apart) }
}

lanes_kernel! {
    unsafe fn correlate(
        xs: *const T, gs: *const T, n: usize, c: usize, stride: usize, kw: usize, dw: *mut T,
        apart: usize,
    ) {
        for channel in (0..c).step_by(V::LANES) {
            // SAFETY: the caller's.
            unsafe {
                let (xs, gs, dw) = (xs.add(channel), gs.add(channel), dw.add(channel));
                match kw {
                    3 => taps::<T, V, 3>(xs, gs, n, stride, c, dw, apart),
                    5 => taps::<T, V, 5>(xs, gs, n, stride, c, dw, apart),
                    _ => {
                        for kx in 0..kw {
                            let (xs, dw) = (xs.add(kx * c), dw.add(kx * apart));
                            taps::<T, V, 1>(xs, gs, n, stride, c, dw, apart);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn taps<T: Real, V: Lanes<Number = T>, const N: usize>(
    xs: *const T,
    gs: *const T,
    n: usize,
    stride: usize,
    wide: usize,
    dw: *mut T,
    apart: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        // Two sums for each tap, so that they need not wait for each other.
        let mut sums = [[V::splat(T::ZERO); N]; 2];
        for out in 0..n {
            let g = V::load(gs.add(out * wide));
            let xs = xs.add(out * stride * wide);
            let [even, odd] = &mut sums;
            for (tap, sum) in (if out % 2 == 0 { even } else { odd }).iter_mut().enumerate() {
                *sum = g.mul_add(V::load(xs.add(tap * wide)), *sum);
            }
        }
        let [even, odd] = sums;
        for (tap, (even, odd)) in even.into_iter().zip(odd).enumerate() {
            let to = dw.add(tap * apart);
            let one = V::splat(T::ONE);
            even.mul_add(one, odd).mul_add(one, V::load(to)).store(to);
        }
    }
}
