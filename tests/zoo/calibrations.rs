//! Every calibration.

use base::{Task, task::Factor};
use ensemble::{CalibrationConfig, HeldOut};
use testkit::{check_close_slices, numbers};

use super::round_trip;

/// Overconfident predictions of `n` images of the classes of the competition, of which the last has no images.
fn held_out(n: usize) -> HeldOut {
    let task = Task::mask_gender_age();
    let n_classes = task.n_classes();
    let (logits, noise) = (numbers("zoo/logits", n * 18), numbers("zoo/noise", n * 18));
    let class = |image: usize| {
        let at = |class: usize| logits[image * 18 + class] + 1.5 * noise[image * 18 + class];
        (0..17).max_by(|a, b| at(*a).total_cmp(&at(*b))).unwrap_or_default()
    };
    let mut p: Vec<f64> = logits.iter().map(|it| (6.0 * it).exp()).collect();
    for row in p.chunks_mut(n_classes) {
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|it| *it /= sum);
    }
    let classes = (0..n).map(class).collect();
    let (groups, folds) = ((0..n).map(|it| it / 7).collect(), vec![0; n]);
    HeldOut { task, classes, groups, folds, members: vec![p] }
}

fn fit_all(held_out: &HeldOut) -> Vec<(&'static str, CalibrationConfig)> {
    let fit = |&(kind, _): &(&'static str, &str)| {
        (kind, CalibrationConfig::fit(kind, held_out).expect("images"))
    };
    CalibrationConfig::KINDS.iter().map(fit).collect()
}

fn log_loss(it: &HeldOut) -> f64 {
    let loss = |image: usize| -it.row(0, image)[it.classes[image]].ln();
    (0..it.n_images()).map(loss).sum::<f64>() / it.n_images() as f64
}

#[test]
fn every_calibration_returns_probabilities() {
    // Of many images, of one, and at the defaults.
    for all in [fit_all(&held_out(300)), fit_all(&held_out(1)), CalibrationConfig::zoo()] {
        round_trip(all.clone());
        for (kind, it) in all {
            assert_eq!(it.get().problem(18), None, "{kind}");
            let mut sharp = vec![0.0; 18];
            sharp[17] = 1.0;
            for row in [held_out(1).members.remove(0), vec![1.0 / 18.0; 18], sharp] {
                let p = it.get().apply(&row);
                assert!(p.iter().all(|p| (0.0..=1.0).contains(p)), "{kind}: {p:?}");
                assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{kind}: {p:?}");
            }
            let mut nan = vec![0.1; 18];
            nan[3] = f64::NAN;
            assert!(it.get().apply(&nan)[3].is_nan(), "{kind} hides a NaN");
        }
    }
}

#[test]
fn every_calibration_lowers_the_log_loss_of_its_own_images() {
    let held_out = held_out(300);
    let before = log_loss(&held_out);
    for (kind, it) in fit_all(&held_out) {
        let after = log_loss(&it.calibrate(&held_out));
        assert!(
            if kind == "none" { after == before } else { after < before - 0.1 },
            "{kind}: {after}"
        );
    }
}

#[test]
fn the_order_of_the_images_does_not_matter() {
    let held_out = held_out(300);
    let reversed = held_out.subset(&(0..300).rev().collect::<Vec<_>>());
    for ((kind, a), (_, b)) in fit_all(&held_out).iter().zip(fit_all(&reversed)) {
        let (a, b) = (a.get().apply(held_out.row(0, 0)), b.get().apply(held_out.row(0, 0)));
        assert_eq!(a.len(), 18, "{kind}");
        check_close_slices(&a, &b, 1e-6);
    }
}

#[test]
fn a_calibration_of_other_classes_is_a_problem() {
    let of_two = HeldOut {
        task: Task::new(vec![Factor::new("class", &["a", "b"])]),
        classes: vec![0, 1, 0],
        groups: vec![0, 1, 2],
        folds: vec![0; 3],
        members: vec![vec![0.9, 0.1, 0.4, 0.6, 0.3, 0.7]],
    };
    for (kind, it) in fit_all(&of_two) {
        let has_classes = ["vector", "isotonic"].contains(&kind);
        assert_eq!(it.get().problem(3).is_some(), has_classes, "{kind}");
    }
    let error = CalibrationConfig::fit("platt", &of_two).unwrap_err();
    assert!(error.contains("`platt`") && error.contains("isotonic"), "{error}");
    assert!(CalibrationConfig::fit("vector", &of_two.subset(&[])).is_err());
}
