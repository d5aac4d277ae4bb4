//! Every combination of members.

use base::{Task, task::Factor};
use ensemble::{By, CombineConfig, Fit, HeldOut, Predicted, Weights};
use metrics::{MacroF1, argmax};
use testkit::{check_close_slices, numbers};

use super::round_trip;

/// Predictions of `n` images of the classes of the competition, of which the last has no images, by members of
/// different quality.
fn held_out(n: usize, n_members: usize) -> HeldOut {
    let classes: Vec<usize> = (0..n).map(|it| it * 5 % 23 % 17).collect();
    let member = |idx: usize| {
        let noise = numbers(&format!("combinations/{idx}"), n * 18);
        let mut rows = Vec::new();
        for (image, noise) in noise.chunks(18).enumerate() {
            let lift = 2.0 + 0.5 * idx as f64;
            let p = |(class, x): (usize, &f64)| {
                (3.0 * x + lift * f64::from(class == classes[image])).exp()
            };
            let row: Vec<f64> = noise.iter().enumerate().map(p).collect();
            let sum: f64 = row.iter().sum();
            rows.extend(row.into_iter().map(|it| it / sum));
        }
        rows
    };
    HeldOut {
        task: Task::mask_gender_age(),
        members: (0..n_members).map(member).collect(),
        groups: (0..n).map(|it| it / 7).collect(),
        folds: vec![0; n],
        classes,
    }
}

/// Every combination, fitted in every way that applies to it.
fn fit_all(held_out: &HeldOut) -> Vec<(&'static str, CombineConfig)> {
    let mut all = Vec::new();
    for (kind, it) in CombineConfig::zoo() {
        let weights = match it.get().weights() {
            Some(_) => vec![Weights::default(), Weights::Fit, Weights::Greedy],
            None => vec![Weights::default()],
        };
        for weights in weights {
            for by in [By::LogLoss, By::MacroF1] {
                let how = Fit { weights: weights.clone(), by };
                all.push((kind, it.fit(held_out, &how).expect(kind)));
            }
        }
    }
    all
}

#[test]
fn every_combination_returns_probabilities() {
    round_trip(CombineConfig::zoo());
    for n_members in [1, 3] {
        let held_out = held_out(120, n_members);
        let all = fit_all(&held_out);
        round_trip(all.clone());
        let mut certain = vec![0.0; 18];
        certain[17] = 1.0;
        let (own, uniform) = (held_out.row(0, 3).to_vec(), vec![1.0 / 18.0; 18]);
        for (kind, it) in &all {
            let it = it.get();
            assert_eq!(it.problem(n_members, 18), None, "{kind}");
            for row in [&own, &uniform, &certain] {
                let p = it.combine(&vec![row.as_slice(); n_members]);
                assert!(p.iter().all(|p| (0.0..=1.0 + 1e-12).contains(p)), "{kind}: {p:?}");
                assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{kind}: {p:?}");
            }
            let mut nan = own.clone();
            nan[3] = f64::NAN;
            let p = it.combine(&vec![nan.as_slice(); n_members]);
            assert!(p.iter().any(|it| it.is_nan()), "{kind} hides a NaN");
        }
    }
}

#[test]
fn every_combination_of_several_is_better_than_the_worst_member() {
    let held_out = held_out(400, 3);
    let worst = Predicted::member(&held_out, 0).score(&MacroF1::DEFAULT);
    for (kind, it) in fit_all(&held_out) {
        // Ranks compare images, not classes: their most probable class may be worse.
        let score = Predicted::combined(&held_out, &it).score(&MacroF1::DEFAULT);
        assert!(kind == "rank_average" || score > worst, "{kind}: {score} beside {worst}");
    }
}

#[test]
fn neither_threads_nor_the_order_of_the_images_change_a_combination() {
    let held_out = held_out(300, 3);
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    let fitted = pool(1).install(|| fit_all(&held_out));
    assert_eq!(pool(3).install(|| fit_all(&held_out)), fitted);
    let reversed = fit_all(&held_out.subset(&(0..300).rev().collect::<Vec<_>>()));
    for ((kind, a), (_, b)) in fitted.iter().zip(&reversed) {
        let rows = held_out.rows(5);
        let (a, b) = (a.get().combine(&rows), b.get().combine(&rows));
        assert_eq!(argmax(&a), argmax(&b), "{kind}");
        check_close_slices(&a, &b, 1e-3);
    }
}

#[test]
fn a_combination_of_other_members_or_classes_is_a_problem() {
    for (kind, it) in fit_all(&held_out(60, 3)) {
        let is_equal = it.get().weights().is_some_and(<[f64]>::is_empty);
        let is_any = is_equal && ["soft_vote", "hard_vote"].contains(&kind);
        assert_eq!(it.get().problem(4, 18).is_none(), is_any, "{kind}");
        if ["rank_average", "stack"].contains(&kind) {
            assert!(it.get().problem(3, 17).is_some(), "{kind}");
        }
    }
    let error = CombineConfig::of_kind("mean").unwrap_err();
    assert!(error.contains("`mean`") && error.contains("rank_average"), "{error}");
}

#[test]
fn what_cannot_be_combined_is_an_error() {
    let mut held_out = held_out(10, 2);
    let refused = |held_out: &HeldOut, weights: &[f64]| {
        let how = Fit { weights: Weights::Given(weights.to_vec()), by: By::LogLoss };
        CombineConfig::default().fit(held_out, &how).unwrap_err()
    };
    assert!(refused(&held_out, &[1.0]).contains("are 2 numbers"));
    assert!(refused(&held_out.subset(&[]), &[]).contains("no held-out predictions"));
    held_out.members[1][4] = f64::NAN;
    assert!(refused(&held_out, &[]).contains("member 2: a held-out probability is not finite"));
}

#[test]
fn a_thousand_classes_are_combined_and_too_large_a_stack_is_refused() {
    let levels: Vec<String> = (0..1000).map(|it| it.to_string()).collect();
    let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
    let noise = numbers("combinations/many", 2 * 30 * 1000);
    let member = |all: &[f64]| all.iter().map(|it| it.abs() / 500.0).collect();
    let held_out = HeldOut {
        task: Task::new(vec![Factor::new("class", &levels)]),
        classes: (0..30).map(|it| it * 33).collect(),
        groups: (0..30).collect(),
        folds: vec![0; 30],
        members: noise.chunks(30 * 1000).map(member).collect(),
    };
    for kind in ["soft_vote", "hard_vote", "rank_average"] {
        for weights in [Weights::default(), Weights::Fit, Weights::Greedy] {
            let how = Fit { weights, by: By::MacroF1 };
            let it = CombineConfig::of_kind(kind).unwrap().fit(&held_out, &how).unwrap();
            assert_eq!(it.get().combine(&held_out.rows(0)).len(), 1000, "{kind}");
        }
    }
    // Only 30 classes occur: 2000 features of each are still few enough.
    let stack = CombineConfig::of_kind("stack").unwrap();
    assert!(stack.fit(&held_out, &Fit::default()).is_ok());
    let more = HeldOut {
        classes: (0..1000).collect(),
        groups: (0..1000).collect(),
        folds: vec![0; 1000],
        members: vec![vec![1e-3; 1_000_000]],
        ..held_out
    };
    let error = stack.fit(&more, &Fit::default()).unwrap_err();
    assert!(error.contains("1000000 coefficients") && error.contains("`soft_vote`"), "{error}");
}
