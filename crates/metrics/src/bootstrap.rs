//! How sure a score is: an interval from drawing the people again.
//!
//! Pictures of one person are right or wrong together, so people are drawn, with replacement, and all
//! their pictures follow; the interval holds 95 % of the scores of such draws.
//!
//! Efron, "Bootstrap Methods", 1979: the percentile interval, over clusters.

use std::collections::BTreeMap;

use base::Seed;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::{Confusion, Predictions};

/// A score and the range that drawing the people again leaves it in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The score itself.
    pub value: f64,
    /// 2.5 % of draws score less.
    pub low: f64,
    /// 2.5 % of draws score more.
    pub high: f64,
}

/// The macro F1 over the joint classes, with its interval over people from `n_draws` draws.
pub fn bootstrap(predictions: &Predictions, n_draws: usize, seed: Seed) -> Interval {
    let n_classes = predictions.task.n_classes();
    let mut people: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    let pairs = predictions.classes.iter().copied().zip(predictions.predicted());
    for (person, pair) in predictions.people.iter().zip(pairs) {
        people.entry(*person).or_default().push(pair);
    }
    let people: Vec<Vec<(usize, usize)>> = people.into_values().collect();
    let value = Confusion::of(n_classes, people.iter().flatten().copied()).macro_f1();
    if people.is_empty() {
        return Interval { value, low: value, high: value };
    }
    let mut rng = seed.stream("bootstrap");
    let mut draw = || {
        let mut confusion = Confusion::new(n_classes);
        for _ in 0..people.len() {
            for &(truth, predicted) in &people[rng.random_range(0..people.len())] {
                confusion.add(truth, predicted, 1);
            }
        }
        confusion.macro_f1()
    };
    let mut scores: Vec<f64> = (0..n_draws.max(1)).map(|_| draw()).collect();
    scores.sort_by(f64::total_cmp);
    let at = |share: f64| scores[((scores.len() - 1) as f64 * share).round() as usize];
    Interval { value, low: at(0.025), high: at(0.975) }
}

#[cfg(test)]
mod tests {
    use base::{Seed, Task};

    use super::bootstrap;
    use crate::Predictions;

    /// `n` people with `each` pictures, of whom the first `n_right` are right on all.
    fn predictions(n: usize, each: usize, n_right: usize) -> Predictions {
        let task = Task { factors: vec![base::task::Factor::new("class", &["a", "b"])] };
        let people: Vec<usize> = (0..n * each).map(|it| it / each).collect();
        let classes: Vec<usize> = people.iter().map(|it| it % 2).collect();
        let probability = |(person, class): (&usize, &usize)| {
            let predicted = if *person < n_right { *class } else { 1 - class };
            (0..2).map(|it| if it == predicted { 0.9 } else { 0.1 }).collect()
        };
        let probabilities = people.iter().zip(&classes).map(probability).collect();
        Predictions { task, probabilities, classes, people }
    }

    #[test]
    fn the_interval_is_as_wide_as_the_people_are_few() {
        // The share of 200 people, 140 of them right: 1.96 · √(0.7 · 0.3 / 200) = 0.064 each way,
        // however many pictures each has.
        for each in [1, 7] {
            let it = bootstrap(&predictions(200, each, 140), 2000, Seed(0));
            assert!((it.value - 0.7).abs() < 0.01);
            assert!((it.value - it.low - 0.064).abs() < 0.01, "{it:?}");
            assert!((it.high - it.value - 0.064).abs() < 0.01, "{it:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let predictions = predictions(20, 3, 10);
        let of = |seed| bootstrap(&predictions, 100, Seed(seed));
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn perfect_predictions_leave_no_doubt() {
        let it = bootstrap(&predictions(20, 2, 20), 100, Seed(0));
        assert_eq!((it.value, it.low, it.high), (1.0, 1.0, 1.0));
    }

    #[test]
    fn nobody_gives_zero() {
        assert_eq!(bootstrap(&predictions(0, 1, 0), 10, Seed(0)).value, 0.0);
    }
}
