//! Weights on the simplex with the greatest macro F1.
//!
//! Macro F1 is constant almost everywhere, and not concave. Its candidates are equal weights, the weights with the
//! lowest log loss, and a grid over the simplex; the best few are refined one member after the other, until
//! nothing changes; no guarantee of the greatest score of all. Along one weight, the others keeping their ratios, the votes for each class are straight lines,
//! so the best value is found exactly, from the points where the greatest line of some image changes: Och,
//! "Minimum Error Rate Training in Statistical Machine Translation", 2003. Of the values of an interval with the
//! same score its centre is taken.
//!
//! What comes later replaces what came before only by a greater score, so equal weights stay where no others are
//! better.

mod line;

use metrics::{MacroF1, Sums as _, argmax};

use super::{
    log_loss,
    votes::{EQUAL, count, mix_into},
};
use crate::{HeldOut, image_sums::image_sums};

/// The number of candidates that are refined.
const N_REFINED: usize = 3;

/// The largest number of grid points, and of the multiplications that they take.
const MOST_POINTS: usize = 300;
const MOST_PRODUCTS: usize = 4_000_000_000;

/// The finest grid has weights that are multiples of one over this.
const FINEST: usize = 20;

/// The largest number of rounds over all members.
const MAX_ROUNDS: usize = 20;

/// Returns the weights; they sum to 1.
pub(super) fn fit(held_out: &HeldOut) -> Vec<f64> {
    let n = held_out.members.len();
    let mut candidates = vec![vec![1.0 / n as f64; n], log_loss::fit(held_out)];
    candidates.extend(grid(n, parts(held_out)));
    let scores = scores(held_out, &candidates);
    let mut ranked: Vec<(f64, Vec<f64>)> = scores.into_iter().zip(candidates).collect();
    // Of equal scores the first stays first.
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut best = ranked[0].clone();
    for it in ranked.into_iter().take(N_REFINED) {
        let refined = refine(held_out, it);
        if refined.0 > best.0 + EQUAL {
            best = refined;
        }
    }
    best.1
}

/// Improves weights, one after the other, until nothing changes.
fn refine(held_out: &HeldOut, (mut score, mut weights): (f64, Vec<f64>)) -> (f64, Vec<f64>) {
    for _ in 0..MAX_ROUNDS {
        let before = score;
        for member in 0..weights.len() {
            let next = line::best(held_out, &weights, member);
            let next_score = scores(held_out, std::slice::from_ref(&next))[0];
            if next_score > score + EQUAL {
                (score, weights) = (next_score, next);
            }
        }
        if score == before {
            break;
        }
    }
    (score, weights)
}

/// Returns the macro F1 of each of several weights.
fn scores(held_out: &HeldOut, candidates: &[Vec<f64>]) -> Vec<f64> {
    let n_classes = held_out.task.n_classes();
    let n_sums = MacroF1::DEFAULT.n_sums(n_classes);
    let sums = image_sums(held_out.n_images(), candidates.len() * n_sums, |images, sums| {
        let mut mix = vec![0.0; n_classes];
        for image in images {
            for (weights, sums) in candidates.iter().zip(sums.chunks_exact_mut(n_sums)) {
                mix_into(&mut mix, held_out, image, weights);
                count(sums, held_out.classes[image], argmax(&mix), 1.0);
            }
        }
    });
    sums.chunks_exact(n_sums).map(|it| MacroF1::DEFAULT.of(it)).collect()
}

/// Returns how many parts the grid divides a weight of 1 into: as many as there is time for, but at least 1.
fn parts(held_out: &HeldOut) -> usize {
    let n = held_out.members.len();
    let of_point = held_out.n_images().saturating_mul(held_out.task.n_classes()).saturating_mul(n);
    let most = MOST_POINTS.min(MOST_PRODUCTS / of_point.max(1));
    (2..=FINEST).take_while(|&parts| n_points(n, parts) <= most).last().unwrap_or(1)
}

/// Returns the number of grid points: (parts + n - 1) over (n - 1).
fn n_points(n: usize, parts: usize) -> usize {
    (1..=parts).fold(1, |points: usize, k| points.saturating_mul(n - 1 + k) / k)
}

/// Returns all weights of `n` members that are multiples of 1 / `parts` and sum to 1.
fn grid(n: usize, parts: usize) -> Vec<Vec<f64>> {
    let mut all = Vec::new();
    let mut counts = vec![0; n];
    add_points(&mut all, &mut counts, 0, parts, parts);
    all
}

/// Adds the points whose counts up to `at` are given, and of which `left` are left.
fn add_points(all: &mut Vec<Vec<f64>>, counts: &mut [usize], at: usize, left: usize, parts: usize) {
    if at + 1 == counts.len() {
        counts[at] = left;
        all.push(counts.iter().map(|&it| it as f64 / parts as f64).collect());
        return;
    }
    for own in (0..=left).rev() {
        counts[at] = own;
        add_points(all, counts, at + 1, left - own, parts);
    }
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};
    use testkit::numbers;

    use super::{fit, grid, n_points, parts, scores};
    use crate::HeldOut;

    /// Images of four classes by members of different quality.
    fn held_out(n_images: usize, n_members: usize) -> HeldOut {
        let classes: Vec<usize> = (0..n_images).map(|it| it * 5 % 11 % 4).collect();
        let member = |member: usize| {
            let noise = numbers(&format!("member {member}"), n_images * 4);
            let row = |image: usize| {
                let lift = 0.4 + 0.1 * member as f64;
                let of = |class: usize| {
                    let is_true = f64::from(class == classes[image]);
                    noise[image * 4 + class].abs() + lift * is_true
                };
                let row: Vec<f64> = (0..4).map(of).collect();
                let sum: f64 = row.iter().sum();
                row.into_iter().map(move |it| it / sum)
            };
            (0..n_images).flat_map(row).collect()
        };
        HeldOut {
            task: Task::new(vec![Factor::new("class", &["a", "b", "c", "d"])]),
            members: (0..n_members).map(member).collect(),
            groups: (0..n_images).collect(),
            folds: vec![0; n_images],
            classes,
        }
    }

    #[test]
    fn the_grid_covers_the_simplex() {
        let points = grid(3, 4);
        assert_eq!((points.len(), n_points(3, 4)), (15, 15));
        assert_eq!(points[0], [1.0, 0.0, 0.0]);
        assert_eq!(points[14], [0.0, 0.0, 1.0]);
        assert!(points.iter().all(|it| it.iter().sum::<f64>() == 1.0));
    }

    #[test]
    fn the_grid_is_coarser_where_there_is_more() {
        // (7 + 3) over 3 = 120 points, (8 + 3) over 3 = 165, (9 + 3) over 3 = 220, (10 + 3) over 3 = 286.
        assert_eq!(parts(&held_out(100, 4)), 10);
        assert_eq!(parts(&held_out(100, 2)), 20);
        assert_eq!(parts(&held_out(1, 400)), 1);
    }

    #[test]
    fn nothing_on_a_fine_grid_is_better() {
        let held_out = held_out(300, 3);
        let weights = fit(&held_out);
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{weights:?}");
        let own = scores(&held_out, &[weights])[0];
        let others = scores(&held_out, &grid(3, 40));
        let best = others.iter().copied().fold(0.0, f64::max);
        assert!(own >= best - 1e-12, "{own} beside {best}");
    }

    #[test]
    fn equal_weights_stay_where_no_others_are_better() {
        let mut held_out = held_out(50, 2);
        held_out.members[1] = held_out.members[0].clone();
        assert_eq!(fit(&held_out), [0.5, 0.5]);
    }
}
