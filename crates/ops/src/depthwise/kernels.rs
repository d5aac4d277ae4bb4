//! The loops of a depthwise convolution: results gathered from a frame, and gradients of taps.
//!
//! Both process one register of channels at a time, and keep their sums in registers.

use crate::{
    epilogue::Last,
    kernel::{lanes_kernel, unrolled},
    lanes::Lanes,
    matmul::padded,
    real::Real,
    target::Target,
};

/// The taps of a kernel: the offset of the first result's tap in the frame, and in the kernel.
#[derive(Clone, Copy)]
pub(super) struct Taps<'a> {
    pub(super) all: &'a [(usize, usize)],
    /// Those of each row of the kernel, at positions next to each other in the frame, from left to right.
    pub(super) per_row: usize,
}

/// Rows of results: their number in each direction, and the strides of their windows and of the results.
#[derive(Clone, Copy)]
pub(super) struct Results<'a, T> {
    pub(super) n_rows: usize,
    pub(super) n_cols: usize,
    pub(super) from_row: usize,
    /// The stride from one position of the frame to the next, and its positions from one window to the next.
    pub(super) position: usize,
    pub(super) stride: usize,
    pub(super) into_row: usize,
    pub(super) into_col: usize,
    /// The epilogue of each result.
    pub(super) last: Option<Last<'a, T>>,
}

/// The most neighbouring results that are computed together.
const NEIGHBOURS: usize = 8;

/// At least as many share the loads of what their windows have in common.
const MANY: usize = 7;

/// Numbers of a few rows of one register of channels, which stay in a core's L1 cache.
const FEW: usize = 6 * 1024;

/// Computes results of `c` channels: the sum over `taps`.
pub(super) fn gather_rows<T: Real>(
    from: &[T],
    k: &[T],
    taps: Taps<'_>,
    of: Results<'_, T>,
    mut into: Target<'_, T>,
    c: usize,
) {
    if of.n_rows == 0 || of.n_cols == 0 {
        return;
    }
    let furthest = |row: usize, col: usize| (of.n_rows - 1) * row + (of.n_cols - 1) * col;
    let last = furthest(of.from_row, of.stride * of.position) + padded(c);
    for &(at, tap) in taps.all {
        assert!(at + last <= from.len() && tap + padded(c) <= k.len(), "a tap beyond the frame");
    }
    for row in taps.all.chunks(taps.per_row.max(1)) {
        let is_next = |pair: &[(usize, usize)]| pair[0].0 + of.position == pair[1].0;
        assert!(row.len() == taps.per_row && row.windows(2).all(is_next), "taps apart");
    }
    let end = furthest(of.into_row, of.into_col) + c;
    assert!(into.len() >= end, "no room for the rows");
    assert!(of.last.is_none_or(|it| it.fits(c, end)), "an epilogue of a different size");
    // SAFETY: the first and the last register of each tap and result were just checked; offsets increase
    // in between.
    unsafe { gather(from.as_ptr(), k.as_ptr(), taps, of, into.as_mut_ptr(), c) }
}

lanes_kernel! {
    unsafe fn gather(
        from: *const T, k: *const T, taps: Taps<'_>, of: Results<'_, T>, into: *mut T, c: usize,
    ) {
        // Register by register, a few rows at a time: inputs shared by several rows stay in cache.
        let few = (FEW / (of.n_cols * V::LANES)).max(1);
        for top in (0..of.n_rows).step_by(few) {
            for channel in (0..c).step_by(V::LANES) {
                for row in top..(top + few).min(of.n_rows) {
                    // As equal as possible, so that most are of at least `MANY`.
                    let n_groups = of.n_cols.div_ceil(NEIGHBOURS);
                    for group in 0..n_groups {
                        let first = group * of.n_cols / n_groups;
                        let n = (group + 1) * of.n_cols / n_groups - first;
                        let at = row * of.into_row + first * of.into_col + channel;
                        let to = To { of, into, channel, at, left: c - channel };
                        // SAFETY: guaranteed by the caller.
                        unsafe {
                            let from = from.add(row * of.from_row + channel);
                            let from = from.add(first * of.stride * of.position);
                            let k = k.add(channel);
                            match n {
                                1 => neighbours::<T, V, 1>(from, k, taps, to),
                                2 => neighbours::<T, V, 2>(from, k, taps, to),
                                3 => neighbours::<T, V, 3>(from, k, taps, to),
                                4 => neighbours::<T, V, 4>(from, k, taps, to),
                                5 => neighbours::<T, V, 5>(from, k, taps, to),
                                6 => neighbours::<T, V, 6>(from, k, taps, to),
                                7 => neighbours::<T, V, 7>(from, k, taps, to),
                                _ => neighbours::<T, V, NEIGHBOURS>(from, k, taps, to),
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The destination of neighbouring results of a row: from offset `at`, `left` channels from `channel`.
struct To<'a, T> {
    of: Results<'a, T>,
    into: *mut T,
    channel: usize,
    at: usize,
    left: usize,
}

#[inline(always)]
unsafe fn neighbours<T: Real, V: Lanes<Number = T>, const N: usize>(
    from: *const T,
    k: *const T,
    taps: Taps<'_>,
    to: To<'_, T>,
) {
    let To { of, into, channel, at, left } = to;
    // SAFETY: guaranteed by the caller.
    unsafe {
        let position = of.position;
        let sums = match (taps.per_row, of.stride) {
            (3, 1) if N >= MANY => once::<T, V, N, 3, 1>(from, k, taps.all, position),
            (5, 1) if N >= MANY => once::<T, V, N, 5, 1>(from, k, taps.all, position),
            (5, 2) if N >= MANY => once::<T, V, N, 5, 2>(from, k, taps.all, position),
            (7, 1) if N >= MANY => once::<T, V, N, 7, 1>(from, k, taps.all, position),
            _ => one_by_one::<T, V, N>(from, k, taps.all, of.stride * position),
        };
        let Some(last) = &of.last else {
            for (idx, sum) in sums.iter().enumerate() {
                sum.store_some(into.add(at + idx * of.into_col), left);
            }
            return;
        };
        let (pairs, rest) = sums.as_chunks::<2>();
        let of_pairs: [usize; N] = std::array::from_fn(|idx| at + 2 * idx * of.into_col);
        last.store(pairs, into, &of_pairs, (channel, left), (of.into_col, 0));
        if let [sum] = rest {
            let at = at + (N - 1) * of.into_col;
            last.store(&[[*sum]], into, &[at], (channel, left), (0, 0));
        }
    }
}

/// The sums of `N` results over rows of `K` taps, with windows `S` positions apart. What several windows have in common
/// is loaded once: with a load for each product, the loads take longer than the products.
#[inline(always)]
unsafe fn once<T: Real, V: Lanes<Number = T>, const N: usize, const K: usize, const S: usize>(
    from: *const T,
    k: *const T,
    taps: &[(usize, usize)],
    position: usize,
) -> [V; N] {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut sums = [V::splat(T::ZERO); N];
        for row in taps.chunks_exact(K) {
            let from = from.add(row[0].0);
            unrolled!(K, tap => {
                let w = V::load(k.add(row[tap].1));
                // The compiler merges the loads of an address.
                unrolled!(N, idx => {
                    sums[idx] = V::load(from.add((idx * S + tap) * position)).mul_add(w, sums[idx]);
                });
            });
        }
        sums
    }
}

/// The sums of `N` results over any taps, with windows `apart` from each other.
#[inline(always)]
unsafe fn one_by_one<T: Real, V: Lanes<Number = T>, const N: usize>(
    from: *const T,
    k: *const T,
    taps: &[(usize, usize)],
    apart: usize,
) -> [V; N] {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut sums = [V::splat(T::ZERO); N];
        for &(at, tap) in taps {
            let (w, from) = (V::load(k.add(tap)), from.add(at));
            unrolled!(N, idx => {
                sums[idx] = V::load(from.add(idx * apart)).mul_add(w, sums[idx]);
            });
        }
        sums
    }
}

/// The sums over each row of results, `[row, channel]`.
///
/// - `ys`: the first number of rows of `n_cols` positions, `apart` from each other, of `c` channels, which
///   the caller alone accesses.
pub(super) fn row_sums<T: Real>(
    mut ys: Target<'_, T>,
    [n_rows, n_cols]: [usize; 2],
    apart: usize,
    c: usize,
) -> Vec<T> {
    let mut sums = vec![T::ZERO; n_rows * c];
    assert!(n_rows * n_cols == 0 || (n_rows * n_cols - 1) * apart + c <= ys.len());
    for (row, sums) in sums.chunks_exact_mut(c).enumerate() {
        let first = ys.as_mut_ptr().wrapping_add(row * n_cols * apart);
        // SAFETY: the last number that is read was just checked.
        unsafe { add_positions(first, n_cols, apart, sums.as_mut_ptr(), c) }
    }
    sums
}

lanes_kernel! {
    unsafe fn add_positions(from: *const T, n: usize, apart: usize, sums: *mut T, c: usize) {
        for channel in (0..c).step_by(V::LANES) {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let (one, mut sum) = (V::splat(T::ONE), V::splat(T::ZERO));
                for at in 0..n {
                    sum = V::load_some(from.add(at * apart + channel), c - channel).mul_add(one, sum);
                }
                sum.store_some(sums.add(channel), c - channel);
            }
        }
    }
}

/// Gradients of results, and the inputs of their taps: the strides of their rows, of positions of `c`
/// channels, where input positions are `stride` times as far apart.
#[derive(Clone, Copy)]
pub(super) struct Correlation {
    pub(super) n_rows: usize,
    pub(super) n_cols: usize,
    pub(super) g_row: usize,
    /// The stride of the rows of the map.
    pub(super) x_row: usize,
    pub(super) stride: usize,
    pub(super) c: usize,
}

/// Accumulates the gradients of the taps of a kernel, `apart` from each other: products of the output
/// gradients and the input of each tap.
pub(super) fn correlate_rows<T: Real>(
    xs: &[T],
    gs: &[T],
    of: Correlation,
    [kh, kw]: [usize; 2],
    dw: &mut [T],
    apart: usize,
) {
    let Correlation { n_rows, n_cols, g_row, x_row, stride, c } = of;
    if n_rows == 0 || n_cols == 0 {
        return;
    }
    let x_end = ((n_rows - 1) * stride + kh - 1) * x_row + ((n_cols - 1) * stride + kw) * c;
    assert!(xs.len() >= x_end, "too few rows of the map");
    assert!(gs.len() >= (n_rows - 1) * g_row + n_cols * c, "too few rows of gradients");
    assert!(dw.len() >= (kh * kw - 1) * apart + c, "no room for the taps");
    // SAFETY: the last number that is read of `xs` and `gs` and written of `dw` was just checked.
    unsafe { correlate(xs.as_ptr(), gs.as_ptr(), of, [kh, kw], dw.as_mut_ptr(), apart) }
}

lanes_kernel! {
    unsafe fn correlate(
        xs: *const T, gs: *const T, of: Correlation, kernel: [usize; 2], dw: *mut T, apart: usize,
    ) {
        let [kh, kw] = kernel;
        // Same as in `gather`.
        let few = (FEW / (of.n_cols * of.stride * V::LANES)).max(1);
        for top in (0..of.n_rows).step_by(few) {
            let n_rows = few.min(of.n_rows - top);
            for channel in (0..of.c).step_by(V::LANES) {
                for ky in 0..kh {
                    // SAFETY: guaranteed by the caller.
                    unsafe {
                        let xs = xs.add((top * of.stride + ky) * of.x_row + channel);
                        let gs = gs.add(top * of.g_row + channel);
                        let dw = dw.add(ky * kw * apart + channel);
                        match (kw, of.stride) {
                            (3, 1) => taps::<T, V, 3, 1, 4>(xs, gs, of, n_rows, dw, apart),
                            (3, 2) => taps::<T, V, 3, 2, 4>(xs, gs, of, n_rows, dw, apart),
                            (5, 1) => taps::<T, V, 5, 1, 2>(xs, gs, of, n_rows, dw, apart),
                            (5, 2) => taps::<T, V, 5, 2, 2>(xs, gs, of, n_rows, dw, apart),
                            (7, 1) => taps::<T, V, 7, 1, 2>(xs, gs, of, n_rows, dw, apart),
                            _ => {
                                for kx in 0..kw {
                                    let (xs, dw) = (xs.add(kx * of.c), dw.add(kx * apart));
                                    tap::<T, V>(xs, gs, of, n_rows, dw);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Gradients that are read together.
const TOGETHER: usize = 4;

/// Accumulates the gradients of the `K` taps of a row of the kernel over `n_rows` rows of windows `S` positions apart,
/// in `SUMS` independent sums for each, to hide latency.
#[inline(always)]
unsafe fn taps<T: Real, V: Lanes<Number = T>, const K: usize, const S: usize, const SUMS: usize>(
    xs: *const T,
    gs: *const T,
    of: Correlation,
    n_rows: usize,
    dw: *mut T,
    apart: usize,
) {
    let Correlation { n_cols, c, .. } = of;
    let whole = n_cols / TOGETHER * TOGETHER;
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut sums = [[V::splat(T::ZERO); SUMS]; K];
        for row in 0..n_rows {
            let (xs, gs) = (xs.add(row * S * of.x_row), gs.add(row * of.g_row));
            for out in (0..whole).step_by(TOGETHER) {
                let (xs, gs) = (xs.add(out * S * c), gs.add(out * c));
                // The compiler merges the loads of an address: what several windows have in common is loaded once.
                unrolled!(TOGETHER, idx => {
                    let g = V::load(gs.add(idx * c));
                    unrolled!(K, tap => {
                        let sum = &mut sums[tap][idx % SUMS];
                        *sum = g.mul_add(V::load(xs.add((idx * S + tap) * c)), *sum);
                    });
                });
            }
            for out in whole..n_cols {
                let (xs, g) = (xs.add(out * S * c), V::load(gs.add(out * c)));
                unrolled!(K, tap => {
                    sums[tap][0] = g.mul_add(V::load(xs.add(tap * c)), sums[tap][0]);
                });
            }
        }
        let one = V::splat(T::ONE);
        unrolled!(K, tap => {
            let to = dw.add(tap * apart);
            let mut all = V::load(to);
            unrolled!(SUMS, idx => { all = sums[tap][idx].mul_add(one, all); });
            all.store(to);
        });
    }
}

/// The same of one tap, with any stride: for other kernels, one tap after the other.
#[inline(always)]
unsafe fn tap<T: Real, V: Lanes<Number = T>>(
    xs: *const T,
    gs: *const T,
    of: Correlation,
    n_rows: usize,
    dw: *mut T,
) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut sum = V::load(dw);
        for row in 0..n_rows {
            let (xs, gs) = (xs.add(row * of.stride * of.x_row), gs.add(row * of.g_row));
            for out in 0..of.n_cols {
                let x = V::load(xs.add(out * of.stride * of.c));
                sum = V::load(gs.add(out * of.c)).mul_add(x, sum);
            }
        }
        sum.store(dw);
    }
}
