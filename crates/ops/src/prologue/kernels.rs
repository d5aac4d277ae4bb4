//! The loops of a prologue: its forward and backward pass over rows of channels.
//!
//! Reads are row by row, in memory order; sums are channel by channel, so that they stay in registers.
//! Memory is prefetched, since these loops are memory-bound.

use std::ops::Range;

use crate::{
    Activation,
    activation::{both_of, by_activation},
    kernel::{kernel, lanes_kernel},
    lanes::{Lanes, Two, prefetch},
    matmul::Layout,
    real::Real,
};

/// Rows of `c` numbers, with the constants of each channel.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub(super) n: usize,
    pub(super) c: usize,
    /// The stride of the rows of inputs.
    pub(super) apart: usize,
    pub(super) activation: Activation,
    /// Constants of `c` numbers each.
    pub(super) constants: [&'a [T]; 6],
}

impl<'a, T> Rows<'a, T> {
    /// A range of channels of `n` rows of `c`.
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

    /// Checks that all accesses of the kernels are in bounds.
    fn check(&self, inputs: &[&[T]], outputs: &[(&[T], Layout)]) {
        assert!(self.constants.iter().all(|it| it.len() >= self.c), "constants for fewer channels");
        let has_rows = |it: &&[T]| it.len() + self.apart >= self.n * self.apart + self.c;
        assert!(inputs.iter().all(has_rows), "too few rows");
        let fits = |(it, layout): &(&[T], Layout)| layout.len(self.n, self.c) <= it.len();
        assert!(outputs.iter().all(fits), "no room for the rows");
    }
}

/// Calls a function for all positions, in pairs of registers and then in single ones, with its arguments,
/// a position, and the count of numbers left there.
macro_rules! by_pairs {
    ($places:expr, $at:ident::<$T:ident, $V:ident $(, $C:ident)*>($($arg:expr),*)) => {
        let places = $places;
        let mut from = places.start;
        while from + 2 * $V::LANES <= places.end {
            $at::<$T, Two<$V> $(, $C)*>($($arg,)* from, 2 * $V::LANES);
            from += 2 * $V::LANES;
        }
        while from < places.end {
            $at::<$T, $V $(, $C)*>($($arg,)* from, places.end - from);
            from += $V::LANES;
        }
    };
}

/// The prefetch distance, in numbers.
const AHEAD: usize = 1024;

/// act(scale·x + shift), times the gate if there is one.
pub(super) fn apply<T: Real>(
    rows: Rows<'_, T>,
    is_gated: bool,
    xs: &[T],
    into: &mut [T],
    layout: Layout,
) {
    rows.check(&[xs], &[(into, layout)]);
    // SAFETY: just checked.
    unsafe { apply_rows(rows, is_gated, xs.as_ptr(), into.as_mut_ptr(), layout) }
}

lanes_kernel! {
    unsafe fn apply_rows(
        rows: Rows<'_, T>, is_gated: bool, xs: *const T, into: *mut T, layout: Layout,
    ) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            by_activation!(rows.activation, A => match is_gated {
                false => apply_by_rows::<T, V, A, false>(rows, xs, into, layout),
                true => apply_by_rows::<T, V, A, true>(rows, xs, into, layout),
            });
        }
    }
}

#[inline(always)]
unsafe fn apply_by_rows<T: Real, V: Lanes<Number = T>, const A: u8, const GATED: bool>(
    rows: Rows<'_, T>,
    xs: *const T,
    into: *mut T,
    layout: Layout,
) {
    let Rows { n, c, apart, .. } = rows;
    let panel = layout.panel.min(c.max(1));
    for row in 0..n {
        for (idx, first) in (0..c).step_by(panel).enumerate() {
            // The destination of channel `first`; nothing before it is accessed.
            let place = row * layout.row + idx * layout.panel_stride;
            let into = into.wrapping_add(place).wrapping_sub(first);
            let xs = xs.wrapping_add(row * apart);
            // SAFETY: guaranteed by the caller.
            unsafe {
                let end = c.min(first + panel);
                by_pairs!(first..end, apply_at::<T, V, A, GATED>(rows, xs, into));
            }
        }
    }
}

/// One register of a row.
#[inline(always)]
unsafe fn apply_at<T: Real, V: Lanes<Number = T>, const A: u8, const GATED: bool>(
    rows: Rows<'_, T>,
    xs: *const T,
    into: *mut T,
    from: usize,
    some: usize,
) {
    let [scale, shift, gates, ..] = rows.constants;
    // SAFETY: guaranteed by the caller.
    unsafe {
        let at = |it: &[T]| V::load_some(it.as_ptr().add(from), some);
        prefetch(xs.wrapping_add(from + AHEAD));
        let x = V::load_some(xs.add(from), some);
        let (y, _) = both_of::<T, V, A>(x.mul_add(at(scale), at(shift)));
        let y = if GATED { y.mul(at(gates)) } else { y };
        y.store_some(into.wrapping_add(from), some);
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

/// (g·times + plus)·act'(scale·x + shift) + slope·x + offset.
pub(super) fn backward<T: Real>(
    rows: Rows<'_, T>,
    gs: &[T],
    xs: &[T],
    into: &mut [T],
    stride: usize,
) {
    rows.check(&[gs, xs], &[(into, Layout::rows(stride))]);
    // SAFETY: just checked.
    unsafe { backward_rows(rows, gs.as_ptr(), xs.as_ptr(), into.as_mut_ptr(), stride) }
}

lanes_kernel! {
    unsafe fn backward_rows(
        rows: Rows<'_, T>, gs: *const T, xs: *const T, into: *mut T, stride: usize,
    ) {
        let Rows { n, c, apart, .. } = rows;
        by_activation!(rows.activation, A => {
            for row in 0..n {
                let (gs, xs) = (gs.wrapping_add(row * apart), xs.wrapping_add(row * apart));
                let into = into.wrapping_add(row * stride);
                // SAFETY: guaranteed by the caller.
                unsafe {
                    by_pairs!(0..c, backward_at::<T, V, A>(rows, gs, xs, into));
                }
            }
        });
    }
}

/// One register of a row.
#[inline(always)]
unsafe fn backward_at<T: Real, V: Lanes<Number = T>, const A: u8>(
    rows: Rows<'_, T>,
    gs: *const T,
    xs: *const T,
    into: *mut T,
    from: usize,
    some: usize,
) {
    let [scale, shift, times, plus, slope, offset] = rows.constants;
    // SAFETY: guaranteed by the caller.
    unsafe {
        let at = |it: &[T]| V::load_some(it.as_ptr().add(from), some);
        prefetch(gs.wrapping_add(from + AHEAD));
        prefetch(xs.wrapping_add(from + AHEAD));
        let g = V::load_some(gs.add(from), some);
        let x = V::load_some(xs.add(from), some);
        let (_, there) = both_of::<T, V, A>(x.mul_add(at(scale), at(shift)));
        let d = g.mul_add(at(times), at(plus));
        let dz = there.mul_add(d, x.mul_add(at(slope), at(offset)));
        dz.store_some(into.add(from), some);
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
                // SAFETY: guaranteed by the caller.
                unsafe {
                    let at = |it: &[T]| V::load_some(it.as_ptr().add(from), some);
                    let (scale, shift, times, plus) = (at(scale), at(shift), at(times), at(plus));
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

/// [`backward_step`] of rows of some channels, whose sums are added to those of all `c` channels, `[kinds, c]`.
pub(super) fn add_backward_step<T: Real>(
    rows: Rows<'_, T>,
    is_gated: bool,
    zs: &[T],
    gs: &mut [T],
    values: Option<(&mut [T], Layout)>,
    (sums, c, channels): (&mut [f64], usize, Range<usize>),
) {
    let kinds = sums.chunks_exact_mut(c);
    T::with_scratch(kinds.len() * channels.len(), |part| {
        part.fill(T::ZERO);
        backward_step(rows, is_gated, zs, gs, values, part);
        for (totals, part) in kinds.zip(part.chunks_exact(channels.len())) {
            let totals = totals[channels.clone()].iter_mut();
            totals.zip(part).for_each(|(total, it)| *total += it.to_f64());
        }
    });
}

/// See [`View::backward_step`](super::View::backward_step). Without `values` the forward pass is not repeated.
fn backward_step<T: Real>(
    rows: Rows<'_, T>,
    is_gated: bool,
    zs: &[T],
    gs: &mut [T],
    values: Option<(&mut [T], Layout)>,
    sums: &mut [T],
) {
    rows.check(&[zs, gs], &[]);
    assert!(sums.len() >= if is_gated { 5 } else { 2 } * rows.c, "no room for the sums");
    let values = values.map(|(values, layout)| {
        rows.check(&[], &[(values, layout)]);
        (values.as_mut_ptr(), layout)
    });
    // SAFETY: just checked.
    unsafe {
        backward_step_rows(rows, is_gated, zs.as_ptr(), gs.as_mut_ptr(), values, sums.as_mut_ptr())
    }
}

lanes_kernel! {
    unsafe fn backward_step_rows(
        rows: Rows<'_, T>, is_gated: bool, zs: *const T, gs: *mut T,
        values: Option<(*mut T, Layout)>, sums: *mut T,
    ) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            by_activation!(rows.activation, A => match is_gated {
                false => backward_channels::<T, V, A, false>(rows, zs, gs, values, sums),
                true => backward_channels::<T, V, A, true>(rows, zs, gs, values, sums),
            });
        }
    }
}

/// A backward step, channel by channel, so that the sums stay in registers.
#[inline(always)]
unsafe fn backward_channels<T: Real, V: Lanes<Number = T>, const A: u8, const GATED: bool>(
    rows: Rows<'_, T>,
    zs: *const T,
    gs: *mut T,
    values: Option<(*mut T, Layout)>,
    sums: *mut T,
) {
    let Rows { n, c, apart, constants: [scale, shift, gates, center, ..], .. } = rows;
    let few = few_rows(c);
    for first in (0..n).step_by(few) {
        let last = (first + few).min(n);
        for from in (0..c).step_by(V::LANES) {
            let some = c - from;
            // SAFETY: guaranteed by the caller.
            unsafe {
                let at = |it: &[T]| V::load_some(it.as_ptr().add(from), some);
                // One by one: `map` would call a function for each register.
                let (scale, shift, gates) = (at(scale), at(shift), at(gates));
                let (one, center) = (V::splat(T::ONE), at(center).mul(V::splat(-T::ONE)));
                let mut parts = [V::splat(T::ZERO); 5];
                let values = values.map(|(it, layout)| (it.add(layout.at(from)), layout.row));
                let mut row = first;
                while row < last {
                    // Two rows at a time: see `Two`. The last row may be paired with itself.
                    let is_alone = row + 1 == last;
                    let at = row * apart + from;
                    let next = if is_alone { at } else { at + apart };
                    prefetch(zs.wrapping_add(at + few * apart));
                    prefetch(zs.wrapping_add(next + few * apart));
                    let load = |it: *const T| {
                        (V::load_some(it.add(at), some), V::load_some(it.add(next), some))
                    };
                    let ((z0, z1), (g0, g1)) = (load(zs), load(gs));
                    let xs = Two(z0, z1).mul_add(Two(scale, scale), Two(shift, shift));
                    let (Two(y0, y1), Two(there0, there1)) = both_of::<T, Two<V>, A>(xs);
                    let to = |row: usize| values.map(|(it, stride)| (it.add(row * stride), gates));
                    accumulate_backward::<T, V, GATED>(
                        &mut parts,
                        (z0.mul_add(one, center), g0, y0, there0),
                        gs.add(at),
                        to(row),
                        some,
                    );
                    if !is_alone {
                        accumulate_backward::<T, V, GATED>(
                            &mut parts,
                            (z1.mul_add(one, center), g1, y1, there1),
                            gs.add(next),
                            to(row + 1),
                            some,
                        );
                    }
                    row += 2;
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

/// Accumulates one register of a row: z without its center, the gradient, and the activation and its
/// derivative.
#[inline(always)]
unsafe fn accumulate_backward<T: Real, V: Lanes<Number = T>, const GATED: bool>(
    parts: &mut [V; 5],
    (z, g, y, there): (V, V, V, V),
    gs: *mut T,
    values: Option<(*mut T, V)>,
    some: usize,
) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let (d, one) = (g.mul(there), V::splat(T::ONE));
        parts[0] = d.mul_add(one, parts[0]);
        parts[1] = d.mul_add(z, parts[1]);
        if GATED {
            parts[2] = g.mul_add(y, parts[2]);
            parts[3] = there.mul_add(one, parts[3]);
            parts[4] = there.mul_add(z, parts[4]);
        } else {
            d.store_some(gs, some);
        }
        if let Some((values, gates)) = values {
            let y = if GATED { y.mul(gates) } else { y };
            y.store_some(values, some);
        }
    }
}

/// The number of rows of `c` numbers that stay in a core's L1 cache, and on few pages of memory, while
/// they are traversed channel by channel.
fn few_rows(c: usize) -> usize {
    (8 * 1024 / c).clamp(8, 64)
}
