//! Samples examples with the weight of their class.
//!
//! The weight of an example is `weights[class]`, or n_class^-power if `weights` is empty: with power 1
//! every class has the same probability, 0.5 is square-root sampling (Mahajan et al., 2018), 0 keeps the
//! data's distribution. Only ratios of weights matter. With replacement, a class is sampled with
//! probability proportional to weight times count, then one of its examples uniformly; without,
//! examples are sorted by Exp(1) / weight, which equals sampling one after the other from the remaining
//! ones (Efraimidis & Spirakis, 2006).
//!
//! PyTorch's `WeightedRandomSampler`, but with one weight per class instead of one per example.

use base::Rng;
use rand::{
    Rng as _,
    distr::{Distribution as _, weighted::WeightedIndex},
};
use rand_distr::Exp1;
use serde::{Deserialize, Serialize};

use super::{ByClass, Sampler};

/// `sampler = { kind = "weighted" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weighted {
    /// Which classes are weighted: `joint`, a factor's name, or its number's, such as `age.number`.
    pub over: String,
    /// How strongly rare classes are preferred if `weights` is empty.
    pub power: f64,
    /// The weight of an example of each class, in the order of the classes; if empty, weights follow from
    /// the class counts.
    pub weights: Vec<f64>,
    /// The number of samples per epoch; 0 for the number of examples.
    pub num_samples: usize,
    /// Whether to sample with replacement.
    pub replacement: bool,
}

impl Default for Weighted {
    /// Every class with the same probability.
    fn default() -> Weighted {
        let over = "joint".to_owned();
        Weighted { over, power: 1.0, weights: Vec::new(), num_samples: 0, replacement: true }
    }
}

impl Weighted {
    /// Returns the weight of an example of each class, scaled to a maximum of 1; 0 for classes without
    /// examples.
    fn weights(&self, by_class: &ByClass) -> Vec<f64> {
        let weight = |(class, n): (usize, usize)| match (n, self.weights.get(class)) {
            (0, _) => 0.0,
            (_, Some(&weight)) => weight,
            (n, None) => (n as f64).powf(-self.power),
        };
        let weights: Vec<f64> = by_class.counts().enumerate().map(weight).collect();
        let most = weights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        weights.into_iter().map(|it| it / most).collect()
    }

    /// Returns the number of examples with a weight above 0.
    fn n_reachable(&self, by_class: &ByClass) -> usize {
        let weights = self.weights(by_class);
        by_class.counts().zip(weights).map(|(n, weight)| if weight > 0.0 { n } else { 0 }).sum()
    }
}

impl Sampler for Weighted {
    fn over(&self) -> &str {
        &self.over
    }

    fn n_samples(&self, by_class: &ByClass, _: usize) -> usize {
        let requested = match self.num_samples {
            0 => by_class.n_examples(),
            n => n,
        };
        match (self.n_reachable(by_class), self.replacement) {
            (0, _) => 0,
            (_, true) => requested,
            (n, false) => requested.min(n),
        }
    }

    fn order(&self, by_class: &ByClass, epoch_idx: usize, rng: &mut Rng) -> Vec<usize> {
        let n = self.n_samples(by_class, epoch_idx);
        let weights = self.weights(by_class);
        if self.replacement {
            let masses = by_class.counts().zip(weights).map(|(n, weight)| n as f64 * weight);
            // If all weights are 0, there is nothing to sample.
            let Ok(class) = WeightedIndex::new(masses) else { return Vec::new() };
            let sample = |_| {
                let members = &by_class.classes[class.sample(rng)];
                members[rng.random_range(0..members.len())]
            };
            return (0..n).map(sample).collect();
        }
        let mut times = Vec::with_capacity(by_class.n_examples());
        for (members, weight) in by_class.classes.iter().zip(weights).filter(|it| it.1 > 0.0) {
            let time = |&example: &usize| (rng.sample::<f64, _>(Exp1) / weight, example);
            times.extend(members.iter().map(time));
        }
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        times.into_iter().take(n).map(|it| it.1).collect()
    }

    fn problem(&self) -> Option<String> {
        if !(0.0..=10.0).contains(&self.power) {
            return Some(format!("`power` must be from 0 to 10, not {}", self.power));
        }
        let is_weight = |it: &&f64| **it >= 0.0 && it.is_finite();
        let wrong = self.weights.iter().find(|it| !is_weight(it))?;
        Some(format!("all `weights` must be at least 0 and finite, not {wrong}"))
    }

    fn misfit(&self, by_class: &ByClass) -> Option<String> {
        let (n_weights, n_classes) = (self.weights.len(), by_class.names.len());
        if n_weights > 0 && n_weights != n_classes {
            return Some(format!(
                "`weights` has {n_weights} values, but there are {n_classes} classes: {}",
                by_class.names.join(", ")
            ));
        }
        let n_reachable = self.n_reachable(by_class);
        let n_requested = match self.num_samples {
            0 => by_class.n_examples(),
            n => n,
        };
        let is_short = !self.replacement && n_requested > n_reachable;
        is_short.then(|| {
            format!(
                "cannot sample {n_requested} of {n_reachable} examples without replacement: set \
                 `num_samples`, or `replacement = true`"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ByClass, Sampler as _, Weighted};

    fn by_class() -> ByClass {
        let classes = vec![vec![0, 1, 2, 3], vec![], vec![4]];
        ByClass { names: ["a", "b", "c"].map(str::to_owned).into(), classes, groups: Vec::new() }
    }

    #[test]
    fn only_ratios_of_weights_matter() {
        let by = |power| Weighted { power, ..Weighted::default() }.weights(&by_class());
        assert_eq!(by(1.0), [0.25, 0.0, 1.0]);
        assert_eq!(by(0.5), [0.5, 0.0, 1.0]);
        assert_eq!(by(0.0), [1.0, 0.0, 1.0]);
        let given = Weighted { weights: vec![f64::MAX, 1.0, f64::MAX], ..Weighted::default() };
        assert_eq!(given.weights(&by_class()), [1.0, 0.0, 1.0]);
    }

    #[test]
    fn impossible_settings_are_reported() {
        let misfit = |weights: &[f64], num_samples, replacement| {
            let weights = weights.to_vec();
            let it = Weighted { weights, num_samples, replacement, ..Weighted::default() };
            assert_eq!(it.problem(), None);
            it.misfit(&by_class()).unwrap_or_default()
        };
        assert_eq!(misfit(&[1.0, 0.0, 2.0], 9, true), "");
        assert_eq!(misfit(&[], 5, false), "");
        assert!(misfit(&[], 6, false).contains("cannot sample 6 of 5 examples"));
        assert!(misfit(&[1.0, 1.0, 0.0], 0, false).contains("cannot sample 5 of 4 examples"));
        assert!(misfit(&[1.0; 2], 0, true).contains("3 classes: a, b, c"));
        let nothing = Weighted { weights: vec![0.0, 1.0, 0.0], ..Weighted::default() };
        assert_eq!(nothing.n_samples(&by_class(), 0), 0);
        for weight in [-1.0, f64::NAN, f64::INFINITY] {
            let wrong = Weighted { weights: vec![weight], ..Weighted::default() };
            assert!(wrong.problem().unwrap().contains("at least 0"));
        }
    }
}
