//! How sure a score is: an interval from drawing the people again.
//!
//! Images of one person are right or wrong together, so people are drawn, with replacement, and all
//! their images follow; the interval holds 95 % of the scores of such draws.
//!
//! Two sides are compared on the same draws: who is hard is hard for both, so their difference is surer
//! than either score. "B is better with probability p" is the share of draws in which it is, a draw
//! in which both score the same counting half.
//!
//! Efron, "Bootstrap Methods", 1979: the percentile interval, over clusters.

use base::{Rng, Seed};
use rand::Rng as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Metric, tally::People};

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

/// A score, and that of each draw of the people.
#[derive(Clone, Debug, PartialEq)]
pub struct Bootstrapped {
    /// The score.
    pub value: f64,
    /// One a draw.
    pub draws: Vec<f64>,
}

impl Bootstrapped {
    /// The score and the range that holds 95 % of the draws'; the score alone without draws.
    pub fn interval(&self) -> Interval {
        let value = self.value;
        if self.draws.is_empty() {
            return Interval { value, low: value, high: value };
        }
        let mut scores = self.draws.clone();
        scores.sort_by(f64::total_cmp);
        let at = |share: f64| scores[((scores.len() - 1) as f64 * share).round() as usize];
        Interval { value, low: at(0.025), high: at(0.975) }
    }

    /// The mean of several runs' scores on the same draws.
    ///
    /// # Panics
    /// No run, or runs on other draws.
    pub fn mean(runs: &[Bootstrapped]) -> Bootstrapped {
        let n_draws = runs[0].draws.len();
        assert!(runs.iter().all(|it| it.draws.len() == n_draws), "as many draws in each run");
        Bootstrapped {
            value: mean(runs.iter().map(|it| it.value)),
            draws: (0..n_draws).map(|draw| mean(runs.iter().map(|it| it.draws[draw]))).collect(),
        }
    }
}

/// Two sides compared on the same draws.
pub fn compare(metric: &dyn Metric, a: &Bootstrapped, b: &Bootstrapped) -> Comparison {
    let better = |a: f64, b: f64| match (metric.improves(b, a), metric.improves(a, b)) {
        (true, _) => 1.0,
        (_, true) => 0.0,
        _ => 0.5,
    };
    let pairs = || a.draws.iter().zip(&b.draws);
    let difference =
        Bootstrapped { value: b.value - a.value, draws: pairs().map(|(a, b)| b - a).collect() };
    Comparison {
        a: a.interval(),
        b: b.interval(),
        difference: difference.interval(),
        b_is_better: match a.draws.is_empty() {
            true => better(a.value, b.value),
            false => mean(pairs().map(|(&a, &b)| better(a, b))),
        },
    }
}

/// Draws of people: as many as there are, with replacement.
///
/// A draw is how often each person is in it, a byte for each (256 times has a probability below 1e-500).
/// They come from one stream one after the other, so that which draws there are does not depend on the
/// number of threads. Where they are few they are kept, so that many runs are compared on them at no cost;
/// where they are many they are drawn anew for every run.
pub struct Draws {
    n_people: usize,
    n_draws: usize,
    seed: Seed,
    kept: Vec<Vec<u8>>,
}

/// Draws that are scored in one pass over the people.
const LANES: usize = 8;
/// So many bytes of draws are kept at most.
const KEPT: usize = 256 << 20;

impl Draws {
    /// `n_draws` draws of `n_people` people.
    pub fn new(n_people: usize, n_draws: usize, seed: Seed) -> Draws {
        let mut draws = Draws { n_people, n_draws, seed, kept: Vec::new() };
        if n_people.saturating_mul(n_draws) <= KEPT {
            let mut rng = seed.stream("bootstrap");
            draws.kept = (0..n_draws).map(|_| draw(n_people, &mut rng)).collect();
        }
        draws
    }

    /// The scores of all draws, for each of several sums of the same people: those of one metric over
    /// `n_classes` classes.
    ///
    /// # Panics
    /// Other people than those who are drawn.
    pub fn scores(&self, metric: &dyn Metric, of: &[(&People, usize)]) -> Vec<Vec<f64>> {
        assert!(of.iter().all(|it| it.0.len() == self.n_people), "the people who are drawn");
        let mut scores = vec![Vec::with_capacity(self.n_draws); of.len()];
        let mut take = |blocks: &[Vec<Vec<f64>>]| {
            for block in blocks {
                scores.iter_mut().zip(block).for_each(|(all, own)| all.extend(own));
            }
        };
        let of_block = |block: &[Vec<u8>]| -> Vec<Vec<f64>> {
            of.iter()
                .map(|&(people, n_classes)| block_scores(metric, people, n_classes, block))
                .collect()
        };
        let of_blocks = |draws: &[Vec<u8>]| -> Vec<Vec<Vec<f64>>> {
            draws.par_chunks(LANES).map(of_block).collect()
        };
        if self.kept.len() == self.n_draws {
            take(&of_blocks(&self.kept));
            return scores;
        }
        // While some are scored, the next are drawn.
        let mut rng = self.seed.stream("bootstrap");
        let n_at_once = LANES * rayon::current_num_threads();
        let mut n_left = self.n_draws;
        let mut next = || -> Vec<Vec<u8>> {
            let n = n_left.min(n_at_once);
            n_left -= n;
            (0..n).map(|_| draw(self.n_people, &mut rng)).collect()
        };
        let mut current = next();
        while !current.is_empty() {
            let (blocks, following) = rayon::join(|| of_blocks(&current), &mut next);
            take(&blocks);
            current = following;
        }
        scores
    }
}

/// How often each of `n` people is in the next draw.
fn draw(n: usize, rng: &mut Rng) -> Vec<u8> {
    let mut times = vec![0; n];
    (0..n).for_each(|_| times[rng.random_range(0..n)] += 1);
    times
}

/// The scores of at most [`LANES`] draws.
fn block_scores(
    metric: &dyn Metric,
    people: &People,
    n_classes: usize,
    draws: &[Vec<u8>],
) -> Vec<f64> {
    let n_draws = draws.len();
    let nobody = vec![0; people.len()];
    let draws: [&[u8]; LANES] =
        std::array::from_fn(|it| draws.get(it).unwrap_or(&nobody).as_slice());
    let mut sums = vec![[0.0; LANES]; metric.n_sums(n_classes)];
    for (person, row) in people.rows().enumerate() {
        let times = draws.map(|it| f64::from(it[person]));
        for (at, x) in row {
            sums[at].iter_mut().zip(times).for_each(|(sum, n)| *sum += n * x);
        }
    }
    let score = |lane: usize| metric.of(&sums.iter().map(|it| it[lane]).collect::<Vec<f64>>());
    (0..n_draws).map(score).collect()
}

fn mean(scores: impl Iterator<Item = f64>) -> f64 {
    let (n, sum) = scores.fold((0.0, 0.0), |(n, sum), it| (n + 1.0, sum + it));
    sum / n
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, slice::from_ref};

    use base::{Seed, Task, task::Factor};
    use rand::Rng as _;

    use super::{Bootstrapped, Comparison, Draws, Interval, KEPT, compare as compare_sides};
    use crate::{
        Metric, MetricConfig, People, Prediction, Predictions, Tally, accuracy::Accuracy,
        macro_f1::MacroF1,
    };

    fn people_of(metric: &dyn Metric, predictions: &Predictions) -> People {
        let mut tally = Tally::default();
        predictions.iter().for_each(|it| tally.add(metric, &it));
        tally.people()
    }

    fn drawn(
        metric: &dyn Metric,
        predictions: &Predictions,
        n_draws: usize,
        seed: Seed,
    ) -> Bootstrapped {
        let people = people_of(metric, predictions);
        let draws = Draws::new(people.len(), n_draws, seed);
        let scores = draws.scores(metric, &[(&people, predictions.task.n_classes())]);
        Bootstrapped {
            value: metric.score(predictions),
            draws: scores.into_iter().flatten().collect(),
        }
    }

    fn bootstrap(metric: &dyn Metric, of: &Predictions, n_draws: usize, seed: Seed) -> Interval {
        drawn(metric, of, n_draws, seed).interval()
    }

    fn compare(
        metric: &dyn Metric,
        a: &[Predictions],
        b: &[Predictions],
        n_draws: usize,
        seed: Seed,
    ) -> Comparison {
        let [a, b] = [a, b].map(|side| {
            let runs: Vec<Bootstrapped> =
                side.iter().map(|it| drawn(metric, it, n_draws, seed)).collect();
            Bootstrapped::mean(&runs)
        });
        compare_sides(metric, &a, &b)
    }

    /// `n` people with `each` images, of whom the first `n_right` are right on all.
    fn predictions(n: usize, each: usize, n_right: usize) -> Predictions {
        let task = Task { factors: vec![Factor::new("class", &["a", "b"])] };
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
        // however many images each has.
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
        assert!((back.b_is_better + it.b_is_better - 1.0).abs() < 1e-12, "{back:?}");
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

    /// Draws one after the other, each a list of people whose images are looked at again.
    fn naive(metric: &dyn Metric, all: &Predictions, n_draws: usize, seed: Seed) -> Vec<f64> {
        let people: Vec<usize> =
            all.people.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let mut rng = seed.stream("bootstrap");
        let mut draw = || {
            let mut sums = vec![0.0; metric.n_sums(all.task.n_classes())];
            for _ in 0..people.len() {
                let person = people[rng.random_range(0..people.len())];
                for it in all.iter().filter(|it| it.person == person) {
                    metric.add(&it, &mut |at, x| sums[at] += x);
                }
            }
            metric.of(&sums)
        };
        (0..n_draws).map(|_| draw()).collect()
    }

    #[test]
    fn draws_are_those_that_looking_at_every_image_again_gives() {
        // Numbers of people have gaps and are in no order.
        let mut all = predictions(50, 3, 30);
        all.people.iter_mut().for_each(|it| *it = (*it * 37) % 101);
        let metrics = MetricConfig::zoo().into_iter().filter(|it| !it.1.get().needs_years());
        for (kind, metric) in metrics {
            let want = naive(metric.get(), &all, 100, Seed(7));
            let got = drawn(metric.get(), &all, 100, Seed(7)).draws;
            let is_counted = !matches!(kind, "log_loss" | "expected_calibration_error");
            let tolerance = if is_counted { 0.0 } else { 1e-12 };
            let worst = want.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(got.len() == 100 && worst <= tolerance, "{kind}: off by {worst:e}");
        }
    }

    #[test]
    fn neither_threads_nor_keeping_draws_change_a_bit() {
        let all = predictions(40, 3, 25);
        let people = people_of(&MacroF1::USUAL, &all);
        let of = [(&people, 2), (&people, 2)];
        let kept = Draws::new(40, 100, Seed(3));
        let anew = Draws { kept: Vec::new(), ..Draws::new(40, 100, Seed(3)) };
        let want = kept.scores(&MacroF1::USUAL, &of);
        assert_eq!(want[0], want[1]);
        for n_threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            assert_eq!(pool.install(|| kept.scores(&MacroF1::USUAL, &of)), want);
            assert_eq!(pool.install(|| anew.scores(&MacroF1::USUAL, &of)), want);
        }
    }

    #[test]
    fn who_adds_nothing_is_drawn_all_the_same() {
        // Of two people one has an age: half of the draws have that person once.
        let task = Task { factors: vec![Factor::new("class", &["a", "b"])] };
        let p = vec![vec![1.0, 0.0]; 2];
        let it = Predictions::new(task, p, vec![0, 0], vec![0, 1])
            .with_years(Some(vec![30.0, 30.0]), vec![Some(31.0), None]);
        assert_eq!(people_of(&crate::age_mae::AgeMae {}, &it).len(), 2);
    }

    #[test]
    fn a_thousand_classes_and_many_people_need_few_sums() {
        const N: usize = 100_000;
        let mut tally = Tally::default();
        for image in 0..N {
            let (class, predicted) = (image % 1000, if image % 3 == 0 { 0 } else { image % 1000 });
            let it = Prediction {
                probabilities: &[],
                predicted,
                class,
                person: image,
                years: None,
                age: None,
            };
            tally.add(&MacroF1::USUAL, &it);
        }
        let people = tally.people();
        assert_eq!(people.len(), N);
        assert!(people.rows().map(Iterator::count).sum::<usize>() <= 2 * N);
        let draws = Draws::new(N, 16, Seed(0)).scores(&MacroF1::USUAL, &[(&people, 1000)]);
        let value = 0.66;
        assert!(draws[0].iter().all(|it| (it - value).abs() < 0.2), "{draws:?}");
        const { assert!(KEPT < N * 10_000, "so many draws are made anew") };
    }
}
