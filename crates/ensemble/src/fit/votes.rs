//! The votes of an image, what they add to macro F1, and which scores are equal.

use crate::HeldOut;

/// Scores that differ by less are equal.
pub(super) const EQUAL: f64 = 1e-12;

/// Writes the weighted sum of the members' rows of an image to `mix`.
pub(super) fn mix_into(mix: &mut [f64], held_out: &HeldOut, image: usize, weights: &[f64]) {
    mix.fill(0.0);
    for (member, weight) in weights.iter().enumerate().filter(|it| *it.1 > 0.0) {
        let row = held_out.row(member, image);
        mix.iter_mut().zip(row).for_each(|(sum, p)| *sum += weight * p);
    }
}

/// Adds a prediction to the sums of macro F1, `times` times.
pub(super) fn count(sums: &mut [f64], class: usize, predicted: usize, times: f64) {
    if class == predicted {
        sums[2 * class] += times;
    }
    sums[2 * class + 1] += times;
    sums[2 * predicted + 1] += times;
}
