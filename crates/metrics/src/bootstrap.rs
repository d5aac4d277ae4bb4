//! Confidence intervals of scores: the cluster bootstrap over people.
//!
//! Errors on images of one person are correlated, so people are resampled with replacement, each with all
//! their images; the interval contains 95 % of the scores of the resamples.
//!
//! Two sides are compared on the same resamples (paired): people who are hard for one are hard for the other,
//! so the interval of the difference is narrower than that of either score. "B is better with probability p"
//! is the share of resamples in which it is; ties count half.
//!
//! Efron, "Bootstrap Methods", 1979: the percentile interval, over clusters.

use base::{Rng, Seed};
use rand::Rng as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Metric, person_sums::People};

/// The number of bootstrap resamples for intervals.
pub const N_RESAMPLES: usize = 1000;

/// A score with its 95 % bootstrap confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The score itself.
    pub value: f64,
    /// The 2.5 % quantile of the resamples' scores.
    pub low: f64,
    /// The 97.5 % quantile of the resamples' scores.
    pub high: f64,
}

/// Two sides compared on the same bootstrap resamples of people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The score of A.
    pub a: Interval,
    /// The score of B.
    pub b: Interval,
    /// The score of B minus that of A.
    pub difference: Interval,
    /// The share of resamples in which B is better.
    pub b_is_better: f64,
}

/// A score, and the score of each bootstrap resample of the people.
#[derive(Clone, Debug, PartialEq)]
pub struct Bootstrapped {
    /// The score.
    pub value: f64,
    /// The score of each resample.
    pub resamples: Vec<f64>,
}

impl Bootstrapped {
    /// Returns the score and the range of 95 % of the resamples' scores; without resamples, a range of width
    /// 0.
    pub fn interval(&self) -> Interval {
        let value = self.value;
        if self.resamples.is_empty() {
            return Interval { value, low: value, high: value };
        }
        let mut scores = self.resamples.clone();
        scores.sort_by(f64::total_cmp);
        let at = |share: f64| scores[((scores.len() - 1) as f64 * share).round() as usize];
        Interval { value, low: at(0.025), high: at(0.975) }
    }

    /// Returns the mean of several runs' scores on the same resamples.
    ///
    /// # Panics
    /// If there is no run, or the runs have different numbers of resamples.
    pub fn mean(runs: &[Bootstrapped]) -> Bootstrapped {
        let n_resamples = runs[0].resamples.len();
        assert!(
            runs.iter().all(|it| it.resamples.len() == n_resamples),
            "runs have different numbers of resamples"
        );
        Bootstrapped {
            value: mean(runs.iter().map(|it| it.value)),
            resamples: (0..n_resamples)
                .map(|idx| mean(runs.iter().map(|it| it.resamples[idx])))
                .collect(),
        }
    }
}

/// Compares two sides on the same resamples.
pub fn compare(metric: &dyn Metric, a: &Bootstrapped, b: &Bootstrapped) -> Comparison {
    let better = |a: f64, b: f64| match (metric.improves(b, a), metric.improves(a, b)) {
        (true, _) => 1.0,
        (_, true) => 0.0,
        _ => 0.5,
    };
    let pairs = || a.resamples.iter().zip(&b.resamples);
    let difference =
        Bootstrapped { value: b.value - a.value, resamples: pairs().map(|(a, b)| b - a).collect() };
    Comparison {
        a: a.interval(),
        b: b.interval(),
        difference: difference.interval(),
        b_is_better: match a.resamples.is_empty() {
            true => better(a.value, b.value),
            false => mean(pairs().map(|(&a, &b)| better(a, b))),
        },
    }
}

/// Bootstrap resamples of people: as many people as there are, sampled with replacement.
///
/// A resample is the count of each person, a byte each (a count of 256 has a probability below 1e-500). All
/// come sequentially from one random stream, so they do not depend on the number of threads. If they are
/// small enough, they are kept and reused for many runs; otherwise they are sampled anew for every run.
pub struct Resamples {
    n_people: usize,
    n_resamples: usize,
    seed: Seed,
    kept: Vec<Vec<u8>>,
}

/// The number of resamples scored in one pass over the people.
const LANES: usize = 8;
/// The largest total size of resamples, in bytes, that is kept.
const KEPT: usize = 256 << 20;

impl Resamples {
    /// Creates `n_resamples` resamples of `n_people` people.
    pub fn new(n_people: usize, n_resamples: usize, seed: Seed) -> Resamples {
        let mut resamples = Resamples { n_people, n_resamples, seed, kept: Vec::new() };
        if n_people.saturating_mul(n_resamples) <= KEPT {
            let mut rng = seed.stream("bootstrap");
            resamples.kept = (0..n_resamples).map(|_| resample(n_people, &mut rng)).collect();
        }
        resamples
    }

    /// Returns the scores of all resamples for each element of `of`: the sums of the same people for
    /// `metric` over `n_classes` classes.
    ///
    /// # Panics
    /// If the number of people is not `n_people`.
    pub fn scores(&self, metric: &dyn Metric, of: &[(&People, usize)]) -> Vec<Vec<f64>> {
        assert!(
            of.iter().all(|it| it.0.len() == self.n_people),
            "the number of people differs from that of the resamples"
        );
        let mut scores = vec![Vec::with_capacity(self.n_resamples); of.len()];
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
        let of_blocks = |resamples: &[Vec<u8>]| -> Vec<Vec<Vec<f64>>> {
            resamples.par_chunks(LANES).map(of_block).collect()
        };
        if self.kept.len() == self.n_resamples {
            take(&of_blocks(&self.kept));
            return scores;
        }
        // While some are scored, the next are sampled.
        let mut rng = self.seed.stream("bootstrap");
        let n_at_once = LANES * rayon::current_num_threads();
        let mut n_left = self.n_resamples;
        let mut next = || -> Vec<Vec<u8>> {
            let n = n_left.min(n_at_once);
            n_left -= n;
            (0..n).map(|_| resample(self.n_people, &mut rng)).collect()
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

/// Returns how often each of `n` people is in the next resample.
fn resample(n: usize, rng: &mut Rng) -> Vec<u8> {
    let mut times = vec![0; n];
    (0..n).for_each(|_| times[rng.random_range(0..n)] += 1);
    times
}

/// Returns the scores of at most [`LANES`] resamples.
fn block_scores(
    metric: &dyn Metric,
    people: &People,
    n_classes: usize,
    resamples: &[Vec<u8>],
) -> Vec<f64> {
    let n_resamples = resamples.len();
    let nobody = vec![0; people.len()];
    let resamples: [&[u8]; LANES] =
        std::array::from_fn(|it| resamples.get(it).unwrap_or(&nobody).as_slice());
    let mut sums = vec![[0.0; LANES]; metric.n_sums(n_classes)];
    for (person, row) in people.rows().enumerate() {
        let times = resamples.map(|it| f64::from(it[person]));
        for (at, x) in row {
            sums[at].iter_mut().zip(times).for_each(|(sum, n)| *sum += n * x);
        }
    }
    let score = |lane: usize| metric.of(&sums.iter().map(|it| it[lane]).collect::<Vec<f64>>());
    (0..n_resamples).map(score).collect()
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

    use super::{Bootstrapped, Comparison, Interval, KEPT, Resamples, compare as compare_sides};
    use crate::{
        Metric, MetricConfig, People, PersonSums, Prediction, Predictions, accuracy::Accuracy,
        macro_f1::MacroF1,
    };

    fn people_of(metric: &dyn Metric, predictions: &Predictions) -> People {
        let mut person_sums = PersonSums::default();
        predictions.iter().for_each(|it| person_sums.add(metric, &it));
        person_sums.people()
    }

    fn bootstrapped(
        metric: &dyn Metric,
        predictions: &Predictions,
        n_resamples: usize,
        seed: Seed,
    ) -> Bootstrapped {
        let people = people_of(metric, predictions);
        let resamples = Resamples::new(people.len(), n_resamples, seed);
        let scores = resamples.scores(metric, &[(&people, predictions.task.n_classes())]);
        Bootstrapped {
            value: metric.score(predictions),
            resamples: scores.into_iter().flatten().collect(),
        }
    }

    fn bootstrap(
        metric: &dyn Metric,
        of: &Predictions,
        n_resamples: usize,
        seed: Seed,
    ) -> Interval {
        bootstrapped(metric, of, n_resamples, seed).interval()
    }

    fn compare(
        metric: &dyn Metric,
        a: &[Predictions],
        b: &[Predictions],
        n_resamples: usize,
        seed: Seed,
    ) -> Comparison {
        let [a, b] = [a, b].map(|side| {
            let runs: Vec<Bootstrapped> =
                side.iter().map(|it| bootstrapped(metric, it, n_resamples, seed)).collect();
            Bootstrapped::mean(&runs)
        });
        compare_sides(metric, &a, &b)
    }

    /// `n` people with `each` images, of whom the first `n_right` are predicted correctly on all.
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
    fn the_interval_width_depends_on_the_number_of_people() {
        // 140 of 200 people are correct: 1.96 · √(0.7 · 0.3 / 200) = 0.064 each way, however many
        // images each has.
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
    fn perfect_predictions_give_an_interval_of_width_zero() {
        let it = bootstrap(&MacroF1::default(), &predictions(20, 2, 20), 100, Seed(0));
        assert_eq!((it.value, it.low, it.high), (1.0, 1.0, 1.0));
    }

    #[test]
    fn no_people_give_zero() {
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
    fn paired_resamples_give_a_narrower_interval_for_the_difference() {
        // B is correct on 8 more people, so it is never worse on any resample: the interval of the
        // difference is that of 8 of 200, 1.96 · √(0.04 · 0.96 / 200) = 0.027 each way.
        let (a, b) = (predictions(200, 2, 120), predictions(200, 2, 128));
        let it = compare(&Accuracy {}, from_ref(&a), from_ref(&b), 2000, Seed(0));
        assert!((it.difference.value - 0.04).abs() < 1e-12);
        assert!((it.difference.high - 0.04 - 0.027).abs() < 0.007, "{it:?}");
        assert!(it.difference.low > 0.01 && it.b_is_better > 0.99, "{it:?}");
        assert!(it.a.high > it.b.low, "the intervals of the scores should overlap: {it:?}");
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
    fn a_side_of_several_runs_has_the_mean_of_their_scores() {
        let (a, b) = (predictions(40, 2, 20), predictions(40, 2, 30));
        let it = compare(&Accuracy {}, &[a.clone(), b.clone()], &[b], 500, Seed(0));
        assert!((it.a.value - 0.625).abs() < 1e-12 && (it.b.value - 0.75).abs() < 1e-12);
        assert!((it.difference.value - 0.125).abs() < 1e-12);
        // The ten people who make the difference count half: 1.96 · √(0.25 · 0.75 / 40) / 2.
        assert!((it.difference.high - it.difference.value - 0.067).abs() < 0.02, "{it:?}");
    }

    /// Scores resamples one after the other, each a list of people whose images are added again.
    fn naive(metric: &dyn Metric, all: &Predictions, n_resamples: usize, seed: Seed) -> Vec<f64> {
        let people: Vec<usize> =
            all.people.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let mut rng = seed.stream("bootstrap");
        let mut resample = || {
            let mut sums = vec![0.0; metric.n_sums(all.task.n_classes())];
            for _ in 0..people.len() {
                let person = people[rng.random_range(0..people.len())];
                for it in all.iter().filter(|it| it.person == person) {
                    metric.add(&it, &mut |at, x| sums[at] += x);
                }
            }
            metric.of(&sums)
        };
        (0..n_resamples).map(|_| resample()).collect()
    }

    #[test]
    fn scores_from_sums_equal_scores_from_all_images() {
        // Person numbers have gaps and are not in order.
        let mut all = predictions(50, 3, 30);
        all.people.iter_mut().for_each(|it| *it = (*it * 37) % 101);
        let metrics = MetricConfig::zoo().into_iter().filter(|it| !it.1.get().needs_years());
        for (kind, metric) in metrics {
            let want = naive(metric.get(), &all, 100, Seed(7));
            let got = bootstrapped(metric.get(), &all, 100, Seed(7)).resamples;
            let is_counted = !matches!(kind, "log_loss" | "expected_calibration_error");
            let tolerance = if is_counted { 0.0 } else { 1e-12 };
            let worst = want.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(got.len() == 100 && worst <= tolerance, "{kind}: off by {worst:e}");
        }
    }

    #[test]
    fn neither_threads_nor_kept_resamples_change_a_bit() {
        let all = predictions(40, 3, 25);
        let people = people_of(&MacroF1::DEFAULT, &all);
        let of = [(&people, 2), (&people, 2)];
        let kept = Resamples::new(40, 100, Seed(3));
        let anew = Resamples { kept: Vec::new(), ..Resamples::new(40, 100, Seed(3)) };
        let want = kept.scores(&MacroF1::DEFAULT, &of);
        assert_eq!(want[0], want[1]);
        for n_threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            assert_eq!(pool.install(|| kept.scores(&MacroF1::DEFAULT, &of)), want);
            assert_eq!(pool.install(|| anew.scores(&MacroF1::DEFAULT, &of)), want);
        }
    }

    #[test]
    fn a_person_who_adds_nothing_is_resampled_too() {
        // One of two people has an age: half of the resamples contain that person once.
        let task = Task { factors: vec![Factor::new("class", &["a", "b"])] };
        let p = vec![vec![1.0, 0.0]; 2];
        let it = Predictions::new(task, p, vec![0, 0], vec![0, 1])
            .with_years(Some(vec![30.0, 30.0]), vec![Some(31.0), None]);
        assert_eq!(people_of(&crate::age_mae::AgeMae {}, &it).len(), 2);
    }

    #[test]
    fn a_thousand_classes_and_many_people_have_few_sums() {
        const N: usize = 100_000;
        let mut person_sums = PersonSums::default();
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
            person_sums.add(&MacroF1::DEFAULT, &it);
        }
        let people = person_sums.people();
        assert_eq!(people.len(), N);
        assert!(people.rows().map(Iterator::count).sum::<usize>() <= 2 * N);
        let resamples =
            Resamples::new(N, 16, Seed(0)).scores(&MacroF1::DEFAULT, &[(&people, 1000)]);
        let value = 0.66;
        assert!(resamples[0].iter().all(|it| (it - value).abs() < 0.2), "{resamples:?}");
        const { assert!(KEPT < N * 10_000, "this many resamples are sampled anew") };
    }
}
