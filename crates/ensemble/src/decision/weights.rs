//! Class weights with the greatest macro F1.
//!
//! With all other weights fixed, an image is predicted to be of class c when w_c is greater than
//! max_{j ≠ c} w_j p_j / p_c. The two greatest w_j p_j of every image are kept, so that the maximum is at hand.

use rayon::prelude::*;

use super::search::{Change, MAX_PASSES, RISE, Range, Scores};
use crate::{Decision, HeldOut};

/// The weights that are tried.
const WEIGHT: Range = Range { default: 1.0, low: 0.05, high: 20.0, is_factor: true };

/// Returns a decision with the best class weights as well.
pub(super) fn fit_weights(without: &Decision, held_out: &HeldOut) -> Decision {
    let task = &held_out.task;
    let n_classes = task.n_classes();
    // Classes with other levels than those of the thresholds are out of the question.
    let masked;
    let choices = match without.thresholds.is_empty() {
        true => held_out,
        false => {
            masked = held_out.map(|rows| without.mask(task, rows[0]));
            &masked
        }
    };
    let mut class_weights = vec![1.0; n_classes];
    let mut tops: Vec<Top> = (0..held_out.n_images())
        .into_par_iter()
        .map(|image| Top::of(choices.row(0, image), &class_weights))
        .collect();
    let predicted: Vec<usize> = tops.iter().map(|it| it.0[0].0).collect();
    let mut score = Scores::new(choices, &predicted).macro_f1();
    for _ in 0..MAX_PASSES {
        let before = score;
        for class in 0..n_classes {
            let (best, its_score) = best_weight(class, &tops, choices);
            if its_score > score + RISE {
                (class_weights[class], score) = (best, its_score);
                tops.par_iter_mut().enumerate().for_each(|(image, top)| {
                    top.update(class, choices.row(0, image), &class_weights);
                });
            }
        }
        if score == before {
            break;
        }
    }
    Decision { class_weights, ..without.clone() }
}

/// Returns the best weight of one class, all others fixed, with its macro F1.
fn best_weight(class: usize, tops: &[Top], choices: &HeldOut) -> (f64, f64) {
    let change = |(image, top): (usize, &Top)| {
        let (rival, weighted) = top.rival(class);
        let p = choices.row(0, image)[class];
        // Without any probability it is never predicted.
        let (at, to) = if p > 0.0 { (weighted / p, class) } else { (0.0, rival) };
        Change { at, class: choices.classes[image], from: rival, to }
    };
    let changes: Vec<Change> = tops.par_iter().enumerate().map(change).collect();
    let predicted: Vec<usize> = changes.iter().map(|it| it.from).collect();
    WEIGHT.best(Scores::new(choices, &predicted), changes)
}

/// The two classes of an image with the greatest weighted probabilities; the first of equals.
#[derive(Clone, Copy)]
struct Top([(usize, f64); 2]);

impl Top {
    fn of(row: &[f64], weights: &[f64]) -> Top {
        let mut top = [(0, f64::NEG_INFINITY); 2];
        for (class, (p, w)) in row.iter().zip(weights).enumerate() {
            let it = (class, p * w);
            if it.1 > top[0].1 {
                top = [it, top[0]];
            } else if it.1 > top[1].1 {
                top[1] = it;
            }
        }
        Top(top)
    }

    /// Follows a change of the weight of one class.
    fn update(&mut self, class: usize, row: &[f64], weights: &[f64]) {
        let [first, second] = self.0;
        let is_out = class != first.0 && class != second.0;
        if is_out && row[class] * weights[class] < second.1 {
            return;
        }
        *self = Top::of(row, weights);
    }

    /// Returns the greatest of the other classes, with its weighted probability.
    fn rival(&self, class: usize) -> (usize, f64) {
        let [first, second] = self.0;
        if first.0 == class { second } else { first }
    }
}
