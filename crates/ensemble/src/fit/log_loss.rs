//! Weights on the simplex with the lowest log loss.
//!
//! f(w) = -1/n Σ_i ln Σ_m w_m q_im, where q_im is member m's probability of image i's true class, is convex.
//! In each step the weight of one member moves to another: from that whose gradient g_m = 1/n Σ_i q_im / Σ_k w_k q_ik
//! is the least to that whose is the greatest, as far as the loss falls (Newton's method on the line). Since
//! Σ_m w_m g_m = 1, the loss is at most max_m g_m - 1 above its minimum: that is when to stop.

use crate::{HeldOut, image_sums::image_sums};

/// How far above its minimum the loss may be.
const TOLERANCE: f64 = 1e-9;

/// The largest number of steps.
const MAX_STEPS: usize = 10_000;

/// Returns the weights; they sum to 1.
pub(super) fn fit(held_out: &HeldOut) -> Vec<f64> {
    let (n_images, n) = (held_out.n_images(), held_out.members.len());
    // As in the metric, a probability of 0 is the machine epsilon.
    let p = |image: usize, member: usize| {
        held_out.row(member, image)[held_out.classes[image]].max(f64::EPSILON)
    };
    let all: Vec<f64> =
        (0..n_images).flat_map(|image| (0..n).map(move |member| p(image, member))).collect();
    let mut weights = vec![1.0 / n as f64; n];
    for _ in 0..MAX_STEPS {
        let mix = |row: &[f64]| row.iter().zip(&weights).map(|(p, w)| p * w).sum::<f64>();
        let gradient = image_sums(n_images, n, |images, sums| {
            for row in all[images.start * n..images.end * n].chunks_exact(n) {
                let scale = 1.0 / (mix(row) * n_images as f64);
                sums.iter_mut().zip(row).for_each(|(sum, p)| *sum += p * scale);
            }
        });
        let members = || (0..n).map(|it| (it, gradient[it]));
        let Some((to, most)) = members().max_by(|a, b| a.1.total_cmp(&b.1)) else { break };
        let used = members().filter(|it| weights[it.0] > 0.0);
        let Some((from, _)) = used.min_by(|a, b| a.1.total_cmp(&b.1)) else { break };
        if most - 1.0 <= TOLERANCE || to == from {
            break;
        }
        // The first and second derivative of the loss, had `share` moved.
        let derivatives = |share: f64| {
            let sums = image_sums(n_images, 2, |images, sums| {
                for row in all[images.start * n..images.end * n].chunks_exact(n) {
                    let by = row[to] - row[from];
                    let ratio = by / (mix(row) + share * by);
                    sums[0] -= ratio;
                    sums[1] += ratio * ratio;
                }
            });
            (sums[0], sums[1])
        };
        let share = zero(weights[from], derivatives);
        if share == weights[from] {
            weights[from] = 0.0;
        } else {
            weights[from] -= share;
        }
        weights[to] += share;
    }
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|it| it / sum).collect()
}

/// Returns where a rising function is 0, between 0 and `most`: `most` if it is below 0 there.
///
/// - `f`: the function and its derivative.
fn zero(most: f64, f: impl Fn(f64) -> (f64, f64)) -> f64 {
    if f(most).0 <= 0.0 {
        return most;
    }
    let (mut low, mut high) = (0.0, most);
    let mut at = 0.0;
    for _ in 0..60 {
        let (value, slope) = f(at);
        if value <= 0.0 {
            low = at
        } else {
            high = at
        }
        let next = at - value / slope;
        let next = if next >= low && next <= high { next } else { (low + high) / 2.0 };
        let is_there = (next - at).abs() <= 1e-12 * most;
        at = next;
        if is_there {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use testkit::{check_close_slices, numbers};

    use super::{fit, zero};
    use crate::fit::fixture::held_out;

    #[test]
    fn the_minimum_of_two_members_is_found() {
        // ln(0.9 w + 0.5 (1 - w)) + ln(0.2 w + 0.8 (1 - w)): 0.4 / (0.5 + 0.4 w) = 0.6 / (0.8 - 0.6 w), so
        // 0.32 - 0.24 w = 0.3 + 0.24 w and w = 1/24.
        check_close_slices(
            &fit(&held_out(&[&[0.9, 0.2], &[0.5, 0.8]])),
            &[1.0 / 24.0, 23.0 / 24.0],
            1e-6,
        );
    }

    #[test]
    fn a_member_that_is_worse_on_every_image_has_no_weight() {
        assert_eq!(fit(&held_out(&[&[0.5, 0.4], &[0.9, 0.8], &[0.2, 0.7]])), [0.0, 1.0, 0.0]);
    }

    #[test]
    fn equal_members_keep_equal_weights() {
        assert_eq!(fit(&held_out(&[&[0.5, 0.4], &[0.5, 0.4]])), [0.5, 0.5]);
        // Certain errors of all members.
        assert_eq!(fit(&held_out(&[&[0.0], &[0.0]])), [0.5, 0.5]);
    }

    #[test]
    fn no_neighbour_has_a_lower_loss() {
        let all: Vec<f64> = numbers("members", 12 * 100).iter().map(|it| it.abs()).collect();
        let members: Vec<&[f64]> = all.chunks(100).collect();
        let loss = |weights: &[f64]| -> f64 {
            let p = |image: usize| -> f64 {
                weights.iter().zip(&members).map(|(w, it)| w * it[image]).sum()
            };
            (0..100).map(|image| -p(image).ln()).sum::<f64>() / 100.0
        };
        let weights = fit(&held_out(&members));
        for to in 0..12 {
            for share in [1e-3, 0.1, 1.0] {
                let mut other: Vec<f64> = weights.iter().map(|it| it * (1.0 - share)).collect();
                other[to] += share;
                assert!(loss(&weights) <= loss(&other) + 1e-9, "{to} {share}");
            }
        }
    }

    #[test]
    fn a_zero_is_found_or_is_beyond_the_end() {
        assert!((zero(1.0, |x| (x * x - 0.25, 2.0 * x + 1e-9)) - 0.5).abs() < 1e-10);
        assert_eq!(zero(0.3, |x| (x - 0.5, 1.0)), 0.3);
    }
}
