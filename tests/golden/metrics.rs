//! Metrics against scikit-learn and numpy: see metrics.py.

use base::{Seed, Task, task::Scope};
use metrics::{ClassScore, Confusion, MetricConfig, Predictions, Report};
use testkit::{check_close_slices, numbers};

use super::golden;

/// The predictions of the golden script.
fn predictions() -> Predictions {
    let mut p: Vec<Vec<f64>> = numbers("probabilities", 300 * 18)
        .chunks(18)
        .map(|it| it.iter().map(|x| (3.0 * x).exp()).collect())
        .collect();
    for row in &mut p {
        [3, 7, 11].iter().for_each(|&absent| row[absent] = 1e-9);
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|it| *it /= sum);
    }
    let class = |x: &f64| match ((x + 1.0) * 9.0) as usize {
        it @ (3 | 11) => it + 1,
        it => it,
    };
    let classes: Vec<usize> = numbers("truth", 300).iter().map(class).collect();
    // numpy rounds halves to even, but there are no halves.
    let ages: Vec<f64> = numbers("ages", 300).iter().map(|x| (40.0 + 30.0 * x).round()).collect();
    let years = ages.iter().zip(numbers("years", 300)).map(|(age, x)| age + 5.0 * x).collect();
    let groups = (0..300).map(|it| it / 7).collect();
    Predictions::new(Task::mask_gender_age(), p, classes, groups)
        .with_numbers(Some(years), ages.into_iter().map(Some).collect())
}

/// Checks the score of a metric given by its config.
#[track_caller]
fn check(config: &str, predictions: &Predictions, want: f64) {
    let metric: MetricConfig = toml::from_str(config).expect("settings");
    let got = metric.get().score(predictions);
    assert!((got - want).abs() < 1e-12, "{config}: {got}, not {want}");
}

#[test]
fn every_metric_agrees_with_scikit_learn_in_every_scope() {
    let all = predictions();
    for scope in all.task.scopes() {
        let name = all.task.scope_name(scope);
        let (golden, predictions) = (golden("metrics").at(name), all.project(scope));
        for (kind, _) in MetricConfig::KINDS {
            check(&format!("kind = {kind:?}"), &predictions, golden.to(kind));
        }
        let zero = "kind = \"macro_f1\"\nabsent = \"zero\"";
        check(zero, &predictions, golden.to("macro_f1_zero"));
        let bins = "kind = \"expected_calibration_error\"\nbins = 10";
        check(bins, &predictions, golden.to("calibration_of_10"));
        let lo = 0.01 / predictions.task.n_classes() as f64;
        let clip = format!("kind = \"log_loss\"\nclip = [{lo:?}, 0.99]");
        check(&clip, &predictions, golden.to("log_loss_clipped"));
        for weights in ["linear", "quadratic"] {
            let kappa = format!("kind = \"cohen_kappa\"\nweights = {weights:?}");
            check(&kappa, &predictions, golden.to(&format!("cohen_kappa_{weights}")));
        }
        let mut tied = predictions.clone();
        tied.probabilities.iter_mut().flatten().for_each(|p| *p = (16.0 * *p).floor());
        for kind in ["roc_auc", "average_precision"] {
            check(&format!("kind = {kind:?}"), &tied, golden.to(&format!("{kind}_tied")));
        }
        if scope == Scope::Joint {
            check("kind = \"top_k\"\nk = 5", &predictions, golden.to("top_5"));
        }
    }
}

#[test]
fn class_scores_and_confusion_matrix_agree_with_scikit_learn() {
    let report = Report::new(&predictions(), Seed(0));
    for scope in &report.scopes {
        let golden = golden("metrics").at(&scope.name);
        let confusion: &Confusion = &scope.confusion;
        let n = confusion.n_classes();
        let counts: Vec<usize> = (0..n * n).map(|it| confusion.count(it / n, it % n)).collect();
        assert_eq!(counts, golden.to::<Vec<usize>>("confusion"));
        let check = |name: &str, of: &dyn Fn(ClassScore) -> f64| {
            let got: Vec<f64> = (0..n).map(|it| of(confusion.class(it))).collect();
            check_close_slices(&got, &golden.to::<Vec<f64>>(name), 1e-12);
        };
        check("precision", &|it| it.precision);
        check("recall", &|it| it.recall);
        check("f1", &|it| it.f1);
        check("support", &|it| it.support as f64);
        assert!((scope.scores.macro_f1 - golden.to::<f64>("macro_f1")).abs() < 1e-9);
        assert!((scope.scores.top_k - golden.to::<f64>("top_k")).abs() < 1e-9);
    }
    let want: f64 = golden("metrics").at("joint").to("mae");
    assert!((report.mae.expect("a number") - want).abs() < 1e-9);
}
