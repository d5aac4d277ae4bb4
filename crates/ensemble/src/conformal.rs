//! Conformal prediction: sets of classes that hold the true one with a given probability.
//!
//! The score of a class for an image is 1 - p; the set of an image holds the classes whose scores are not unusual
//! among those of the true classes of held-out images:
//!
//! {y : Σ_i w_i · [s_i < s(x, y)] < level}.
//!
//! **By group.** Images of one person are not exchangeable, people are. So each of G groups has the same total
//! weight 1 / (G + 1), whatever its number of images: w_i = 1 / ((G + 1) · n_g). It is the pooled method of Dunn,
//! Wasserman and Ramdas, "Distribution-Free Prediction Sets for Two-Layer Hierarchical Models", 2022, with the
//! weight 1 / (G + 1) left for the new group, which makes it exact for any G: Lee, Barber and Willett,
//! "Distribution-Free Inference with Hierarchical Data", 2023. What it promises is for an image of a new group,
//! averaged over groups: not for every group, nor for every class.
//!
//! **Split**: the held-out groups trained nothing that predicts. The set holds the true class with probability
//! `level` at least. (What is fitted on the same groups weakens that: one number fitted on many groups next to
//! nothing, many numbers fitted on few groups a lot. [`Conformal::is_fitted`] says whether something was.)
//!
//! **CV+**: the images of each fold are held out of the model of that fold only, and s(x, y) above is that of the
//! model that held image i out. The promise is 2 · level - 1; in practice the sets hold as often as split ones:
//! Romano, Sesia and Candès, "Classification with Valid and Adaptive Coverage", 2020, whose argument holds for the
//! weights of groups (Lee, Barber and Willett). With K folds of equal size, not as many as groups, it is less by at
//! most (1 - K / G) / (K + 1).
//!
//! The most probable class is always in the set, which only makes it hold the true class more often: an empty set
//! helps nobody.

mod coverage;

use std::collections::BTreeMap;

use base::task::Unit;
use metrics::argmax;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::HeldOut;

/// Scores of held-out images, from which the set of an image follows, for any level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conformal {
    /// The number of held-out groups.
    pub n_groups: usize,
    /// Whether weights, a calibration or a decision were fitted on the same groups, which weakens the promise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_fitted: bool,
    /// The scores of each fold's held-out images: one for `split`, several for CV+.
    pub folds: Vec<Scores>,
}

/// The weighted scores of the true classes of some held-out images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// The scores, rising.
    pub scores: Vec<f64>,
    /// The total weight of the images with this score or a lower one.
    pub weights: Vec<f64>,
}

/// How often sets of one level hold the true class, and how large they are; all averaged over groups.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Coverage {
    /// The level.
    pub level: f64,
    /// The share of images whose set holds the true class.
    pub covered: f64,
    /// The mean number of classes in a set.
    pub mean_size: f64,
    /// The share of sets of one class.
    pub single: f64,
}

/// The most scores that are stored, of all folds. Of more, some are raised to the next one that is stored, which
/// can only add classes to a set.
const MAX_SCORES: usize = 4000;

/// What rounding may add to a sum of weights.
const ROUNDING: f64 = 1e-9;

impl Conformal {
    /// Returns the scores of the first member, which trained on no group of `held_out`.
    ///
    /// # Errors
    /// There are no images.
    pub fn split(held_out: &HeldOut) -> Result<Conformal, String> {
        Conformal::of(held_out, &vec![0; held_out.n_images()], 1)
    }

    /// Returns the scores of the first member, by fold: that of fold k predicted the images of fold k.
    ///
    /// # Errors
    /// There are no images, a group is in two folds, or there is only one fold.
    pub fn cv_plus(held_out: &HeldOut) -> Result<Conformal, String> {
        let n_folds = held_out.folds.iter().max().map_or(0, |it| it + 1);
        if n_folds < 2 {
            return Err("CV+ takes the predictions of at least 2 folds".to_owned());
        }
        let mut fold_of = BTreeMap::new();
        for (&group, &fold) in held_out.groups.iter().zip(&held_out.folds) {
            if *fold_of.entry(group).or_insert(fold) != fold {
                let unit = held_out.task.unit.one();
                return Err(format!("CV+ takes folds that have no {unit} in common"));
            }
        }
        Conformal::of(held_out, &held_out.folds, n_folds)
    }

    fn of(held_out: &HeldOut, folds: &[usize], n_folds: usize) -> Result<Conformal, String> {
        let mut n_images_of = BTreeMap::new();
        held_out.groups.iter().for_each(|it| *n_images_of.entry(*it).or_insert(0_usize) += 1);
        let n_groups = n_images_of.len();
        if n_groups == 0 {
            return Err("there are no held-out images to take scores of".to_owned());
        }
        if !held_out.members[0].par_iter().all(|it| it.is_finite()) {
            return Err("a held-out probability is not finite (NaN or infinite): it has no score"
                .to_owned());
        }
        let mut pairs: Vec<Vec<(f64, f64)>> = vec![Vec::new(); n_folds];
        for (image, (&class, group)) in held_out.classes.iter().zip(&held_out.groups).enumerate() {
            let weight = 1.0 / ((n_groups + 1) as f64 * n_images_of[group] as f64);
            pairs[folds[image]].push((score(held_out.row(0, image)[class]), weight));
        }
        let folds = pairs.into_iter().map(|it| Scores::new(it, MAX_SCORES / n_folds)).collect();
        Ok(Conformal { n_groups, is_fitted: false, folds })
    }

    /// Whether the scores are by fold, of a model each.
    pub fn is_cv_plus(&self) -> bool {
        self.folds.len() > 1
    }

    /// Returns how probable it is at least that a set of this level holds the true class.
    pub fn guarantee(&self, level: f64) -> f64 {
        if self.is_cv_plus() { (2.0 * level - 1.0).max(0.0) } else { level }
    }

    /// Returns how many groups are needed so that the sets of this level can leave classes out.
    pub fn n_groups_needed(level: f64) -> usize {
        (level / (1.0 - level) - ROUNDING).ceil() as usize
    }

    /// Returns why the sets of this level hold every class, if they do.
    ///
    /// - `unit`: what a group is.
    pub fn too_few(&self, level: f64, unit: Unit) -> Option<String> {
        let (n, needed) = (self.n_groups, Conformal::n_groups_needed(level));
        (n < needed).then(|| {
            let needed = unit.count(needed);
            format!("sets of level {level} hold every class: they take {needed} held out, not {n}")
        })
    }

    /// Returns what is wrong with the numbers, if anything.
    pub fn problem(&self) -> Option<String> {
        let rises = |all: &[f64]| {
            all.iter().all(|it| it.is_finite()) && all.windows(2).all(|it| it[0] <= it[1])
        };
        let is_fine = |it: &Scores| {
            it.scores.len() == it.weights.len() && rises(&it.scores) && rises(&it.weights)
        };
        if self.folds.is_empty() {
            return Some("`folds` is empty".to_owned());
        }
        let fold = self.folds.iter().position(|it| !is_fine(it))?;
        Some(format!("`folds[{fold}]` must be rising scores with as many rising weights"))
    }

    /// Returns the greatest score of a class in a set of this level: infinite if there are too few groups.
    /// `None` for CV+, where it is not one number.
    pub fn threshold(&self, level: f64) -> Option<f64> {
        let [it] = self.folds.as_slice() else { return None };
        let position = it.weights.partition_point(|weight| *weight < level - ROUNDING);
        Some(it.scores.get(position).copied().unwrap_or(f64::INFINITY))
    }

    /// Returns the set of classes of an image, rising.
    ///
    /// - `level`: between 0 and 1.
    /// - `probabilities`: by the model of each fold for CV+; else the prediction alone.
    ///
    /// # Panics
    /// If there are not as many predictions as folds.
    pub fn set(&self, level: f64, probabilities: &[&[f64]]) -> Vec<usize> {
        assert_eq!(
            probabilities.len(),
            self.folds.len(),
            "one prediction by the model of each fold"
        );
        let n_classes = probabilities[0].len();
        let total = |class: usize| probabilities.iter().map(|p| p[class]).sum();
        let best = argmax(&(0..n_classes).map(total).collect::<Vec<f64>>());
        let below = |class: usize| -> f64 {
            let folds = self.folds.iter().zip(probabilities);
            folds.map(|(fold, p)| fold.below(score(p[class]))).sum()
        };
        (0..n_classes).filter(|&it| it == best || below(it) < level - ROUNDING).collect()
    }
}

/// Returns the score of a class with this probability: how unusual it would be.
fn score(p: f64) -> f64 {
    1.0 - p
}

impl Scores {
    /// Creates at most `n` scores from pairs of a score and a weight.
    fn new(mut pairs: Vec<(f64, f64)>, n: usize) -> Scores {
        pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let total: f64 = pairs.iter().map(|it| it.1).sum();
        let mut scores = Scores::default();
        let mut weight = 0.0;
        for (position, (score, its_weight)) in pairs.iter().enumerate() {
            weight += its_weight;
            let next = pairs.get(position + 1);
            if next.is_some_and(|it| it.0 == *score) {
                continue;
            }
            let stored = scores.weights.last().copied().unwrap_or(0.0);
            if next.is_none() || pairs.len() <= n || weight - stored >= total / n as f64 {
                scores.scores.push(*score);
                scores.weights.push(weight);
            }
        }
        scores
    }

    /// Returns the total weight of the images with a lower score.
    fn below(&self, score: f64) -> f64 {
        match self.scores.partition_point(|it| *it < score) {
            0 => 0.0,
            n => self.weights[n - 1],
        }
    }
}

#[cfg(test)]
mod tests;
