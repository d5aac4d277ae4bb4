use base::{Task, task::Factor};

use super::{Decision, FactorThresholds, Tune};
use crate::HeldOut;

/// Two kinds, and ages in three ranges: class = kind * 3 + age.
fn kind_and_age() -> Task {
    Task::new(vec![
        Factor::new("kind", &["x", "y"]),
        Factor::ranges("age", &["<30", "30-59", ">=60"], &[30.0, 60.0]),
    ])
}

fn plain(n_classes: usize) -> Task {
    let levels: Vec<String> = (0..n_classes).map(|it| it.to_string()).collect();
    Task::new(vec![Factor { levels, ..Factor::new("class", &[]) }])
}

fn held_out(task: Task, rows: &[&[f64]], classes: &[usize]) -> HeldOut {
    let n = classes.len();
    HeldOut {
        task,
        classes: classes.to_vec(),
        groups: (0..n).collect(),
        folds: vec![0; n],
        members: vec![rows.concat()],
    }
}

fn of_age(thresholds: [f64; 2]) -> FactorThresholds {
    FactorThresholds { factor: "age".to_owned(), thresholds: thresholds.to_vec() }
}

#[test]
fn by_default_the_first_of_the_most_probable_classes_is_predicted() {
    let it = Decision::default();
    assert!(it.is_argmax());
    assert_eq!(it.problem(&plain(3)), None);
    assert_eq!(it.decide(&plain(3), &[0.2, 0.4, 0.4]), 1);
}

#[test]
fn a_weighted_class_is_predicted_earlier() {
    let it = Decision { class_weights: vec![1.0, 2.0, 1.0], thresholds: vec![] };
    assert_eq!(it.decide(&plain(3), &[0.5, 0.3, 0.2]), 1);
    assert_eq!(it.decide(&plain(3), &[0.7, 0.3, 0.0]), 0);
}

#[test]
fn a_level_is_reached_when_it_or_a_higher_one_is_probable_enough() {
    // P(level ≥ 1) = 0.65, and P(level ≥ 2) = 0.35.
    let (task, p) = (kind_and_age(), [0.30, 0.05, 0.15, 0.05, 0.25, 0.20]);
    let with =
        |thresholds| Decision { thresholds: vec![of_age(thresholds)], ..Decision::default() };
    assert_eq!(Decision::default().decide(&task, &p), 0);
    assert_eq!(with([0.5, 0.5]).decide(&task, &p), 4);
    assert_eq!(with([0.5, 0.3]).decide(&task, &p), 5);
    assert_eq!(with([0.7, 0.5]).decide(&task, &p), 0);
    // Among the classes of that age, weights decide.
    let mut weighted = with([0.5, 0.3]);
    weighted.class_weights = vec![9.0, 1.0, 2.0, 9.0, 1.0, 1.0];
    assert_eq!(weighted.problem(&task), None);
    assert_eq!(weighted.decide(&task, &p), 2);
}

#[test]
fn a_decision_that_does_not_fit_the_task_is_a_problem() {
    let task = kind_and_age();
    let problem = |class_weights, thresholds| {
        Decision { class_weights, thresholds }.problem(&task).unwrap_or_default()
    };
    assert!(problem(vec![1.0; 5], vec![]).contains("6 classes"));
    assert!(problem(vec![0.0; 6], vec![]).contains("positive"));
    let of_kind = FactorThresholds { factor: "kind".to_owned(), thresholds: vec![0.5] };
    assert!(problem(vec![], vec![of_kind]).contains("not a numeric factor"));
    let twice = vec![of_age([0.5; 2]), of_age([0.5; 2])];
    assert!(problem(vec![], twice).contains("twice"));
    assert!(problem(vec![], vec![of_age([0.5, 1.5])]).contains("2 thresholds"));
}

#[test]
fn a_rare_class_gets_a_greater_weight_than_a_frequent_one() {
    // Of 10 images the 3 of class b have p_b = 0.4, the others 0.1: all are predicted to be a.
    let rows: Vec<&[f64]> =
        (0..10).map(|it| if it < 7 { &[0.9, 0.1][..] } else { &[0.6, 0.4] }).collect();
    let classes: Vec<usize> = (0..10).map(|it| usize::from(it >= 7)).collect();
    let held_out = held_out(plain(2), &rows, &classes);
    let it = Decision::fit(&[Tune::Classes], &held_out);
    // All are right if w_a is between 0.1 / 0.9 and 0.4 / 0.6; the geometric middle is √(2/27).
    assert!((it.class_weights[0] - (2.0_f64 / 27.0).sqrt()).abs() < 1e-9, "{it:?}");
    assert_eq!(it.class_weights[1], 1.0);
    let predicted: Vec<usize> = rows.iter().map(|row| it.decide(&held_out.task, row)).collect();
    assert_eq!(predicted, classes);
}

#[test]
fn a_threshold_is_the_middle_of_the_best_interval() {
    // The oldest have P(≥ 60) = 0.3, others 0.1; P(≥ 30) is 1.0 for those from 30 on and 0.2 for the youngest.
    let (old, middle, young) = ([0.0, 0.7, 0.3], [0.0, 0.9, 0.1], [0.8, 0.1, 0.1]);
    let rows = [&old[..], &old, &middle, &young];
    let task = Task::new(vec![Factor::ranges("age", &["a", "b", "c"], &[30.0, 60.0])]);
    let held_out = held_out(task, &rows, &[2, 2, 1, 0]);
    let it = Decision::fit(&[Tune::Thresholds], &held_out);
    // The first stays at its default; the second is between 0.1 and 0.3.
    assert_eq!(it.thresholds[0].thresholds[0], 0.5);
    assert!((it.thresholds[0].thresholds[1] - 0.2).abs() < 1e-9, "{it:?}");
}

#[test]
fn where_nothing_is_better_the_most_probable_class_remains() {
    let both = [Tune::Classes, Tune::Thresholds];
    let correct = held_out(kind_and_age(), &[&[0.9, 0.02, 0.02, 0.02, 0.02, 0.02]], &[0]);
    assert!(Decision::fit(&both, &correct).is_argmax());
    assert!(Decision::fit(&both, &held_out(kind_and_age(), &[], &[])).is_argmax());
    assert!(Decision::fit(&both, &held_out(plain(1), &[&[1.0]], &[0])).is_argmax());
}

#[test]
fn a_thousand_classes_are_tuned() {
    // Image i is of class i % 1000, which has a little less than half; class 0 has the rest.
    const N: usize = 2000;
    let mut members = vec![0.0; N * 1000];
    for image in 0..N {
        members[image * 1000] = 0.55;
        members[image * 1000 + image % 1000] += 0.45;
    }
    let classes: Vec<usize> = (0..N).map(|it| it % 1000).collect();
    let held_out = HeldOut { members: vec![members], ..held_out(plain(1000), &[], &classes) };
    let it = Decision::fit(&[Tune::Classes], &held_out);
    // With a weight of class 0 below 0.45 / 0.55 every image is right.
    let right =
        |it: &Decision, image| it.decide(&held_out.task, held_out.row(0, image)) == classes[image];
    assert!((0..N).all(|image| right(&it, image)));
}
