//! Class weights: one file for all kinds, since each is a line.
//!
//! With n_c training images of class c,
//!
//! - inverse: w_c ∝ 1 / n_c.
//! - effective: w_c ∝ (1 - β) / (1 - β^n_c), which for β near 1 is 1 / n_c for rare classes, and
//!   constant for classes of many more than 1 / (1 - β) images. Cui et al., "Class-Balanced Loss Based
//!   on Effective Number of Samples", 2019.
//!
//! Both are scaled so that their mean is 1. A class without images has weight 0: its frequency is
//! unknown, and it is never the true class.

use base::Clock;
use serde::{Deserialize, Serialize};

use crate::HeadOutput;

base::choice! {
    /// `weights` of a loss: the class weights.
    pub enum ClassWeightsConfig: dyn ClassWeights {
        /// No class weights: every class has weight 1.
        "none" => None(Uniform),
        /// Inverse frequency: one over the number of images.
        "inverse" => Inverse(Inverse),
        /// One over the effective number of images (Cui et al., 2019).
        "effective" => Effective(Effective),
        /// The given values.
        "given" => Given(Given),
    }
}

/// A rule for class weights.
pub trait ClassWeights {
    /// Returns the problem with the settings, if any.
    fn problem(&self) -> Option<String> {
        let from = self.from();
        (!(0.0..=1.0).contains(&from))
            .then(|| format!("`from` is a share of the run, from 0 to 1, not {from}"))
    }

    /// Returns the share of the run after which the weights apply; before, all are 1.
    fn from(&self) -> f64;

    /// Returns the weight of each class from the number of training images of each; `None` if all are 1.
    ///
    /// # Errors
    /// Another number of weights than of classes.
    fn of(&self, counts: &[usize]) -> Result<Option<Vec<f64>>, String>;
}

/// `weights = { kind = "none" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Uniform {}

/// `weights = { kind = "inverse" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inverse {
    /// The share of the run after which the weights apply.
    pub from: f64,
}

/// `weights = { kind = "effective" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Effective {
    /// β: each further image adds β times as much to the effective number as the one before; from 0 to
    /// below 1.
    pub beta: f64,
    /// The share of the run after which the weights apply: 0.8 is LDAM's deferred re-weighting.
    pub from: f64,
}

/// `weights = { kind = "given", values = [1.0, 2.5] }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Given {
    /// One for each class of the output.
    pub values: Vec<f64>,
    /// The share of the run after which the weights apply.
    pub from: f64,
}

impl Default for Effective {
    /// As in LDAM's code.
    fn default() -> Effective {
        Effective { beta: 0.9999, from: 0.0 }
    }
}

impl ClassWeights for Uniform {
    fn from(&self) -> f64 {
        0.0
    }

    fn of(&self, _: &[usize]) -> Result<Option<Vec<f64>>, String> {
        Ok(None)
    }
}

impl ClassWeights for Inverse {
    fn from(&self) -> f64 {
        self.from
    }

    fn of(&self, counts: &[usize]) -> Result<Option<Vec<f64>>, String> {
        Ok(Some(scaled(counts, |n| 1.0 / n)))
    }
}

impl ClassWeights for Effective {
    fn problem(&self) -> Option<String> {
        let Effective { beta, from } = *self;
        let beta = (!(0.0..1.0).contains(&beta))
            .then(|| format!("`beta` is from 0 to below 1, not {beta}"));
        beta.or_else(|| Inverse { from }.problem())
    }

    fn from(&self) -> f64 {
        self.from
    }

    fn of(&self, counts: &[usize]) -> Result<Option<Vec<f64>>, String> {
        let beta = self.beta;
        Ok(Some(scaled(counts, |n| (1.0 - beta) / (1.0 - beta.powf(n)))))
    }
}

impl ClassWeights for Given {
    fn problem(&self) -> Option<String> {
        let is_weight = |it: &f64| *it >= 0.0 && it.is_finite();
        let is_valid = self.values.iter().all(is_weight) && self.values.iter().any(|&it| it > 0.0);
        (!self.values.is_empty() && !is_valid)
            .then(|| "`values` are numbers from 0, not all of them 0".to_owned())
            .or_else(|| Inverse { from: self.from }.problem())
    }

    fn from(&self) -> f64 {
        self.from
    }

    fn of(&self, counts: &[usize]) -> Result<Option<Vec<f64>>, String> {
        match self.values.len() == counts.len() {
            true => Ok(Some(self.values.clone())),
            false => Err(format!(
                "`values` are {} numbers, one per class, not {}",
                counts.len(),
                self.values.len()
            )),
        }
    }
}

/// `weight` of the number of images of each class that has any, scaled to the mean 1.
fn scaled(counts: &[usize], weight: impl Fn(f64) -> f64) -> Vec<f64> {
    let weight = |&n: &usize| if n == 0 { 0.0 } else { weight(n as f64) };
    let weights: Vec<f64> = counts.iter().map(weight).collect();
    let n_present = counts.iter().filter(|&&n| n > 0).count();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|it| it * n_present as f64 / sum.max(f64::MIN_POSITIVE)).collect()
}

/// Class weights of one output.
pub(crate) struct BoundWeights {
    values: Option<Vec<f64>>,
    from: f64,
}

impl BoundWeights {
    /// The weights of the classes of an output.
    ///
    /// # Errors
    /// Another number of weights than of classes.
    pub(crate) fn new(
        config: &ClassWeightsConfig,
        output: &HeadOutput<'_>,
    ) -> Result<BoundWeights, String> {
        let values = config
            .get()
            .of(&output.counts)
            .map_err(|it| format!("at `weights`, for the output `{}`: {it}", output.name()))?;
        Ok(BoundWeights { values, from: config.get().from() })
    }

    /// Returns the current weight of each class; `None` if all are 1.
    pub(crate) fn at(&self, clock: &Clock) -> Option<&[f64]> {
        let values = self.values.as_deref()?;
        (clock.progress() >= self.from).then_some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::{ClassWeights as _, Effective, Given, Inverse};

    #[test]
    fn rare_classes_weigh_more_and_absent_ones_nothing() {
        let of = Inverse::default().of(&[10, 40, 0]).unwrap().unwrap();
        assert_eq!(of, [1.6, 0.4, 0.0]);
        // With beta 0 the effective number is 1 for every class that has images.
        let effective = Effective { beta: 0.0, from: 0.0 };
        assert_eq!(effective.of(&[10, 40, 0]).unwrap().unwrap(), [1.0, 1.0, 0.0]);
        assert_eq!(Inverse::default().of(&[0, 0]).unwrap().unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn given_weights_are_one_per_class() {
        let given = Given { values: vec![1.0, 2.0], from: 0.0 };
        assert!(given.of(&[1, 1]).is_ok());
        assert_eq!(given.of(&[1; 3]).unwrap_err(), "`values` are 3 numbers, one per class, not 2");
        let wrong = Given { values: vec![-1.0], from: 0.0 };
        assert!(wrong.problem().is_some());
        assert!(Inverse { from: 2.0 }.problem().unwrap().contains("not 2"));
        assert!(Effective { beta: 1.0, from: 0.0 }.problem().unwrap().contains("`beta`"));
    }
}
