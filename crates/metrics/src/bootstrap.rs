//! How sure a score is: an interval from drawing the people again.
//!
//! Pictures of one person are right or wrong together, so people are drawn, with replacement, and all
//! their pictures follow; the interval holds 95 % of the scores of such draws.
//!
//! Two sides are compared on the same draws: who is hard is hard for both, so their difference is surer
//! than either score. "B is better with probability p" is the share of draws in which it is, a draw
//! in which both score the same counting half.
//!
//! Efron, "Bootstrap Methods", 1979: the percentile interval, over clusters.

use std::collections::{BTreeMap, BTreeSet};

use base::{Rng, Seed};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::{Metric, Predictions};

/// Draws of the people that intervals are made from.
pub const N_DRAWS: usize = 1000;

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

/// Two sides on the same draws of people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The score of the one.
    pub a: Interval,
    /// The score of the other.
    pub b: Interval,
    /// The score of B less that of A.
    pub difference: Interval,
    /// The share of draws in which B is better.
    pub b_is_better: f64,
}

/// A score with its interval over people, from `n_draws` draws.
pub fn bootstrap(
    metric: &dyn Metric,
    predictions: &Predictions,
    n_draws: usize,
    seed: Seed,
) -> Interval {
    let side = [Tally::new(metric, predictions)];
    let value = metric.score(predictions);
    let people = everybody(&side);
    let mut rng = seed.stream("bootstrap");
    let scores = (0..n_draws).map(|_| score(metric, &side, &draw(&people, &mut rng))).collect();
    interval(value, scores)
}

/// Two sides compared, from `n_draws` draws.
///
/// A side is several runs where there are several seeds: its score is the mean of theirs. Numbers of
/// people must mean the same in all.
pub fn compare(
    metric: &dyn Metric,
    a: &[Predictions],
    b: &[Predictions],
    n_draws: usize,
    seed: Seed,
) -> Comparison {
    let tallies = |side: &[Predictions]| -> Vec<Tally> {
        side.iter().map(|it| Tally::new(metric, it)).collect()
    };
    let sides = [tallies(a), tallies(b)];
    let value = |side: &[Predictions]| mean(side.iter().map(|it| metric.score(it)));
    let values = [value(a), value(b)];
    let people = everybody(sides.iter().flatten());
    let mut rng = seed.stream("bootstrap");
    let draws: Vec<[f64; 2]> = (0..n_draws)
        .map(|_| {
            let drawn = draw(&people, &mut rng);
            [0, 1].map(|it| score(metric, &sides[it], &drawn))
        })
        .collect();
    let better = |&[a, b]: &[f64; 2]| match (metric.improves(b, a), metric.improves(a, b)) {
        (true, _) => 1.0,
        (_, true) => 0.0,
        _ => 0.5,
    };
    let of =
        |value: f64, of: &dyn Fn(&[f64; 2]) -> f64| interval(value, draws.iter().map(of).collect());
    Comparison {
        a: of(values[0], &|it| it[0]),
        b: of(values[1], &|it| it[1]),
        difference: of(values[1] - values[0], &|it| it[1] - it[0]),
        b_is_better: match draws.is_empty() {
            true => better(&values),
            false => mean(draws.iter().map(better)),
        },
    }
}

/// What each person adds to the sums of a metric.
struct Tally {
    n_sums: usize,
    people: BTreeMap<usize, Vec<(usize, f64)>>,
}

impl Tally {
    fn new(metric: &dyn Metric, predictions: &Predictions) -> Tally {
        let mut people: BTreeMap<usize, BTreeMap<usize, f64>> = BTreeMap::new();
        for (picture, &person) in predictions.people.iter().enumerate() {
            let sums = people.entry(person).or_default();
            metric.add(predictions, picture, &mut |at, x| *sums.entry(at).or_default() += x);
        }
        let people = people.into_iter().map(|(person, sums)| (person, sums.into_iter().collect()));
        Tally { n_sums: metric.n_sums(&predictions.task), people: people.collect() }
    }
}

fn everybody<'a>(tallies: impl IntoIterator<Item = &'a Tally>) -> Vec<usize> {
    let people = tallies.into_iter().flat_map(|it| it.people.keys().copied());
    people.collect::<BTreeSet<_>>().into_iter().collect()
}

/// As many people as there are, with replacement.
fn draw(people: &[usize], rng: &mut Rng) -> Vec<usize> {
    (0..people.len()).map(|_| people[rng.random_range(0..people.len())]).collect()
}

/// The mean score of a side's runs on the people drawn.
fn score(metric: &dyn Metric, side: &[Tally], drawn: &[usize]) -> f64 {
    mean(side.iter().map(|tally| {
        let mut sums = vec![0.0; tally.n_sums];
        for (at, x) in drawn.iter().flat_map(|it| tally.people.get(it).into_iter().flatten()) {
            sums[*at] += x;
        }
        metric.of(&sums)
    }))
}

fn mean(scores: impl Iterator<Item = f64>) -> f64 {
    let (n, sum) = scores.fold((0.0, 0.0), |(n, sum), it| (n + 1.0, sum + it));
    sum / n
}

/// The interval that holds 95 % of the draws' scores; the score alone without draws.
fn interval(value: f64, mut scores: Vec<f64>) -> Interval {
    if scores.is_empty() {
        return Interval { value, low: value, high: value };
    }
    scores.sort_by(f64::total_cmp);
    let at = |share: f64| scores[((scores.len() - 1) as f64 * share).round() as usize];
    Interval { value, low: at(0.025), high: at(0.975) }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use base::{Seed, Task};

    use super::{bootstrap, compare};
    use crate::{MetricConfig, Predictions, accuracy::Accuracy, macro_f1::MacroF1};

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
        Predictions::new(task, probabilities, classes, people)
    }

    #[test]
    fn the_interval_is_as_wide_as_the_people_are_few() {
        // The share of 200 people, 140 of them right: 1.96 · √(0.7 · 0.3 / 200) = 0.064 each way,
        // however many pictures each has.
        for each in [1, 7] {
            let it = bootstrap(&MacroF1::default(), &predictions(200, each, 140), 2000, Seed(0));
            assert!((it.value - 0.7).abs() < 0.01);
            assert!((it.value - it.low - 0.064).abs() < 0.01, "{it:?}");
            assert!((it.high - it.value - 0.064).abs() < 0.01, "{it:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let predictions = predictions(20, 3, 10);
        let of = |seed| bootstrap(&MacroF1::default(), &predictions, 100, Seed(seed));
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn perfect_predictions_leave_no_doubt() {
        let it = bootstrap(&MacroF1::default(), &predictions(20, 2, 20), 100, Seed(0));
        assert_eq!((it.value, it.low, it.high), (1.0, 1.0, 1.0));
    }

    #[test]
    fn nobody_gives_zero() {
        let nobody = predictions(0, 1, 0);
        assert_eq!(bootstrap(&MacroF1::default(), &nobody, 10, Seed(0)).value, 0.0);
        let it = compare(&Accuracy {}, from_ref(&nobody), from_ref(&nobody), 10, Seed(0));
        assert_eq!((it.difference.value, it.b_is_better), (0.0, 0.5));
    }

    #[test]
    fn every_metric_has_an_interval_around_its_score() {
        let predictions = predictions(50, 3, 30);
        for (kind, metric) in MetricConfig::zoo().into_iter().filter(|it| !it.1.get().needs_years())
        {
            let it = bootstrap(metric.get(), &predictions, 200, Seed(0));
            assert_eq!(it.value, metric.get().score(&predictions), "{kind}");
            assert!(it.low <= it.value && it.value <= it.high, "{kind}: {it:?}");
        }
    }

    #[test]
    fn the_same_draws_make_a_difference_surer_than_either_score() {
        // B is right on 8 people more, so never worse on any draw: the interval of the difference
        // is that of 8 among 200, 1.96 · √(0.04 · 0.96 / 200) = 0.027 each way.
        let (a, b) = (predictions(200, 2, 120), predictions(200, 2, 128));
        let it = compare(&Accuracy {}, from_ref(&a), from_ref(&b), 2000, Seed(0));
        assert!((it.difference.value - 0.04).abs() < 1e-12);
        assert!((it.difference.high - 0.04 - 0.027).abs() < 0.007, "{it:?}");
        assert!(it.difference.low > 0.01 && it.b_is_better > 0.99, "{it:?}");
        assert!(it.a.high > it.b.low, "each alone is too unsure to tell: {it:?}");
        let back = compare(&Accuracy {}, from_ref(&b), from_ref(&a), 2000, Seed(0));
        assert!((back.b_is_better + it.b_is_better - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_run_is_neither_better_nor_worse_than_itself() {
        let a = predictions(30, 2, 20);
        let it = compare(&MacroF1::default(), from_ref(&a), from_ref(&a), 100, Seed(0));
        assert_eq!((it.difference.low, it.difference.high, it.b_is_better), (0.0, 0.0, 0.5));
    }

    #[test]
    fn a_side_of_several_runs_scores_their_mean() {
        let (a, b) = (predictions(40, 2, 20), predictions(40, 2, 30));
        let it = compare(&Accuracy {}, &[a.clone(), b.clone()], &[b], 500, Seed(0));
        assert!((it.a.value - 0.625).abs() < 1e-12 && (it.b.value - 0.75).abs() < 1e-12);
        assert!((it.difference.value - 0.125).abs() < 1e-12);
        // The ten people that make the difference count half: 1.96 · √(0.25 · 0.75 / 40) / 2.
        assert!((it.difference.high - it.difference.value - 0.067).abs() < 0.02, "{it:?}");
    }
}
