//! The transforms, from the points of a tile: polynomials are evaluated there, multiplied, and interpolated.
//!
//! A patch of N numbers has N points a: 0, pairs ±p, and ∞. G and A evaluate polynomials whose coefficients
//! are the taps of a kernel, and the results: a row is the powers 1, a, a², …; at ∞ it is the highest
//! coefficient alone. G is divided by ∏ (a - b) over the other finite points b, and the rows of Bᵀ are the
//! coefficients of the polynomials ∏ (x - b). Rows of a pair ±p differ in the sign of their odd columns alone,
//! so that the even and the odd columns are summed once for both.
//!
//! For 4 numbers the points ±1 give Lavin and Gray's matrices. For 6 theirs are ±1 and ±2; with ±5/8 and ±3/2
//! the powers are less far apart, and the error in `f32` is half of it. All of these are exact in `f32`.

use crate::{lanes::Lanes, number::Number as _};

/// The points p of the pairs ±p.
const fn pairs<const N: usize>() -> &'static [f64] {
    match N {
        4 => &[1.0],
        6 => &[0.625, 1.5],
        _ => panic!("no points for patches of this size"),
    }
}

/// The coefficients in z of ∏ (z - p²), over all pairs, or all but one.
const fn product<const N: usize>(but: usize) -> [f64; N] {
    let mut of = [0.0; N];
    of[0] = 1.0;
    let mut idx = 0;
    while idx < pairs::<N>().len() {
        let p = pairs::<N>()[idx];
        let mut at = N - 1;
        while idx != but && at > 0 {
            of[at] = of[at - 1] - p * p * of[at];
            at -= 1;
        }
        if idx != but {
            of[0] *= -p * p;
        }
        idx += 1;
    }
    of
}

/// [`product`] without each of the pairs, and last of all of them.
const fn products<const N: usize>() -> [[f64; N]; N] {
    let mut all = [[0.0; N]; N];
    let mut idx = 0;
    while idx < N {
        all[idx] = product::<N>(idx);
        idx += 1;
    }
    all
}

/// 1 / ∏ (a - b) over the other finite points b, for each point.
const fn scales<const N: usize>() -> [f64; N] {
    let mut scales = [1.0; N];
    scales[0] = 1.0 / product::<N>(N)[0];
    let mut idx = 0;
    while idx < pairs::<N>().len() {
        let p = pairs::<N>()[idx];
        let mut of = 2.0 * p * p;
        let mut other = 0;
        while other < pairs::<N>().len() {
            let q = pairs::<N>()[other];
            if other != idx {
                of *= p * p - q * q;
            }
            other += 1;
        }
        scales[2 * idx + 1] = 1.0 / of;
        scales[2 * idx + 2] = 1.0 / of;
        idx += 1;
    }
    scales
}

/// The factor of G at two points.
#[inline(always)]
pub(super) unsafe fn scale<V: Lanes, const N: usize>(y: usize, x: usize) -> V {
    let scales = const { scales::<N>() };
    // SAFETY: guaranteed by the caller.
    unsafe { splat(scales[y] * scales[x]) }
}

#[inline(always)]
unsafe fn splat<V: Lanes>(x: f64) -> V {
    // SAFETY: guaranteed by the caller.
    unsafe { V::splat(V::Number::of(x)) }
}

/// Bᵀ of a line of a patch.
#[inline(always)]
pub(super) unsafe fn spread<V: Lanes, const N: usize>(d: [V; N]) -> [V; N] {
    let products = const { products::<N>() };
    let n_pairs = N / 2 - 1;
    let mut to = d;
    // SAFETY: guaranteed by the caller.
    unsafe {
        // ∏ (x² - p²), and x times it.
        to[0] = every_other(&products[N - 1], &d, 0, n_pairs);
        to[N - 1] = every_other(&products[N - 1], &d, 1, n_pairs);
        for (idx, &p) in const { pairs::<N>() }.iter().enumerate() {
            // (x² ± px) ∏ (x² - q²).
            let even = every_other(&products[idx], &d, 2, n_pairs - 1);
            let odd = every_other(&products[idx], &d, 1, n_pairs - 1);
            to[2 * idx + 1] = odd.mul_add(splat(p), even);
            to[2 * idx + 2] = odd.mul_add(splat(-p), even);
        }
    }
    to
}

/// The sum of every other number from the first, up to a degree, times the coefficients of a polynomial whose
/// highest is 1.
#[inline(always)]
unsafe fn every_other<V: Lanes, const N: usize>(
    of: &[f64; N],
    d: &[V; N],
    first: usize,
    degree: usize,
) -> V {
    let mut sum = d[first + 2 * degree];
    for (at, &it) in of[..degree].iter().enumerate() {
        // SAFETY: guaranteed by the caller.
        sum = unsafe { d[first + 2 * at].mul_add(splat(it), sum) };
    }
    sum
}

/// A of results, and G of a kernel without its factors: the values at all points.
#[inline(always)]
pub(super) unsafe fn evaluate<V: Lanes, const L: usize, const N: usize>(of: [V; L]) -> [V; N] {
    let mut to = [of[0]; N];
    to[N - 1] = of[L - 1];
    for (idx, &p) in const { pairs::<N>() }.iter().enumerate() {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let (mut even, mut odd) = (of[0], of[1]);
            let mut power = p * p;
            for (at, it) in of.into_iter().enumerate().skip(2) {
                let sum = if at % 2 == 0 { &mut even } else { &mut odd };
                *sum = it.mul_add(splat(power), *sum);
                if at % 2 == 1 {
                    power *= p * p;
                }
            }
            to[2 * idx + 1] = odd.mul_add(splat(p), even);
            to[2 * idx + 2] = odd.mul_add(splat(-p), even);
        }
    }
    to
}

/// The transpose of [`evaluate`]: Aᵀ, and Gᵀ without its factors.
#[inline(always)]
pub(super) unsafe fn collect<V: Lanes, const L: usize, const N: usize>(of: [V; N]) -> [V; L] {
    let mut to = [of[0]; L];
    // SAFETY: guaranteed by the caller.
    unsafe {
        let (one, less) = (splat::<V>(1.0), splat::<V>(-1.0));
        for (idx, &p) in const { pairs::<N>() }.iter().enumerate() {
            let (plus, minus) = (of[2 * idx + 1], of[2 * idx + 2]);
            let (even, odd) = (plus.mul_add(one, minus), minus.mul_add(less, plus));
            let mut power = 1.0;
            for (at, to) in to.iter_mut().enumerate() {
                let term = if at % 2 == 0 { even } else { odd };
                *to = match (idx, at) {
                    (0, 1..) => term.mul(splat(power)),
                    _ => term.mul_add(splat(power), *to),
                };
                power *= p;
            }
        }
        to[L - 1] = of[N - 1].mul_add(one, to[L - 1]);
    }
    to
}

/// Transposes an array.
#[inline(always)]
pub(super) fn turned<V: Copy, const N: usize, const M: usize>(of: [[V; N]; M]) -> [[V; M]; N] {
    let mut to = [[of[0][0]; M]; N];
    for (col, to) in to.iter_mut().enumerate() {
        for (row, to) in to.iter_mut().enumerate() {
            *to = of[row][col];
        }
    }
    to
}
