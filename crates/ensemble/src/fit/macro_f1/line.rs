//! The best weight of one member, the others keeping their ratios.
//!
//! With v the weight of the member, the votes of an image for class c are (1 - v) r_c + v p_c, where p are those of
//! the member and r those of the others: straight lines in v, whose upper envelope is the predicted class.

use metrics::{MacroF1, Sums as _, argmax};
use rayon::prelude::*;

use crate::{
    HeldOut,
    fit::votes::{EQUAL, count, mix_into},
};

/// Intervals that are narrower are passed over.
const NARROW: f64 = 1e-9;

/// The number of images of one piece of work.
const CHUNK: usize = 2048;

/// The predicted class of an image changes at a weight.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Change {
    at: f64,
    class: u32,
    from: u32,
    to: u32,
}

/// Returns the weights with the best weight of `member`, of equals the nearest to what it is.
pub(super) fn best(held_out: &HeldOut, weights: &[f64], member: usize) -> Vec<f64> {
    let others = others(weights, member);
    let (sums, changes) = changes(held_out, &others, member);
    let weight = sweep(sums, &changes, weights[member]);
    let mut best: Vec<f64> = others.iter().map(|it| it * (1.0 - weight)).collect();
    best[member] = weight;
    best
}

/// Returns the weights of the other members, which sum to 1; equal ones if all are 0.
fn others(weights: &[f64], member: usize) -> Vec<f64> {
    let mut others = weights.to_vec();
    others[member] = 0.0;
    let sum: f64 = others.iter().sum();
    match sum > 0.0 {
        true => others.iter_mut().for_each(|it| *it /= sum),
        false => {
            others.fill(1.0 / (weights.len() - 1) as f64);
            others[member] = 0.0;
        }
    }
    others
}

/// Returns the sums of macro F1 at weight 0, and all changes of a prediction, by rising weight.
fn changes(held_out: &HeldOut, others: &[f64], member: usize) -> (Vec<f64>, Vec<Change>) {
    let (n_images, n_classes) = (held_out.n_images(), held_out.task.n_classes());
    let n_sums = MacroF1::DEFAULT.n_sums(n_classes);
    let of_chunk = |chunk: usize| {
        let (mut sums, mut changes) = (vec![0.0; n_sums], Vec::new());
        let (mut from, mut slopes) = (vec![0.0; n_classes], vec![0.0; n_classes]);
        for image in chunk * CHUNK..n_images.min((chunk + 1) * CHUNK) {
            mix_into(&mut from, held_out, image, others);
            let to = held_out.row(member, image);
            slopes
                .iter_mut()
                .zip(to.iter().zip(&from))
                .for_each(|(it, (to, from))| *it = to - from);
            let class = held_out.classes[image];
            count(&mut sums, class, argmax(&from), 1.0);
            envelope(&from, &slopes, |at, from, to| {
                changes.push(Change { at, class: class as u32, from: from as u32, to: to as u32 });
            });
        }
        (sums, changes)
    };
    let chunks: Vec<(Vec<f64>, Vec<Change>)> =
        (0..n_images.div_ceil(CHUNK)).into_par_iter().map(of_chunk).collect();
    let (mut sums, mut changes) = (vec![0.0; n_sums], Vec::new());
    for (own, of_chunk) in chunks {
        sums.iter_mut().zip(own).for_each(|(sum, it)| *sum += it);
        changes.extend(of_chunk);
    }
    // Stable, so the order does not depend on the number of threads.
    changes.par_sort_by(|a, b| a.at.total_cmp(&b.at));
    (sums, changes)
}

/// Calls `add` with every point between 0 and 1 where the greatest line changes, and the lines before and after.
fn envelope(values: &[f64], slopes: &[f64], mut add: impl FnMut(f64, usize, usize)) {
    let (mut at, mut top) = (0.0, argmax(values));
    loop {
        // Of the lines that rise faster, the first to meet the top one; of those that meet it at once, the fastest.
        let mut next: Option<(f64, usize)> = None;
        for (class, (value, slope)) in values.iter().zip(slopes).enumerate() {
            let rise = slope - slopes[top];
            if rise <= 0.0 {
                continue;
            }
            let meets = ((values[top] - value) / rise).max(at);
            let is_next = match next {
                None => true,
                Some((first, it)) => meets < first || meets == first && *slope > slopes[it],
            };
            if meets <= 1.0 && is_next {
                next = Some((meets, class));
            }
        }
        let Some((meets, class)) = next else { return };
        add(meets, top, class);
        (at, top) = (meets, class);
    }
}

/// Returns the weight with the greatest macro F1; of equals the nearest to `current`.
fn sweep(sums: Vec<f64>, changes: &[Change], current: f64) -> f64 {
    let mut running = Running::new(sums);
    let (mut best, mut best_score) = (current, f64::NEG_INFINITY);
    let mut begin = 0.0;
    let mut visit = |begin: f64, end: f64, score: f64| {
        if end - begin <= NARROW {
            return;
        }
        let is_here = begin <= current && current <= end;
        let weight = if is_here { current } else { f64::midpoint(begin, end) };
        let is_nearer = (weight - current).abs() < (best - current).abs();
        if score > best_score + EQUAL || score > best_score - EQUAL && is_nearer {
            (best, best_score) = (weight, score);
        }
    };
    for change in changes {
        if change.at > begin {
            visit(begin, change.at, running.score());
            begin = change.at;
        }
        running.apply(change);
    }
    visit(begin, 1.0, running.score());
    best
}

/// Macro F1, updated with each change instead of computed anew.
struct Running {
    /// As in [`MacroF1`].
    sums: Vec<f64>,
    /// The sum of F1 over the classes that take part, and their number.
    total: f64,
    n: f64,
}

impl Running {
    fn new(sums: Vec<f64>) -> Running {
        let mut running = Running { sums, total: 0.0, n: 0.0 };
        (0..running.sums.len() / 2).for_each(|class| running.add(class, 1.0));
        running
    }

    /// Adds the F1 of a class to the sum `times` times.
    fn add(&mut self, class: usize, times: f64) {
        let (hits, both) = (self.sums[2 * class], self.sums[2 * class + 1]);
        if both > 0.0 {
            self.total += times * 2.0 * hits / both;
            self.n += times;
        }
    }

    fn apply(&mut self, change: &Change) {
        let Change { class, from, to, .. } = *change;
        let [class, from, to] = [class, from, to].map(|it| it as usize);
        [from, to].into_iter().for_each(|it| self.add(it, -1.0));
        // The true class's own count stays.
        if class == from {
            self.sums[2 * from] -= 1.0;
        }
        if class == to {
            self.sums[2 * to] += 1.0;
        }
        self.sums[2 * from + 1] -= 1.0;
        self.sums[2 * to + 1] += 1.0;
        [from, to].into_iter().for_each(|it| self.add(it, 1.0));
    }

    fn score(&self) -> f64 {
        if self.n > 0.0 { self.total / self.n } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use testkit::check_close_slices;

    use super::{Change, envelope, others, sweep};

    #[test]
    fn the_envelope_of_three_lines_has_two_corners() {
        // 1 - v = 0.7 at 0.3, and 0.7 = 0.4 + v / 2 at 0.6.
        let mut corners = Vec::new();
        envelope(&[1.0, 0.7, 0.4], &[-1.0, 0.0, 0.5], |at, from, to| corners.push((at, from, to)));
        let at: Vec<f64> = corners.iter().map(|it| it.0).collect();
        check_close_slices(&at, &[0.3, 0.6], 1e-12);
        assert_eq!(corners.iter().map(|it| (it.1, it.2)).collect::<Vec<_>>(), [(0, 1), (1, 2)]);
    }

    #[test]
    fn lines_that_begin_together_change_at_0() {
        let mut corners = Vec::new();
        envelope(&[0.5, 0.5, 0.1], &[0.0, 0.2, 0.0], |at, from, to| corners.push((at, from, to)));
        assert_eq!(corners, [(0.0, 0, 1)]);
    }

    #[test]
    fn the_centre_of_the_best_interval_is_taken() {
        // Two images of classes 0 and 1. At weight 0 both are predicted as 0; from 0.2 the second is 1, from 0.6 the
        // first is 1 as well. So all is right between 0.2 and 0.6.
        let sums = vec![1.0, 3.0, 0.0, 1.0];
        let change = |at, class| Change { at, class, from: 0, to: 1 };
        let changes = [change(0.2, 1), change(0.6, 0)];
        assert!((sweep(sums.clone(), &changes, 0.9) - 0.4).abs() < 1e-12);
        assert_eq!(sweep(sums.clone(), &changes, 0.3), 0.3);
        // Nothing changes: the weight stays.
        assert_eq!(sweep(sums, &[], 0.9), 0.9);
    }

    #[test]
    fn the_others_keep_their_ratios() {
        check_close_slices(&others(&[0.5, 0.1, 0.4], 0), &[0.0, 0.2, 0.8], 1e-12);
        assert_eq!(others(&[1.0, 0.0, 0.0], 0), [0.0, 0.5, 0.5]);
    }
}
