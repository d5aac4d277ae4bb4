//! The decision: which class is submitted for the probabilities of an image.
//!
//! By default the most probable joint class. Macro F1 counts a rare class as much as a frequent one, so its best
//! decision is another: the class with the greatest w_c · p_c, where a rare class has a greater weight w_c. For an
//! ordered factor, such as an age, the level is the number of k with P(level ≥ k) ≥ t_k; with t_k = 0.5 that is
//! the median level. The joint class is then the one with the greatest w_c · p_c among those with these levels.

mod search;
mod tune;
mod weights;

use base::{Task, task::Scope};
use metrics::argmax;
use serde::{Deserialize, Serialize};

/// Which class is predicted for the probabilities of an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Decision {
    /// The weight of each joint class; empty for 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub class_weights: Vec<f64>,
    /// The thresholds of ordered factors; a factor without them follows the most probable joint class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<FactorThresholds>,
}

/// What of a decision is tuned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tune {
    /// The weights of the joint classes.
    Classes,
    /// The thresholds of the ordered factors.
    Thresholds,
}

/// The thresholds of one ordered factor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactorThresholds {
    /// The name of the factor, which must be numeric.
    pub factor: String,
    /// For each level after the first, how probable it or a higher one must be.
    pub thresholds: Vec<f64>,
}

impl Decision {
    /// Whether the decision is the most probable class.
    pub fn is_argmax(&self) -> bool {
        self.class_weights.is_empty() && self.thresholds.is_empty()
    }

    /// Returns what does not fit the task, if anything.
    pub fn problem(&self, task: &Task) -> Option<String> {
        let n = task.n_classes();
        let weights = &self.class_weights;
        let are_fine = weights.iter().all(|it| it.is_finite() && *it > 0.0);
        if !(weights.is_empty() || weights.len() == n && are_fine) {
            return Some(format!(
                "`class_weights` takes a positive number for each of the {n} classes, or none"
            ));
        }
        let of_factor = |(position, it): (usize, &FactorThresholds)| {
            let factor = match task.numeric_named(&it.factor) {
                Ok(idx) => &task.factors[idx],
                Err(err) => return Some(err),
            };
            if self.thresholds[..position].iter().any(|other| other.factor == it.factor) {
                return Some(format!("the factor `{}` has thresholds twice", it.factor));
            }
            let n = factor.cuts.len();
            let are_fine =
                it.thresholds.len() == n && it.thresholds.iter().all(|it| (0.0..=1.0).contains(it));
            (!are_fine).then(|| {
                let name = &it.factor;
                format!("the factor `{name}` takes {n} thresholds from 0 to 1")
            })
        };
        self.thresholds.iter().enumerate().find_map(of_factor)
    }

    /// Returns the joint class that is submitted, the first of equals.
    ///
    /// The decision must have no [problem](Decision::problem) with the task.
    pub fn decide(&self, task: &Task, probabilities: &[f64]) -> usize {
        if self.is_argmax() {
            return argmax(probabilities);
        }
        let mut allowed = self.mask(task, probabilities);
        if !self.class_weights.is_empty() {
            allowed.iter_mut().zip(&self.class_weights).for_each(|(p, w)| *p *= w);
        }
        argmax(&allowed)
    }

    /// Returns the probabilities, with that of classes with other levels than the thresholds' replaced by -1.
    fn mask(&self, task: &Task, probabilities: &[f64]) -> Vec<f64> {
        let mut masked = probabilities.to_vec();
        for of_factor in &self.thresholds {
            let Ok(idx) = task.numeric_named(&of_factor.factor) else { continue };
            let scope = Scope::Factor(idx);
            let level = of_factor.level(&task.marginal(probabilities, scope));
            for (class, it) in masked.iter_mut().enumerate() {
                if task.project(class, scope) != level {
                    *it = -1.0;
                }
            }
        }
        masked
    }
}

impl FactorThresholds {
    /// Returns the level, given the probability of each.
    fn level(&self, marginal: &[f64]) -> usize {
        tails(marginal).zip(self.thresholds.iter().rev()).filter(|(tail, t)| tail >= *t).count()
    }
}

/// Returns P(level ≥ k), from the highest level to level 1.
fn tails(marginal: &[f64]) -> impl Iterator<Item = f64> + '_ {
    marginal[1..].iter().rev().scan(0.0, |sum, p| {
        *sum += p;
        Some(*sum)
    })
}

#[cfg(test)]
mod tests;
