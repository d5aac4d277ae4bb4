//! Calibrations, decisions and conformal sets against scipy, scikit-learn, numpy and brute force: see
//! calibration.py.

use base::{Task, task::Factor};
use ensemble::{CalibrationConfig, Conformal, Decision, HeldOut, Tune};
use metrics::{MacroF1, Metric as _, Predictions};
use testkit::{check_close_slices, numbers};

use super::golden;

const N: usize = 400;

const N_CLASSES: usize = 6;

/// The softmax of `scale` times the numbers of a name, of each row.
fn softmax(name: &str, scale: f64, n_rows: usize, n_classes: usize) -> Vec<f64> {
    let mut p: Vec<f64> =
        numbers(name, n_rows * n_classes).iter().map(|it| (scale * it).exp()).collect();
    for row in p.chunks_mut(n_classes) {
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|it| *it /= sum);
    }
    p
}

fn held_out(task: Task, p: Vec<f64>, classes: Vec<usize>) -> HeldOut {
    let n = classes.len();
    HeldOut { task, classes, groups: (0..n).collect(), folds: vec![0; n], members: vec![p] }
}

fn plain(levels: &[&str]) -> Task {
    Task::new(vec![Factor::new("class", levels)])
}

/// The predictions of the golden script.
fn predictions() -> HeldOut {
    let p = softmax("calibration/logits", 4.0, N, N_CLASSES);
    held_out(plain(&["a", "b", "c", "d", "e", "f"]), p, golden("calibration").to("classes"))
}

fn log_loss(it: &HeldOut) -> f64 {
    let loss = |image: usize| -it.row(0, image)[it.classes[image]].ln();
    (0..it.n_images()).map(loss).sum::<f64>() / it.n_images() as f64
}

fn macro_f1(decision: &Decision, it: &HeldOut) -> f64 {
    let rows = (0..it.n_images()).map(|image| it.row(0, image).to_vec()).collect();
    let mut all = Predictions::new(it.task.clone(), rows, it.classes.clone(), it.groups.clone());
    all.predicted = all.probabilities.iter().map(|p| decision.decide(&it.task, p)).collect();
    MacroF1::DEFAULT.score(&all)
}

#[test]
fn the_temperature_is_scipys_root() {
    let (golden, held_out) = (golden("calibration").at("temperature"), predictions());
    let fitted = CalibrationConfig::fit("temperature", &held_out).unwrap();
    let CalibrationConfig::Temperature(it) = &fitted else { unreachable!() };
    let want: f64 = golden.to("temperature");
    assert!((it.temperature - want).abs() < 1e-9, "{}, not {want}", it.temperature);
    let (loss, want) = (log_loss(&fitted.calibrate(&held_out)), golden.to::<f64>("log_loss"));
    assert!((loss - want).abs() < 1e-12, "{loss}, not {want}");
}

#[test]
fn vector_scaling_is_scipys_minimum() {
    let (golden, held_out) = (golden("calibration").at("vector"), predictions());
    let fitted = CalibrationConfig::fit("vector", &held_out).unwrap();
    let CalibrationConfig::Vector(it) = &fitted else { unreachable!() };
    check_close_slices(&it.scale, &golden.to::<Vec<f64>>("scale"), 1e-6);
    check_close_slices(&it.bias, &golden.to::<Vec<f64>>("bias"), 1e-6);
    let away = it.scale.iter().map(|it| it - 1.0).chain(it.bias.iter().copied());
    let loss = N as f64 * log_loss(&fitted.calibrate(&held_out));
    let objective = loss + away.map(|it| it * it / 2.0).sum::<f64>();
    assert!((objective - golden.to::<f64>("objective")).abs() < 1e-9, "{objective}");
}

/// The value of a curve: straight between points, constant beyond the first and last.
fn interpolate([x, y]: &[Vec<f64>; 2], at: f64) -> f64 {
    let Some(after) = x.iter().position(|it| *it >= at) else { return y[y.len() - 1] };
    if after == 0 {
        return y[0];
    }
    let share = (at - x[after - 1]) / (x[after] - x[after - 1]);
    y[after - 1] + share * (y[after] - y[after - 1])
}

#[test]
fn isotonic_curves_are_scikit_learns() {
    let plain = predictions();
    let tied = plain.map(|rows| rows[0].iter().map(|p| (16.0 * p).floor() / 16.0).collect());
    for (name, held_out) in [("plain", plain), ("tied", tied)] {
        let golden = golden("calibration").at("isotonic").at(name);
        let fitted = CalibrationConfig::fit("isotonic", &held_out).unwrap();
        let CalibrationConfig::Isotonic(it) = &fitted else { unreachable!() };
        assert!(it.classes[0][0].is_empty(), "class 0 has no images");
        // The script's curves begin with class 1.
        for (curve, want) in it.classes[1..].iter().zip(golden.to::<Vec<Vec<f64>>>("curves")) {
            let got: Vec<f64> =
                (0..=100).map(|it| interpolate(curve, f64::from(it) / 100.0)).collect();
            check_close_slices(&got, &want, 1e-9);
        }
        let want: Vec<f64> = golden.to("calibrated");
        check_close_slices(&fitted.calibrate(&held_out).members[0][..want.len()], &want, 1e-9);
    }
}

#[test]
fn thresholds_and_weights_are_as_good_as_brute_force() {
    let golden = golden("calibration").at("decision");
    let part = golden.at("thresholds");
    let task = Task::new(vec![
        Factor::new("kind", &["x", "y"]),
        Factor::ranges("age", &["<30", "30-59", ">=60"], &[30.0, 60.0]),
    ]);
    let of_age = held_out(task, softmax("decision/logits", 2.0, 60, 6), part.to("classes"));
    let fitted = Decision::fit(&[Tune::Thresholds], &of_age);
    check_close_slices(&fitted.thresholds[0].thresholds, &part.to::<Vec<f64>>("one_of"), 1e-9);
    let check = |decision: &Decision, held_out: &HeldOut, want: f64| {
        let got = macro_f1(decision, held_out);
        assert!((got - want).abs() < 1e-12, "{got}, not {want}: {decision:?}");
    };
    check(&Decision::default(), &of_age, part.to("before"));
    check(&fitted, &of_age, part.to("best"));

    let part = golden.at("weights");
    let of_class = held_out(
        plain(&["a", "b", "c"]),
        softmax("weights/logits", 2.0, 60, 3),
        part.to("classes"),
    );
    check(&Decision::default(), &of_class, part.to("before"));
    check(&Decision::fit(&[Tune::Classes], &of_class), &of_class, part.to("best"));
}

/// Groups of 1, 3, 5, … images, in folds by their number.
fn grouped() -> HeldOut {
    let groups: Vec<usize> = (0..N).map(usize::isqrt).collect();
    let folds = groups.iter().map(|it| it % 4).collect();
    HeldOut { groups, folds, ..predictions() }
}

#[test]
fn conformal_thresholds_are_numpys_quantiles() {
    let golden = golden("calibration").at("conformal");
    let levels: Vec<f64> = golden.to("levels");
    for (name, held_out) in [("single", predictions()), ("grouped", grouped())] {
        let it = Conformal::split(&held_out).unwrap();
        for (level, want) in levels.iter().zip(golden.to::<Vec<Option<f64>>>(name)) {
            match (it.threshold(*level).unwrap(), want) {
                (got, None) => assert!(got.is_infinite(), "{name} {level}: {got}"),
                (got, Some(want)) => {
                    assert!((got - want).abs() < 1e-12, "{name} {level}: {got}, not {want}");
                }
            }
        }
    }
}

#[test]
fn cv_plus_sets_are_those_of_the_definition() {
    let golden = golden("calibration").at("conformal");
    let it = Conformal::cv_plus(&grouped()).unwrap();
    let new = softmax("conformal/new", 4.0, 4 * 20, N_CLASSES);
    let levels: Vec<f64> = golden.to("levels");
    for (image, sets) in golden.to::<Vec<Vec<Vec<usize>>>>("cv_plus").iter().enumerate() {
        let row = |fold: usize| &new[(fold * 20 + image) * N_CLASSES..][..N_CLASSES];
        let rows: Vec<&[f64]> = (0..4).map(row).collect();
        for (level, want) in levels.iter().zip(sets) {
            assert_eq!(&it.set(*level, &rows), want, "image {image}, level {level}");
        }
    }
}
