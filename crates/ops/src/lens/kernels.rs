//! The loops of a lens: rows of channels, read and gone back through.
//!
//! What is seen goes row by row, as memory lies; what is summed up goes channel by channel, so that
//! the sums stay in registers. Memory is asked for ahead, since these loops wait for nothing else.

use std::ops::Range;

use crate::{
    Activation,
    activation::{both_of, by_activation},
    isa::kernel,
    lanes::{Lanes, lanes_kernel, prefetch},
    real::Real,
};

/// Rows of `c` numbers, with what is to be done to them channel by channel.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub(super) n: usize,
    pub(super) c: usize,
    /// From one row to the next, of inputs.
    pub(super) apart: usize,
    pub(super) activation: Activation,
    /// Constants of `c` numbers each.
    pub(super) constants: [&'a [T]; 6],
}

impl<'a, T> Rows<'a, T> {
    /// Some channels of `n` rows of `c`.
    pub(super) fn of_channels(
        n: usize,
        c: usize,
        channels: Range<usize>,
        activation: Activation,
        constants: [&'a [T]; 6],
    ) -> Rows<'a, T> {
        let constants = constants.map(|it| &it[channels.clone()]);
        Rows { n, c: channels.len(), apart: c, activation, constants }
    }

    /// Checks that all that kernels touch is there.
    fn check(&self, inputs: &[&[T]], outputs: &[(&[T], usize)]) {
        assert!(self.constants.iter().all(|it| it.len() >= self.c), "constants for fewer channels");
        let has_rows = |it: &&[T]| it.len() + self.apart >= self.n * self.apart + self.c;
        assert!(inputs.iter().all(has_rows), "too few rows");
        let fits = |(it, stride): &(&[T], usize)| {
            self.c <= *stride && it.len() + stride >= self.n * stride + self.c
        };
        assert!(outputs.iter().all(fits), "no room for the rows");
    }
}

/// How many numbers ahead memory is asked for.
const AHEAD: usize = 1024;

/// act(scale·x + shift)·gate, into rows that begin `stride` apart.
pub(super) fn look<T: Real>(rows: Rows<'_, T>, xs: &[T], into: &mut [T], stride: usize) {
    rows.check(&[xs], &[(into, stride)]);
    // SAFETY: just checked.
    unsafe { look_rows(rows, xs.as_ptr(), into.as_mut_ptr(), stride) }
}

lanes_kernel! {
    unsafe fn look_rows(rows: Rows<'_, T>, xs: *const T, into: *mut T, stride: usize) {
        let Rows { n, c, apart, constants: [scale, shift, gates, ..], .. } = rows;
        by_activation!(rows.activation, A => {
            for row in 0..n {
                for from in (0..c).step_by(V::LANES) {
                    let some = c - from;
                    // SAFETY: the caller's.
                    unsafe {
                        let at = |it: &[T]| V::load_some(it.as_ptr().add(from), some);
                        prefetch(xs.wrapping_add(row * apart + from + AHEAD));
                        let x = V::load_some(xs.add(row * apart + from), some);
                        let (y, _) = both_of::<T, V, A>(x.mul_add(at(scale), at(shift)));
                        y.mul(at(gates)).store_some(into.add(row * stride + from), some);
                    }
                }
            }
        });
    }
}

kernel! {
    pub(super) fn line<F, T>(
        gs: &[T], apart: usize, times: &[T], plus: &[T], into: &mut [T], stride: usize,
    ) {
        for (gs, ys) in gs.chunks(apart).zip(into.chunks_mut(stride)) {
            for ((y, &g), (&times, &plus)) in ys.iter_mut().zip(gs).zip(times.iter().zip(plus)) {
                *y = T::fma::<F>(g, times, plus);
            }
        }
    }
}

/// scale·(g·times + plus)·act'(scale·x + shift) + slope·x + offset.
pub(super) fn go_back<T: Real>(
    rows: Rows<'_, T>,
    gs: &[T],
    xs: &[T],
    into: &mut [T],
    stride: usize,
) {
    rows.check(&[gs, xs], &[(into, stride)]);
    // SAFETY: just checked.
    unsafe { go_back_rows(rows, gs.as_ptr(), xs.as_ptr(), into.as_mut_ptr(), stride) }
}

lanes_kernel! {
    unsafe fn go_back_rows(
        rows: Rows<'_, T>, gs: *const T, xs: *const T, into: *mut T, stride: usize,
    ) {
        let Rows { n, c, apart, constants: [scale, shift, times, plus, slope, offset], .. } = rows;
        by_activation!(rows.activation, A => {
            for row in 0..n {
                for from in (0..c).step_by(V::LANES) {
                    let some = c - from;
                    // SAFETY: the caller's.
                    unsafe {
                        let at = |it: &[T]| V::load_some(it.as_ptr().add(from), some);
                        let place = row * apart + from;
                        prefetch(gs.wrapping_add(place + AHEAD));
                        prefetch(xs.wrapping_add(place + AHEAD));
                        let g = V::load_some(gs.add(place), some);
                        let x = V::load_some(xs.add(place), some);
                        let scale = at(scale);
                        let (_, there) = both_of::<T, V, A>(x.mul_add(scale, at(shift)));
                        let d = g.mul_add(at(times), at(plus)).mul(there);
                        let dz = scale.mul_add(d, x.mul_add(at(slope), at(offset)));
                        dz.store_some(into.add(row * stride + from), some);
                    }
                }
            }
        });
    }
}

/// Adds Σ d and Σ d·(x - center) to `[2, c]`, where d = (g·times + plus)·act'(scale·x + shift).
pub(super) fn add_gradient_sums<T: Real>(rows: Rows<'_, T>, gs: &[T], xs: &[T], sums: &mut [T]) {
    rows.check(&[gs, xs], &[]);
    assert!(sums.len() >= 2 * rows.c, "no room for the sums");
    // SAFETY: just checked.
    unsafe { gradient_sums_of(rows, gs.as_ptr(), xs.as_ptr(), sums.as_mut_ptr()) }
}

lanes_kernel! {
    unsafe fn gradient_sums_of(rows: Rows<'_, T>, gs: *const T, xs: *const T, sums: *mut T) {
        let Rows { n, c, apart, constants: [scale, shift, times, plus, center, _], .. } = rows;
        by_activation!(rows.activation, A => {
            // Channel by channel, so that the sums stay in registers.
            for from in (0..c).step_by(V::LANES) {
                let some = c - from;
                // SAFETY: the caller's.
                unsafe {
                    let at = |it: &[T]| V::load_some(it.as_ptr().add(from), some);
                    let [scale, shift, times, plus] = [scale, shift, times, plus].map(at);
                    let (one, center) = (V::splat(T::ONE), at(center).mul(V::splat(-T::ONE)));
                    let mut d_sum = V::load_some(sums.add(from), some);
                    let mut dx_sum = V::load_some(sums.add(c + from), some);
                    for row in 0..n {
                        let g = V::load_some(gs.add(row * apart + from), some);
                        let x = V::load_some(xs.add(row * apart + from), some);
                        let (_, there) = both_of::<T, V, A>(x.mul_add(scale, shift));
                        let d = g.mul_add(times, plus).mul(there);
                        d_sum = d.mul_add(one, d_sum);
                        dx_sum = d.mul_add(x.mul_add(one, center), dx_sum);
                    }
                    d_sum.store_some(sums.add(from), some);
                    dx_sum.store_some(sums.add(c + from), some);
                }
            }
        });
    }
}

/// See [`View::look_back`](super::View::look_back). Without `seen` nothing is read.
pub(super) fn look_back<T: Real>(
    rows: Rows<'_, T>,
    is_gated: bool,
    zs: &[T],
    gs: &mut [T],
    seen: Option<(&mut [T], usize)>,
    sums: &mut [T],
) {
    rows.check(&[zs, gs], &[]);
    assert!(sums.len() >= if is_gated { 5 } else { 2 } * rows.c, "no room for the sums");
    let (seen, stride) = match seen {
        Some((seen, stride)) => {
            rows.check(&[], &[(seen, stride)]);
            (seen.as_mut_ptr(), stride)
        }
        None => (std::ptr::null_mut(), 0),
    };
    // SAFETY: just checked.
    unsafe {
        look_back_rows(
            rows,
            is_gated,
            zs.as_ptr(),
            gs.as_mut_ptr(),
            seen,
            stride,
            sums.as_mut_ptr(),
        )
    }
}

lanes_kernel! {
    unsafe fn look_back_rows(
        rows: Rows<'_, T>, is_gated: bool, zs: *const T, gs: *mut T, seen: *mut T, stride: usize,
        sums: *mut T,
    ) {
        // SAFETY: the caller's.
        unsafe {
            by_activation!(rows.activation, A => match (is_gated, stride > 0) {
                (false, false) => channels_back::<T, V, A, false, false>(rows, zs, gs, seen, stride, sums),
                (false, true) => channels_back::<T, V, A, false, true>(rows, zs, gs, seen, stride, sums),
                (true, false) => channels_back::<T, V, A, true, false>(rows, zs, gs, seen, stride, sums),
                (true, true) => channels_back::<T, V, A, true, true>(rows, zs, gs, seen, stride, sums),
            });
        }
    }
}

/// A step back, channel by channel, so that the sums stay in registers.
#[inline(always)]
unsafe fn channels_back<
    T: Real,
    V: Lanes<Number = T>,
    const A: u8,
    const GATED: bool,
    const SEEN: bool,
>(
    rows: Rows<'_, T>,
    zs: *const T,
    gs: *mut T,
    seen: *mut T,
    stride: usize,
    sums: *mut T,
) {
    let Rows { n, c, apart, constants: [scale, shift, gates, center, ..], .. } = rows;
    let few = few_rows(c);
    for first in (0..n).step_by(few) {
        let last = (first + few).min(n);
        for from in (0..c).step_by(V::LANES) {
            let some = c - from;
            // SAFETY: the caller's.
            unsafe {
                let at = |it: &[T]| V::load_some(it.as_ptr().add(from), some);
                let [scale, shift, gates] = [scale, shift, gates].map(at);
                let (one, center) = (V::splat(T::ONE), at(center).mul(V::splat(-T::ONE)));
                let mut parts = [V::splat(T::ZERO); 5];
                for row in first..last {
                    let at = row * apart + from;
                    prefetch(zs.wrapping_add(at + few * apart));
                    let (z, g) = (V::load_some(zs.add(at), some), V::load_some(gs.add(at), some));
                    let (y, there) = both_of::<T, V, A>(z.mul_add(scale, shift));
                    let (d, z) = (g.mul(there), z.mul_add(one, center));
                    parts[0] = d.mul_add(one, parts[0]);
                    parts[1] = d.mul_add(z, parts[1]);
                    if GATED {
                        parts[2] = g.mul_add(y, parts[2]);
                        parts[3] = there.mul_add(one, parts[3]);
                        parts[4] = there.mul_add(z, parts[4]);
                    } else {
                        d.store_some(gs.add(at), some);
                    }
                    if SEEN {
                        y.mul(gates).store_some(seen.add(row * stride + from), some);
                    }
                }
                let [d, d_z, g_y, there, there_z] = parts;
                let kinds: &[V] = if GATED { &[g_y, d, d_z, there, there_z] } else { &[d, d_z] };
                for (idx, &part) in kinds.iter().enumerate() {
                    let to = sums.add(idx * c + from);
                    part.mul_add(one, V::load_some(to, some)).store_some(to, some);
                }
            }
        }
    }
}

/// Rows of `c` numbers that stay in a core's first-level cache, and on few pages of memory, while
/// they are gone through channel by channel.
fn few_rows(c: usize) -> usize {
    (8 * 1024 / c).clamp(8, 64)
}
