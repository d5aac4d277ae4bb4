//! Greedy selection with replacement: Caruana et al., "Ensemble Selection from Libraries of Models", 2004.
//!
//! The bag begins empty. In each of [`N_ROUNDS`] rounds the member is added with which the mean of the bag scores
//! best, the first of equals; members may be added again. The bag of the round with the best score is kept, the
//! first of equals, and the weight of a member is its share of the bag. Without the paper's bags of random
//! sub-libraries, which need many more models than a few.

use metrics::{MacroF1, Sums as _};
use rayon::prelude::*;

use super::{
    by::By,
    votes::{EQUAL, count},
};
use crate::{HeldOut, image_sums::image_sums};

/// The number of rounds.
const N_ROUNDS: usize = 50;

/// Returns the weights; they sum to 1.
pub(super) fn fit(held_out: &HeldOut, by: By) -> Vec<f64> {
    let n = held_out.members.len();
    let mut bag = Bag::new(held_out, by);
    let mut counts = vec![0.0; n];
    let (mut best, mut best_score) = (counts.clone(), f64::NEG_INFINITY);
    for _ in 0..N_ROUNDS {
        let scores = bag.scores();
        let (mut member, mut score) = (0, f64::NEG_INFINITY);
        for (idx, &it) in scores.iter().enumerate() {
            if it > score + EQUAL {
                (member, score) = (idx, it);
            }
        }
        bag.add(member);
        counts[member] += 1.0;
        if score > best_score + EQUAL {
            (best, best_score) = (counts.clone(), score);
        }
    }
    let sum: f64 = best.iter().sum();
    best.iter().map(|it| it / sum).collect()
}

/// The sum of the rows of the members in the bag.
struct Bag<'a> {
    held_out: &'a HeldOut,
    by: By,
    n_added: usize,
    /// `[image * n_columns + column]`
    sums: Vec<f64>,
    /// Of an image the classes that the score depends on: the true one, or all.
    n_columns: usize,
}

impl<'a> Bag<'a> {
    fn new(held_out: &'a HeldOut, by: By) -> Bag<'a> {
        let n_columns = match by {
            By::LogLoss => 1,
            By::MacroF1 => held_out.task.n_classes(),
        };
        let sums = vec![0.0; held_out.n_images() * n_columns];
        Bag { held_out, by, n_added: 0, sums, n_columns }
    }

    /// Returns the columns of a member's row.
    fn row(&self, member: usize, image: usize) -> &'a [f64] {
        let row = self.held_out.row(member, image);
        match self.by {
            By::LogLoss => &row[self.held_out.classes[image]..][..1],
            By::MacroF1 => row,
        }
    }

    fn add(&mut self, member: usize) {
        let (mut sums, n) = (std::mem::take(&mut self.sums), self.n_columns);
        sums.par_chunks_mut(n).enumerate().for_each(|(image, sums)| {
            sums.iter_mut().zip(self.row(member, image)).for_each(|(sum, p)| *sum += p);
        });
        self.sums = sums;
        self.n_added += 1;
    }

    /// Returns the score with each member added; greater is better.
    fn scores(&self) -> Vec<f64> {
        let (n_members, n_images) = (self.held_out.members.len(), self.held_out.n_images());
        let n_sums = match self.by {
            By::LogLoss => 1,
            By::MacroF1 => MacroF1::DEFAULT.n_sums(self.n_columns),
        };
        let n = (self.n_added + 1) as f64;
        let sums = image_sums(n_images, n_members * n_sums, |images, sums| {
            for image in images {
                let bag = &self.sums[image * self.n_columns..][..self.n_columns];
                let class = self.held_out.classes[image];
                for (member, sums) in sums.chunks_exact_mut(n_sums).enumerate() {
                    let row = self.row(member, image);
                    match self.by {
                        By::LogLoss => {
                            let p = (bag[0] + row[0]) / n;
                            sums[0] += p.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln();
                        }
                        By::MacroF1 => {
                            let predicted = argmax_of_sum(bag, row);
                            count(sums, class, predicted, 1.0);
                        }
                    }
                }
            }
        });
        let score = |it: &[f64]| match self.by {
            By::LogLoss => it[0] / n_images as f64,
            By::MacroF1 => MacroF1::DEFAULT.of(it),
        };
        sums.chunks_exact(n_sums).map(score).collect()
    }
}

/// Returns the index of the greatest sum, the first of equals.
fn argmax_of_sum(a: &[f64], b: &[f64]) -> usize {
    let (mut best, mut most) = (0, f64::NEG_INFINITY);
    for (idx, (a, b)) in a.iter().zip(b).enumerate() {
        if a + b > most {
            (best, most) = (idx, a + b);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::{By, fit};
    use crate::fit::fixture::held_out;

    #[test]
    fn the_best_member_comes_first_and_only_what_helps_is_added() {
        // The first is right on all images, so the first round's score is the best there is.
        let held_out = held_out(&[&[0.6, 0.6, 0.6], &[0.9, 0.9, 0.1], &[0.1, 0.9, 0.9]]);
        assert_eq!(fit(&held_out, By::MacroF1), [1.0, 0.0, 0.0]);
    }

    #[test]
    fn the_log_loss_is_balanced_by_adding_members_again() {
        // -ln(0.9 w + 0.3 (1 - w)) - ln(0.3 w + 0.9 (1 - w)) is least at w = 1/2.
        let held_out = held_out(&[&[0.9, 0.3], &[0.3, 0.9]]);
        assert_eq!(fit(&held_out, By::LogLoss), [0.5, 0.5]);
    }

    #[test]
    fn equal_members_give_the_first() {
        let held_out = held_out(&[&[0.6, 0.4], &[0.6, 0.4]]);
        for by in [By::LogLoss, By::MacroF1] {
            assert_eq!(fit(&held_out, by), [1.0, 0.0], "{by:?}");
        }
    }
}
