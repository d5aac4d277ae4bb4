//! Decisions with the greatest macro F1 on held-out images, by coordinate search.
//!
//! One number is changed at a time, a factor's threshold or a class's weight, to its best value with all others
//! fixed; this is repeated until macro F1 no longer rises. It is deterministic; the optimum is one of single
//! numbers, not of all at once.
//!
//! What is found fits its own images too well, and more so with few: score it nested.

use base::task::Scope;
use rayon::prelude::*;

use super::{
    search::{Change, MAX_PASSES, RISE, Range, Scores},
    tails,
    weights::fit_weights,
};
use crate::{Decision, FactorThresholds, HeldOut, Tune};

/// The thresholds that are tried, from that of the median level.
const THRESHOLD: Range = Range { default: 0.5, low: 0.01, high: 0.99, is_factor: false };

impl Decision {
    /// Returns the decision with the greatest macro F1 of the first member: the most probable class if nothing is
    /// better. Thresholds are tuned before classes.
    pub fn fit(tune: &[Tune], held_out: &HeldOut) -> Decision {
        let mut decision = Decision::default();
        if tune.contains(&Tune::Thresholds) {
            for factor in held_out.task.numeric() {
                let with = fit_thresholds(&decision, factor, held_out);
                decision = better(decision, with, held_out);
            }
        }
        if tune.contains(&Tune::Classes) && held_out.task.n_classes() > 1 {
            let with = fit_weights(&decision, held_out);
            decision = better(decision, with, held_out);
        }
        decision
    }
}

/// Returns the macro F1 of a decision on the first member.
fn macro_f1(decision: &Decision, held_out: &HeldOut) -> f64 {
    let decide = |image| decision.decide(&held_out.task, held_out.row(0, image));
    let predicted: Vec<usize> = (0..held_out.n_images()).into_par_iter().map(decide).collect();
    Scores::new(held_out, &predicted).macro_f1()
}

/// Returns `new` if its macro F1 is greater than that of `old`.
fn better(old: Decision, new: Decision, held_out: &HeldOut) -> Decision {
    match macro_f1(&new, held_out) > macro_f1(&old, held_out) + RISE {
        true => new,
        false => old,
    }
}

/// Returns a decision with the best thresholds of one factor as well.
fn fit_thresholds(without: &Decision, factor: usize, held_out: &HeldOut) -> Decision {
    let of_factor = &held_out.task.factors[factor];
    let with = |thresholds: &[f64]| {
        let mut with = without.clone();
        let (factor, thresholds) = (of_factor.name.clone(), thresholds.to_vec());
        with.thresholds.push(FactorThresholds { factor, thresholds });
        with
    };
    let mut thresholds = vec![THRESHOLD.default; of_factor.cuts.len()];
    let mut score = macro_f1(&with(&thresholds), held_out);
    for _ in 0..MAX_PASSES {
        let before = score;
        for k in 0..thresholds.len() {
            let at = |t: f64| {
                let mut thresholds = thresholds.clone();
                thresholds[k] = t;
                with(&thresholds)
            };
            let (scores, changes) =
                changes(&at(f64::NEG_INFINITY), &at(f64::INFINITY), factor, k, held_out);
            let (best, its_score) = THRESHOLD.best(scores, changes);
            if its_score > score + RISE {
                (thresholds[k], score) = (best, its_score);
            }
        }
        if score == before {
            break;
        }
    }
    with(&thresholds)
}

/// Returns the scores when every image reaches a threshold, and the changes when it rises.
///
/// - `reached`, `missed`: the decisions in which every image reaches it, and none.
/// - `k`: the position of the threshold, which is that of level k + 1.
fn changes(
    reached: &Decision,
    missed: &Decision,
    factor: usize,
    k: usize,
    held_out: &HeldOut,
) -> (Scores, Vec<Change>) {
    let task = &held_out.task;
    let change = |image: usize| {
        let row = held_out.row(0, image);
        let marginal = task.marginal(row, Scope::Factor(factor));
        // Tails begin with that of the highest level.
        let at = tails(&marginal).nth(marginal.len() - 2 - k).unwrap_or_default();
        let (from, to) = (reached.decide(task, row), missed.decide(task, row));
        Change { at, class: held_out.classes[image], from, to }
    };
    let changes: Vec<Change> = (0..held_out.n_images()).into_par_iter().map(change).collect();
    let predicted: Vec<usize> = changes.iter().map(|it| it.from).collect();
    (Scores::new(held_out, &predicted), changes)
}
