//! Intervals and comparisons, against closed forms and resamples scored image by image.

use std::{collections::BTreeSet, slice::from_ref};

use base::{Seed, Task, task::Factor};
use rand::Rng as _;

use super::{Bootstrapped, Comparison, Interval, Resamples, compare as compare_sides};
use crate::{
    GroupSums, Groups, Metric, MetricConfig, Predictions, RunningMetric, accuracy::Accuracy,
    macro_f1::MacroF1,
};

fn groups_of<'a>(metric: &'a dyn Metric, predictions: &Predictions) -> Groups<'a> {
    let mut tally = GroupSums::new(metric, predictions.task.n_classes());
    predictions.iter().for_each(|it| tally.add(&it));
    tally.groups()
}

fn bootstrapped(
    metric: &dyn Metric,
    predictions: &Predictions,
    n_resamples: usize,
    seed: Seed,
) -> Bootstrapped {
    let groups = groups_of(metric, predictions);
    let resamples = Resamples::new(groups.len(), n_resamples, seed);
    resamples.scores(&[groups]).remove(0)
}

fn bootstrap(metric: &dyn Metric, of: &Predictions, n_resamples: usize, seed: Seed) -> Interval {
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

/// `n` groups with `each` images, of whom the first `n_right` are predicted correctly on all.
fn predictions(n: usize, each: usize, n_right: usize) -> Predictions {
    let task = Task::new(vec![Factor::new("class", &["a", "b"])]);
    let groups: Vec<usize> = (0..n * each).map(|it| it / each).collect();
    let classes: Vec<usize> = groups.iter().map(|it| it % 2).collect();
    let probability = |(group, class): (&usize, &usize)| {
        let predicted = if *group < n_right { *class } else { 1 - class };
        (0..2).map(|it| if it == predicted { 0.9 } else { 0.1 }).collect()
    };
    let probabilities = groups.iter().zip(&classes).map(probability).collect();
    Predictions::new(task, probabilities, classes, groups)
}

#[test]
fn an_error_that_resampling_raises_is_within_its_centred_interval() {
    // Resamples 0.2, 0.21, ..., 0.6 with mean 0.4, for an error of 0.1: the quantiles 0.21 and 0.59, less 0.3.
    let resamples: Vec<f64> = (20..=60).map(|it| f64::from(it) / 100.0).collect();
    let of = |value| Bootstrapped { value, resamples: resamples.clone() };
    let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
    let it = of(0.1).centred_interval();
    assert!(it.value == 0.1 && it.low == 0.0 && close(it.high, 0.29), "{it:?}");
    let it = of(0.4).centred_interval();
    assert!(close(it.low, 0.21) && close(it.high, 0.59), "{it:?}");
    let none = Bootstrapped { value: 0.1, resamples: Vec::new() }.centred_interval();
    assert_eq!((none.low, none.high), (0.1, 0.1));
}

#[test]
fn the_interval_width_depends_on_the_number_of_groups() {
    // 140 of 200 groups are correct: 1.96 · √(0.7 · 0.3 / 200) = 0.064 each way, however many
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
fn no_groups_give_zero() {
    let nobody = predictions(0, 1, 0);
    assert_eq!(bootstrap(&MacroF1::default(), &nobody, 10, Seed(0)).value, 0.0);
    let it = compare(&Accuracy {}, from_ref(&nobody), from_ref(&nobody), 10, Seed(0));
    assert_eq!((it.difference.value, it.b_is_better), (0.0, 0.5));
}

#[test]
fn every_metric_has_an_interval_around_its_score() {
    let predictions = predictions(50, 3, 30);
    for (kind, metric) in MetricConfig::zoo().into_iter().filter(|it| !it.1.get().needs_numbers()) {
        let it = bootstrap(metric.get(), &predictions, 200, Seed(0));
        assert_eq!(it.value, metric.get().score(&predictions), "{kind}");
        assert!(it.low <= it.value && it.value <= it.high, "{kind}: {it:?}");
    }
}

#[test]
fn paired_resamples_give_a_narrower_interval_for_the_difference() {
    // B is correct on 8 more groups, so it is never worse on any resample: the interval of the
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
    // The ten groups that make the difference count half: 1.96 · √(0.25 · 0.75 / 40) / 2.
    assert!((it.difference.high - it.difference.value - 0.067).abs() < 0.02, "{it:?}");
}

/// Scores resamples one after the other, each a list of groups whose images are added again.
fn naive(metric: &dyn Metric, all: &Predictions, n_resamples: usize, seed: Seed) -> Vec<f64> {
    let groups: Vec<usize> =
        all.groups.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let mut rng = seed.stream("bootstrap");
    let mut draw = || {
        let mut total = RunningMetric::new(metric, all.task.n_classes());
        for _ in 0..groups.len() {
            let group = groups[rng.random_range(0..groups.len())];
            all.iter().filter(|it| it.group == group).for_each(|it| total.add(&it));
        }
        total.score()
    };
    (0..n_resamples).map(|_| draw()).collect()
}

/// 60 images of 12 groups and four classes, the last of which one group has alone; many probabilities tie.
fn tied() -> Predictions {
    let task = Task::new(vec![Factor::new("class", &["a", "b", "c", "d"])]);
    let p = |row: &[f64]| row.iter().map(|x| (4.0 * x).round().abs() / 4.0).collect();
    let probabilities = testkit::numbers("ties", 60 * 4).chunks(4).map(p).collect();
    let groups: Vec<usize> = (0..60).map(|it| it * it % 23).collect();
    let class = |(image, group): (usize, &usize)| if *group == 6 { 3 } else { image % 3 };
    let classes = groups.iter().enumerate().map(class).collect();
    Predictions::new(task, probabilities, classes, groups)
}

#[test]
fn scores_from_sums_and_ranks_equal_scores_from_all_images() {
    // Group numbers have gaps and are not in order.
    let mut all = predictions(50, 3, 30);
    all.groups.iter_mut().for_each(|it| *it = (*it * 37) % 101);
    let metrics = || MetricConfig::zoo().into_iter().filter(|it| !it.1.get().needs_numbers());
    for (kind, metric) in metrics() {
        for all in [&all, &tied()] {
            let want = naive(metric.get(), all, 100, Seed(7));
            let got = bootstrapped(metric.get(), all, 100, Seed(7)).resamples;
            let is_counted =
                !matches!(kind, "log_loss" | "brier_score" | "expected_calibration_error");
            let tolerance = if is_counted { 0.0 } else { 1e-12 };
            let is_close =
                |(a, b): (&f64, &f64)| a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance;
            assert!(got.len() == 100 && want.iter().zip(&got).all(is_close), "{kind}");
            // Top-2 accuracy of two classes is 1.
            let is_one = kind == "top_k" && all.task.n_classes() == 2;
            assert!(is_one || want.iter().any(|it| *it != want[0]), "{kind}: all the same");
        }
    }
}

#[test]
fn a_probability_that_is_nan_makes_every_score_nan() {
    for class in [0, 2] {
        let mut all = tied();
        all.probabilities[7][class] = f64::NAN;
        let all = all.with_numbers(Some(vec![1.0; 60]), vec![Some(2.0); 60]);
        for (kind, metric) in MetricConfig::zoo() {
            let it = bootstrapped(metric.get(), &all, 20, Seed(0));
            assert!(it.value.is_nan() && metric.get().score(&all).is_nan(), "{kind}");
            assert!(it.resamples.iter().all(|it| it.is_nan()), "{kind}");
            let Interval { low, high, .. } = it.interval();
            assert!(low.is_nan() && high.is_nan(), "{kind}");
        }
    }
}

#[test]
fn resamples_without_a_score_are_left_out() {
    let side = |value: f64, resamples: &[f64]| {
        let resamples = resamples.to_vec();
        Bootstrapped { value, resamples }
    };
    // On some processors 0 / 0 is a NaN with a sign, which sorts below every number.
    let a = side(0.5, &[-f64::NAN, 0.4, 0.6, f64::NAN]);
    let b = side(0.7, &[0.9, 0.7, 0.5, f64::NAN]);
    assert_eq!(a.interval(), Interval { value: 0.5, low: 0.4, high: 0.6 });
    let it = compare_sides(&Accuracy {}, &a, &b);
    assert_eq!(it.b_is_better, 0.5);
    assert!((it.difference.low + 0.1).abs() < 1e-12 && (it.difference.high - 0.3).abs() < 1e-12);
    let nothing = side(f64::NAN, &[f64::NAN; 4]);
    assert!(compare_sides(&Accuracy {}, &a, &nothing).b_is_better.is_nan());
    let single = [side(f64::NAN, &[]), side(0.7, &[])];
    assert!(compare_sides(&Accuracy {}, &single[0], &single[1]).b_is_better.is_nan());
}

#[test]
fn neither_threads_nor_kept_resamples_change_a_bit() {
    let all = predictions(40, 3, 25);
    let kept = Resamples::new(40, 100, Seed(3));
    let anew = Resamples { kept: Vec::new(), ..Resamples::new(40, 100, Seed(3)) };
    for (kind, metric) in MetricConfig::zoo().into_iter().filter(|it| !it.1.get().needs_numbers()) {
        let of = [groups_of(metric.get(), &all), groups_of(metric.get(), &all)];
        let want = kept.scores(&of);
        assert_eq!(want[0], want[1], "{kind}");
        for n_threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            assert_eq!(pool.install(|| kept.scores(&of)), want, "{kind}");
            assert_eq!(pool.install(|| anew.scores(&of)), want, "{kind}");
        }
    }
}
