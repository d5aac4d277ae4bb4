//! Sums over images, on all cores, that do not depend on how many there are.

use std::ops::Range;

use rayon::prelude::*;

/// The number of images whose sums are computed by one thread: few, so that ten thousand images keep all cores
/// busy.
const CHUNK: usize = 512;

/// Returns sums over images: `add` adds those of a range of images.
///
/// Ranges are of fixed length, and their sums are added in order, so the result is the same on any machine.
pub(crate) fn image_sums(
    n_images: usize,
    n_sums: usize,
    add: impl Fn(Range<usize>, &mut [f64]) + Sync,
) -> Vec<f64> {
    let of_chunk = |chunk: usize| {
        let mut sums = vec![0.0; n_sums];
        add(chunk * CHUNK..n_images.min((chunk + 1) * CHUNK), &mut sums);
        sums
    };
    let chunks: Vec<Vec<f64>> =
        (0..n_images.div_ceil(CHUNK)).into_par_iter().map(of_chunk).collect();
    let mut total = vec![0.0; n_sums];
    for sums in chunks {
        total.iter_mut().zip(sums).for_each(|(total, it)| *total += it);
    }
    total
}
