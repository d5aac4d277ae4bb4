//! Ensembles against numpy, scipy, scikit-learn and brute force: see ensemble.py.

use base::{Task, task::Factor};
use ensemble::{By, CombineConfig, Fit, HeldOut, Predicted, Weights, error_correlation};
use metrics::{LogLoss, MacroF1};
use testkit::{Golden, check_close_slices, numbers};

use super::golden;

const N: usize = 300;

const N_CLASSES: usize = 5;

/// The predictions of the golden script.
fn held_out() -> HeldOut {
    let classes: Vec<usize> = golden("ensemble").to("classes");
    let member = |(idx, lift): (usize, f64)| {
        let logits = numbers(&format!("ensemble/member {idx}"), N * N_CLASSES);
        let scale = idx as f64 + 1.0;
        let p = |(class, x): (usize, &f64), image: usize| {
            ((3.0 * x + lift * f64::from(class == classes[image])) / scale).exp()
        };
        let mut rows = Vec::new();
        for (image, row) in logits.chunks(N_CLASSES).enumerate() {
            let row: Vec<f64> = row.iter().enumerate().map(|it| p(it, image)).collect();
            let sum: f64 = row.iter().sum();
            rows.extend(row.into_iter().map(|it| it / sum));
        }
        rows
    };
    HeldOut {
        task: Task::new(vec![Factor::new("class", &["a", "b", "c", "d", "e"])]),
        members: [1.5, 2.0, 2.5].into_iter().enumerate().map(member).collect(),
        groups: (0..N).collect(),
        folds: vec![0; N],
        classes,
    }
}

fn fit(kind: &str, weights: Weights, by: By) -> CombineConfig {
    let kind = CombineConfig::of_kind(kind).expect("a kind");
    kind.fit(&held_out(), &Fit { weights, by }).expect("a fit")
}

fn weights(it: &CombineConfig) -> Vec<f64> {
    it.get().weights().expect("a vote").to_vec()
}

/// Checks the probabilities of the first images.
fn check_rows(it: &CombineConfig, golden: &Golden, tolerance: f64) {
    let held_out = held_out();
    for (image, want) in golden.get::<Vec<Vec<f64>>>().into_iter().enumerate() {
        check_close_slices(
            &it.get().combine(&held_out.rows(image))[..want.len()],
            &want,
            tolerance,
        );
    }
}

#[test]
fn votes_and_their_ties_agree_with_numpy() {
    for name in ["equal", "weighted", "tied"] {
        let golden = golden("ensemble").at("votes").at(name);
        let weights = Weights::Given(golden.to("weights"));
        for (kind, key) in [("soft_vote", "soft"), ("hard_vote", "hard"), ("rank_average", "rank")]
        {
            check_rows(&fit(kind, weights.clone(), By::LogLoss), &golden.at(key), 1e-9);
        }
    }
}

#[test]
fn tied_quantiles_have_scipys_mean_rank() {
    let mut held_out = held_out().without(2).without(1);
    held_out.members[0].iter_mut().for_each(|p| *p = (8.0 * *p).floor() / 8.0);
    let fitted = CombineConfig::of_kind("rank_average").unwrap();
    let fitted = fitted.fit(&held_out, &Fit::default()).unwrap();
    let CombineConfig::RankAverage(it) = &fitted else { unreachable!() };
    let mut got = Vec::new();
    for class in 0..N_CLASSES {
        // Ranks are divided by their sum: those of two members with one class each tell them.
        let mut values = it.quantiles[0][class].clone();
        values.dedup();
        let one = CombineConfig::of_kind("rank_average").unwrap();
        let CombineConfig::RankAverage(mut one) = one else { unreachable!() };
        one.quantiles = vec![vec![it.quantiles[0][class].clone(), vec![0.0]]];
        let one = CombineConfig::RankAverage(one);
        for value in values {
            // The second class has one quantile, whose rank is 1/2: p = r / (r + 1/2).
            let p = one.get().combine(&[&[value, 0.0]])[0];
            got.push(0.5 * p / (1.0 - p));
        }
    }
    check_close_slices(
        &got,
        &golden("ensemble").at("votes").to::<Vec<f64>>("tied_quantiles"),
        1e-9,
    );
}

#[test]
fn weights_with_the_lowest_log_loss_are_scipys() {
    let golden = golden("ensemble").at("log_loss");
    let fitted = fit("soft_vote", Weights::Fit, By::LogLoss);
    // The script checks them against brute force.
    check_close_slices(&weights(&fitted), &golden.to::<Vec<f64>>("weights"), 1e-4);
    let loss = Predicted::combined(&held_out(), &fitted).score(&LogLoss::DEFAULT);
    let want: f64 = golden.to("loss");
    assert!((loss - want).abs() < 1e-8, "{loss}, not {want}");
}

#[test]
fn weights_with_the_greatest_macro_f1_are_as_good_as_those_of_brute_force() {
    for kind in ["soft_vote", "hard_vote", "rank_average"] {
        let golden = golden("ensemble").at("macro_f1").at(kind);
        let held_out = held_out();
        let score = |weights| {
            let fitted = fit(kind, weights, By::MacroF1);
            Predicted::combined(&held_out, &fitted).score(&MacroF1::DEFAULT)
        };
        let equal: f64 = golden.to("equal");
        assert!((score(Weights::default()) - equal).abs() < 1e-12, "{kind}");
        let (own, best) = (score(Weights::Fit), golden.to::<f64>("best"));
        assert!(own > best - 5e-4 && own > equal, "{kind}: {own} beside {best}");
    }
}

#[test]
fn greedy_selection_agrees_with_plain_python() {
    for (by, key) in [(By::LogLoss, "log_loss"), (By::MacroF1, "macro_f1")] {
        let golden = golden("ensemble").at("greedy").at(key);
        let fitted = fit("soft_vote", Weights::Greedy, by);
        check_close_slices(&weights(&fitted), &golden.to::<Vec<f64>>("weights"), 1e-12);
    }
}

#[test]
fn the_stack_is_scikit_learns_logistic_regression() {
    let held_out = held_out();
    for golden in golden("ensemble").at("stack").list() {
        let template = CombineConfig::of_kind("stack").unwrap();
        let CombineConfig::Stack(mut template) = template else { unreachable!() };
        template.c = golden.to("c");
        let fitted = CombineConfig::Stack(template).fit(&held_out, &Fit::default()).unwrap();
        let CombineConfig::Stack(it) = &fitted else { unreachable!() };
        // Class 4 has no images, and keeps its mean probability.
        assert!(it.coefficients[4].is_empty());
        for (got, want) in it.coefficients.iter().zip(golden.to::<Vec<Vec<f64>>>("coefficients")) {
            check_close_slices(got, &want, 1e-3);
        }
        check_close_slices(&it.intercepts[..4], &golden.to::<Vec<f64>>("intercepts"), 5e-3);
        let probabilities: Vec<Vec<f64>> = golden.to("probabilities");
        for (image, want) in probabilities.iter().enumerate() {
            let rows = held_out.rows(image);
            let left = 1.0 - rows.iter().map(|it| it[4]).sum::<f64>() / 3.0;
            let got = fitted.get().combine(&rows);
            let want: Vec<f64> = want.iter().map(|p| p * left).collect();
            check_close_slices(&got[..4], &want, 1e-4);
        }
        // The objective is flat around its minimum, so it is the strictest comparison.
        let shares = |image: usize| {
            let rows = held_out.rows(image);
            let left = 1.0 - rows.iter().map(|it| it[4]).sum::<f64>() / 3.0;
            fitted.get().combine(&rows)[held_out.classes[image]] / left
        };
        let loss: f64 = (0..N).map(|image| -shares(image).ln()).sum();
        let penalty: f64 = it.coefficients.iter().flatten().map(|w| w * w).sum();
        let (got, want) = (loss + penalty / (2.0 * it.c), golden.to::<f64>("objective"));
        assert!((got - want).abs() < 1e-5, "{got}, not {want}");
    }
}

#[test]
fn the_correlation_of_errors_is_numpys() {
    let want: Vec<Vec<f64>> = golden("ensemble").to("correlation");
    for (got, want) in error_correlation(&held_out()).iter().zip(&want) {
        check_close_slices(got, want, 1e-9);
    }
}
