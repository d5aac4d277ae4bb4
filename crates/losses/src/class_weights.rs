//! How much each class counts: one file for all of them, since each is a line.
//!
//! With n_c training images of class c,
//!
//! - inverse: w_c ∝ 1 / n_c.
//! - effective: w_c ∝ (1 - β) / (1 - β^n_c), which for β near 1 is 1 / n_c of rare classes, and the
//!   same for all that have many more than 1 / (1 - β). Cui et al., "Class-Balanced Loss Based on
//!   Effective Number of Samples", 2019.
//!
//! Both are scaled so that their mean is 1. A class without images has the weight 0: nothing is
//! known of how rare it is, and it is never the truth.

use base::Clock;
use serde::{Deserialize, Serialize};

use crate::HeadOutput;

base::choice! {
    /// `weights` of a loss: how much each class counts.
    pub enum ClassWeightsConfig: dyn ClassWeights {
        /// All alike.
        "none" => None(Alike),
        /// One over the number of images.
        "inverse" => Inverse(Inverse),
        /// One over the effective number of images (Cui et al., 2019).
        "effective" => Effective(Effective),
        /// As written.
        "given" => Given(Given),
    }
}

/// How much each class counts.
pub trait ClassWeights {
    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String> {
        let from = self.from();
        (!(0.0..=1.0).contains(&from))
            .then(|| format!("`from` is a share of the run, from 0 to 1, not {from}"))
    }

    /// The share of the run after which they hold; all alike before.
    fn from(&self) -> f64;

    /// The weight of each class, for the number of training images of each; `None` for all alike.
    ///
    /// # Errors
    /// Another number of weights than of classes.
    fn of(&self, counts: &[usize]) -> Result<Option<Vec<f64>>, String>;
}

/// `weights = { kind = "none" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alike {}

/// `weights = { kind = "inverse" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inverse {
    /// The share of the run after which they hold.
    pub from: f64,
}

/// `weights = { kind = "effective" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Effective {
    /// How much each further image adds to those before, from 0 to below 1.
    pub beta: f64,
    /// The share of the run after which they hold: 0.8 is LDAM's deferred re-weighting.
    pub from: f64,
}

/// `weights = { kind = "given", values = [1.0, 2.5] }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Given {
    /// One for each class of the question.
    pub values: Vec<f64>,
    /// The share of the run after which they hold.
    pub from: f64,
}

impl Default for Effective {
    /// LDAM's code.
    fn default() -> Effective {
        Effective { beta: 0.9999, from: 0.0 }
    }
}

impl ClassWeights for Alike {
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
        let is_one = self.values.iter().all(is_weight) && self.values.iter().any(|&it| it > 0.0);
        (!self.values.is_empty() && !is_one)
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
                "`values` are {} numbers, one a class, not {}",
                counts.len(),
                self.values.len()
            )),
        }
    }
}

/// `weight` of the number of images of each class that has any, with the mean 1.
fn scaled(counts: &[usize], weight: impl Fn(f64) -> f64) -> Vec<f64> {
    let weight = |&n: &usize| if n == 0 { 0.0 } else { weight(n as f64) };
    let weights: Vec<f64> = counts.iter().map(weight).collect();
    let n_present = counts.iter().filter(|&&n| n > 0).count();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|it| it * n_present as f64 / sum.max(f64::MIN_POSITIVE)).collect()
}

/// Class weights of one question.
pub(crate) struct BoundWeights {
    values: Option<Vec<f64>>,
    from: f64,
}

impl BoundWeights {
    /// The weights of the classes of a question.
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

    /// The weight of each class now; `None` for all alike.
    pub(crate) fn at(&self, clock: &Clock) -> Option<&[f64]> {
        let values = self.values.as_deref()?;
        (clock.progress() >= self.from).then_some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::{ClassWeights as _, Effective, Given, Inverse};

    #[test]
    fn rare_classes_count_more_and_absent_ones_nothing() {
        let of = Inverse::default().of(&[10, 40, 0]).unwrap().unwrap();
        assert_eq!(of, [1.6, 0.4, 0.0]);
        // One image of two different ones each, or the same one again: beta 0 counts presence.
        let effective = Effective { beta: 0.0, from: 0.0 };
        assert_eq!(effective.of(&[10, 40, 0]).unwrap().unwrap(), [1.0, 1.0, 0.0]);
        assert_eq!(Inverse::default().of(&[0, 0]).unwrap().unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn given_weights_are_one_a_class() {
        let given = Given { values: vec![1.0, 2.0], from: 0.0 };
        assert!(given.of(&[1, 1]).is_ok());
        assert_eq!(given.of(&[1; 3]).unwrap_err(), "`values` are 3 numbers, one a class, not 2");
        let wrong = Given { values: vec![-1.0], from: 0.0 };
        assert!(wrong.problem().is_some());
        assert!(Inverse { from: 2.0 }.problem().unwrap().contains("not 2"));
        assert!(Effective { beta: 1.0, from: 0.0 }.problem().unwrap().contains("`beta`"));
    }
}
