//! Combinations: maps from the predictions of several models for an image to one.
//!
//! Votes are weighted means of what each member votes for: its probabilities, its most probable class, or the
//! ranks of its probabilities. A stack is a model of its own on the probabilities of all members.

mod hard_vote;
mod rank_average;
mod soft_vote;
mod stack;

use base::hint;
use rayon::prelude::*;
pub use soft_vote::SoftVote;
pub use stack::Stack;

use crate::{Fit, HeldOut};

base::choice! {
    /// How the members of an ensemble are combined.
    pub enum CombineConfig: dyn Combine {
        /// The weighted mean of the members' probabilities.
        "soft_vote" => SoftVote(soft_vote::SoftVote),
        /// The weighted share of members whose most probable class it is.
        "hard_vote" => HardVote(hard_vote::HardVote),
        /// The weighted mean of ranks among the member's held-out probabilities of the class.
        "rank_average" => RankAverage(rank_average::RankAverage),
        /// Multinomial logistic regression on the log-probabilities of all members (Wolpert, 1992).
        "stack" => Stack(stack::Stack),
    }
}

/// A map from the probabilities of several members for an image to one distribution.
pub trait Combine: Sync {
    /// Returns the combined probabilities of one image; they sum to 1. NaN if one of the members' is.
    ///
    /// - `members`: the probabilities of the joint classes by each member.
    fn combine(&self, members: &[&[f64]]) -> Vec<f64>;

    /// Returns what does not fit so many members and classes, if anything.
    fn problem(&self, n_members: usize, n_classes: usize) -> Option<String>;

    /// Returns the weight of each member, empty for equal ones; `None` where members have none.
    fn weights(&self) -> Option<&[f64]>;

    /// Returns the same combination with everything that is fitted fitted anew.
    ///
    /// # Errors
    /// The settings of the fit do not apply, or the problem is too large.
    fn fit(&self, held_out: &HeldOut, how: &Fit) -> Result<CombineConfig, String>;

    /// Whether such a fit depends on the held-out predictions.
    fn is_fitted(&self, how: &Fit) -> bool;
}

impl CombineConfig {
    /// Returns a kind with its default settings.
    ///
    /// # Errors
    /// There is no such kind.
    pub fn of_kind(kind: &str) -> Result<CombineConfig, String> {
        let found = CombineConfig::zoo().into_iter().find(|it| it.0 == kind);
        found.map(|it| it.1).ok_or_else(|| {
            let kinds: Vec<&str> = CombineConfig::KINDS.iter().map(|it| it.0).collect();
            format!("there is no combination `{kind}`: {}", hint(kind, &kinds))
        })
    }

    /// Returns this combination with everything that is fitted fitted on held-out predictions: the weights as
    /// `how` says, ranks and a stack always.
    ///
    /// # Errors
    /// There are no members or images, or the settings of the fit do not apply to this combination.
    pub fn fit(&self, held_out: &HeldOut, how: &Fit) -> Result<CombineConfig, String> {
        if held_out.members.is_empty() || held_out.n_images() == 0 {
            return Err("there are no held-out predictions to combine".to_owned());
        }
        let is_finite = |row: &Vec<f64>| row.par_iter().all(|it| it.is_finite());
        if let Some(member) = held_out.members.iter().position(|it| !is_finite(it)) {
            return Err(format!(
                "member {}: a held-out probability is not finite (NaN or infinite): leave it out",
                member + 1
            ));
        }
        let fitted = self.get().fit(held_out, how)?;
        let problem = fitted.get().problem(held_out.members.len(), held_out.task.n_classes());
        problem.map_or(Ok(fitted), Err)
    }
}

/// Returns the weighted mean of rows; with equal weights if there are none.
///
/// With the operations of [`base::Task::join`] in their order, and so the same bits.
fn mean<'a>(rows: impl ExactSizeIterator<Item = &'a [f64]>, weights: &[f64]) -> Vec<f64> {
    let total: f64 = match weights {
        [] => rows.len() as f64,
        weights => weights.iter().sum(),
    };
    let mut mean = Vec::new();
    for (idx, row) in rows.enumerate() {
        mean.resize(row.len(), 0.0);
        let weight = weights.get(idx);
        for (sum, p) in mean.iter_mut().zip(row) {
            *sum += weight.map_or(*p, |it| it * p) / total;
        }
    }
    mean
}

/// Returns what is wrong with the weights of members, if anything.
fn problem_of_weights(weights: &[f64], n_members: usize) -> Option<String> {
    if weights.is_empty() {
        return None;
    }
    if weights.len() != n_members {
        return Some(format!(
            "`weights` are {n_members} numbers, one for each member, not {}",
            weights.len()
        ));
    }
    let is_fine = weights.iter().all(|it| it.is_finite() && *it >= 0.0);
    let is_fine = is_fine && weights.iter().sum::<f64>() > 0.0;
    (!is_fine)
        .then(|| format!("`weights` are 0 or more, and some of them more than 0, not {weights:?}"))
}
