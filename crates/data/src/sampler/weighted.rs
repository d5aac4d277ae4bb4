//! Each draw by the weight of the example's class.
//!
//! An example weighs `weights[class]`, or n_class^-power without them: 1 makes every class as likely
//! as any other, 0.5 is square-root sampling (Mahajan et al., 2018), 0 is the data as it is.
//! Only ratios of weights matter. With replacement a draw is a class by its weight times its count,
//! then any of its examples; without, examples come in the order of Exp(1) / weight, which is drawing
//! one after the other from those that are left (Efraimidis & Spirakis, 2006).
//!
//! PyTorch's `WeightedRandomSampler`, but for weights by class where it has one an example.

use base::Rng;
use rand::{
    Rng as _,
    distr::{Distribution as _, weighted::WeightedIndex},
};
use rand_distr::Exp1;
use serde::{Deserialize, Serialize};

use super::{Groups, Sampler};

/// `sampler = { kind = "weighted" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weighted {
    /// Whose classes: `joint`, a factor's name, or `years`.
    pub over: String,
    /// How strongly rare classes are preferred, where there are no `weights`.
    pub power: f64,
    /// The weight of an example of each class, in their order; empty for by count.
    pub weights: Vec<f64>,
    /// Draws an epoch; 0 for as many as there are examples.
    pub num_samples: usize,
    /// Whether an epoch may see an example more than once.
    pub replacement: bool,
}

impl Default for Weighted {
    /// Every class as likely as any other.
    fn default() -> Weighted {
        let over = "joint".to_owned();
        Weighted { over, power: 1.0, weights: Vec::new(), num_samples: 0, replacement: true }
    }
}

impl Weighted {
    /// What an example of each class weighs, at most 1; nothing where the class has none.
    fn weights(&self, groups: &Groups) -> Vec<f64> {
        let weight = |(class, n): (usize, usize)| match (n, self.weights.get(class)) {
            (0, _) => 0.0,
            (_, Some(&weight)) => weight,
            (n, None) => (n as f64).powf(-self.power),
        };
        let weights: Vec<f64> = groups.counts().enumerate().map(weight).collect();
        let most = weights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        weights.into_iter().map(|it| it / most).collect()
    }

    /// How many examples weigh something.
    fn n_reachable(&self, groups: &Groups) -> usize {
        let weights = self.weights(groups);
        groups.counts().zip(weights).map(|(n, weight)| if weight > 0.0 { n } else { 0 }).sum()
    }
}

impl Sampler for Weighted {
    fn over(&self) -> &str {
        &self.over
    }

    fn n_draws(&self, groups: &Groups, _: usize) -> usize {
        let asked = match self.num_samples {
            0 => groups.n_examples(),
            n => n,
        };
        match (self.n_reachable(groups), self.replacement) {
            (0, _) => 0,
            (_, true) => asked,
            (n, false) => asked.min(n),
        }
    }

    fn order(&self, groups: &Groups, epoch_idx: usize, rng: &mut Rng) -> Vec<usize> {
        let n = self.n_draws(groups, epoch_idx);
        let weights = self.weights(groups);
        if self.replacement {
            let masses = groups.counts().zip(weights).map(|(n, weight)| n as f64 * weight);
            // Nothing weighs anything: then nothing is drawn.
            let Ok(class) = WeightedIndex::new(masses) else { return Vec::new() };
            let draw = |_| {
                let members = &groups.classes[class.sample(rng)];
                members[rng.random_range(0..members.len())]
            };
            return (0..n).map(draw).collect();
        }
        let mut times = Vec::with_capacity(groups.n_examples());
        for (members, weight) in groups.classes.iter().zip(weights).filter(|it| it.1 > 0.0) {
            let time = |&example: &usize| (rng.sample::<f64, _>(Exp1) / weight, example);
            times.extend(members.iter().map(time));
        }
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        times.into_iter().take(n).map(|it| it.1).collect()
    }

    fn problem(&self) -> Option<String> {
        if !(0.0..=10.0).contains(&self.power) {
            return Some(format!("`power` is from 0 to 10, not {}", self.power));
        }
        let is_weight = |it: &&f64| **it >= 0.0 && it.is_finite();
        let wrong = self.weights.iter().find(|it| !is_weight(it))?;
        Some(format!("every one of `weights` is at least 0, not {wrong}"))
    }

    fn misfit(&self, groups: &Groups) -> Option<String> {
        let (n_weights, n_classes) = (self.weights.len(), groups.names.len());
        if n_weights > 0 && n_weights != n_classes {
            return Some(format!(
                "`weights` are {n_weights}, but there are {n_classes} classes: {}",
                groups.names.join(", ")
            ));
        }
        let n_reachable = self.n_reachable(groups);
        let n_asked = match self.num_samples {
            0 => groups.n_examples(),
            n => n,
        };
        let is_short = !self.replacement && n_asked > n_reachable;
        is_short.then(|| {
            format!(
                "without replacement there are {n_reachable} examples to draw, not {n_asked}: set \
                 `num_samples`, or `replacement = true`"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Groups, Sampler as _, Weighted};

    fn groups() -> Groups {
        let classes = vec![vec![0, 1, 2, 3], vec![], vec![4]];
        Groups { names: ["a", "b", "c"].map(str::to_owned).into(), classes, people: Vec::new() }
    }

    #[test]
    fn only_ratios_of_weights_matter() {
        let by = |power| Weighted { power, ..Weighted::default() }.weights(&groups());
        assert_eq!(by(1.0), [0.25, 0.0, 1.0]);
        assert_eq!(by(0.5), [0.5, 0.0, 1.0]);
        assert_eq!(by(0.0), [1.0, 0.0, 1.0]);
        let given = Weighted { weights: vec![f64::MAX, 1.0, f64::MAX], ..Weighted::default() };
        assert_eq!(given.weights(&groups()), [1.0, 0.0, 1.0]);
    }

    #[test]
    fn what_cannot_be_drawn_is_said() {
        let misfit = |weights: &[f64], num_samples, replacement| {
            let weights = weights.to_vec();
            let it = Weighted { weights, num_samples, replacement, ..Weighted::default() };
            assert_eq!(it.problem(), None);
            it.misfit(&groups()).unwrap_or_default()
        };
        assert_eq!(misfit(&[1.0, 0.0, 2.0], 9, true), "");
        assert_eq!(misfit(&[], 5, false), "");
        assert!(misfit(&[], 6, false).contains("5 examples to draw, not 6"));
        assert!(misfit(&[1.0, 1.0, 0.0], 0, false).contains("4 examples to draw, not 5"));
        assert!(misfit(&[1.0; 2], 0, true).contains("3 classes: a, b, c"));
        let nothing = Weighted { weights: vec![0.0, 1.0, 0.0], ..Weighted::default() };
        assert_eq!(nothing.n_draws(&groups(), 0), 0);
        for weight in [-1.0, f64::NAN, f64::INFINITY] {
            let wrong = Weighted { weights: vec![weight], ..Weighted::default() };
            assert!(wrong.problem().unwrap().contains("at least 0"));
        }
    }
}
