use base::{
    Rng, Seed, Task,
    task::{Factor, Unit},
};
use rand::Rng as _;

use super::Conformal;
use crate::HeldOut;

/// Two classes, where an image's true class is the first with this probability.
fn held_out(p: &[f64], groups: &[usize], folds: &[usize]) -> HeldOut {
    HeldOut {
        task: Task::new(vec![Factor::new("class", &["a", "b"])]),
        classes: vec![0; p.len()],
        groups: groups.to_vec(),
        folds: folds.to_vec(),
        members: vec![p.iter().flat_map(|p| [*p, 1.0 - p]).collect()],
    }
}

#[test]
fn a_threshold_is_the_score_that_enough_groups_stay_below() {
    // Scores 0.1 to 0.4 of 4 people, with the weight 1/5 each.
    let it = Conformal::split(&held_out(&[0.9, 0.8, 0.7, 0.6], &[0, 1, 2, 3], &[0; 4])).unwrap();
    let close = |level: f64, want: f64| (it.threshold(level).unwrap() - want).abs() < 1e-12;
    assert!(close(0.5, 0.3) && close(0.6, 0.3) && close(0.61, 0.4) && close(0.8, 0.4));
    assert_eq!(it.threshold(0.81), Some(f64::INFINITY));
    assert_eq!((it.guarantee(0.9), it.problem()), (0.9, None));
}

#[test]
fn the_images_of_a_group_share_its_weight() {
    // Group 0 has scores 0.1 and 0.2 with 1/6 each, group 1 has 0.5 with 1/3.
    let it = Conformal::split(&held_out(&[0.9, 0.8, 0.5], &[0, 0, 1], &[0; 3])).unwrap();
    let close = |level: f64, want: f64| (it.threshold(level).unwrap() - want).abs() < 1e-12;
    assert!(close(0.1, 0.1) && close(0.3, 0.2) && close(0.4, 0.5) && close(0.6, 0.5));
}

#[test]
fn with_too_few_groups_the_set_holds_every_class_and_that_is_said() {
    let it = Conformal::split(&held_out(&[0.9; 8], &[0, 1, 2, 3, 4, 5, 6, 7], &[0; 8])).unwrap();
    assert_eq!(it.set(0.9, &[&[0.99, 0.01]]), [0, 1]);
    assert_eq!(
        it.too_few(0.9, Unit::Person).unwrap(),
        "sets of level 0.9 hold every class: they take 9 people held out, not 8"
    );
    assert_eq!(it.too_few(0.85, Unit::Person), None);
    assert_eq!([0.5, 0.9, 0.95, 0.99].map(Conformal::n_groups_needed), [1, 9, 19, 99]);
    let nobody = Conformal::split(&held_out(&[], &[], &[])).unwrap_err();
    assert!(nobody.contains("no held-out images"), "{nobody}");
}

#[test]
fn the_most_probable_class_is_in_every_set() {
    let p = vec![1.0; 20];
    let it = Conformal::split(&held_out(&p, &(0..20).collect::<Vec<_>>(), &[0; 20])).unwrap();
    // All scores are 0, and no class of this image has such a low one.
    assert_eq!(it.set(0.5, &[&[0.4, 0.6]]), [1]);
    assert_eq!(it.set(0.5, &[&[0.0, 1.0]]), [1]);
}

#[test]
fn many_scores_are_stored_as_few_that_only_add_classes() {
    const N: usize = 20_000;
    let p: Vec<f64> = (0..N).map(|it| 1.0 - (it as f64 + 0.5) / N as f64).collect();
    let it = Conformal::split(&held_out(&p, &(0..N).collect::<Vec<_>>(), &vec![0; N])).unwrap();
    assert!(it.folds[0].scores.len() <= 4001, "{}", it.folds[0].scores.len());
    for level in [0.1, 0.5, 0.9, 0.99] {
        // The score at this level is the level, to 1 / N; what is stored is at most 1 / 4000 above it.
        let above = it.threshold(level).unwrap() - level;
        assert!((-1e-4..4e-4).contains(&above), "{level}: {above}");
    }
    assert_eq!(it.problem(), None);
}

#[test]
fn cv_plus_takes_several_folds_without_a_common_group() {
    let error = |folds: &[usize]| Conformal::cv_plus(&held_out(&[0.9; 4], &[0, 0, 1, 1], folds));
    assert!(error(&[0; 4]).unwrap_err().contains("2 folds"));
    assert!(error(&[0, 1, 1, 1]).unwrap_err().contains("in common"));
    let it = error(&[0, 0, 1, 1]).unwrap();
    assert!(it.is_cv_plus() && it.threshold(0.5).is_none());
    assert!((it.guarantee(0.9) - 0.8).abs() < 1e-12);
}

/// The images of a new person: their scores differ by 0.1 at most, those of people by 0.8; and those of hard
/// people, who have one image instead of nine, are the greatest.
fn person(rng: &mut Rng) -> Vec<f64> {
    let difficulty = rng.random::<f64>();
    let n_images = if difficulty > 0.7 { 1 } else { 9 };
    (0..n_images).map(|_| 1.0 - 0.8 * difficulty - 0.1 * rng.random::<f64>()).collect()
}

/// Returns how often of 1,000 draws the set of level 0.9 of a new person's image holds the true class, with 39
/// people held out; by people, and as if images were independent.
fn coverage() -> [usize; 2] {
    let mut rng = Seed(0).stream("coverage");
    let mut n_covered = [0; 2];
    for _ in 0..1000 {
        let people: Vec<Vec<f64>> = (0..39).map(|_| person(&mut rng)).collect();
        let of = |it: usize| std::iter::repeat_n(it, people[it].len());
        let (p, groups) = (people.concat(), (0..39).flat_map(of).collect::<Vec<_>>());
        let image = person(&mut rng)[0];
        let alone: Vec<usize> = (0..p.len()).collect();
        for (groups, n) in [groups, alone].iter().zip(&mut n_covered) {
            let it = Conformal::split(&held_out(&p, groups, &vec![0; p.len()])).unwrap();
            *n += usize::from(it.set(0.9, &[&[image, 1.0 - image]]).contains(&0));
        }
    }
    n_covered
}

#[test]
fn sets_hold_the_class_of_a_new_persons_image_as_often_as_promised() {
    // A share of 0.9 of 1,000 draws, to 3.3 standard errors of 9.5: a chance of 1 in 1,000 to be beyond.
    let [by_person, by_image] = coverage();
    assert!((869..=931).contains(&by_person), "{by_person}");
    // Most images are of easy people: the quantile over images is too low for a person.
    assert!(by_image < 750, "{by_image}");
}

#[test]
fn cv_plus_holds_the_class_at_least_as_often_as_promised() {
    let mut rng = Seed(0).stream("coverage/cv_plus");
    let mut n_covered = 0;
    for _ in 0..1000 {
        // Each of five models is wrong in its own way, about every person.
        let mut by_models = || -> Vec<f64> {
            let difficulty = rng.random::<f64>();
            (0..5).map(|_| 1.0 - 0.6 * difficulty - 0.3 * rng.random::<f64>()).collect()
        };
        let people: Vec<Vec<f64>> = (0..40).map(|_| by_models()).collect();
        let folds: Vec<usize> = (0..40).map(|it| it % 5).collect();
        let p: Vec<f64> = people.iter().zip(&folds).map(|(p, fold)| p[*fold]).collect();
        let it = Conformal::cv_plus(&held_out(&p, &(0..40).collect::<Vec<_>>(), &folds)).unwrap();
        let rows: Vec<[f64; 2]> = by_models().iter().map(|p| [*p, 1.0 - p]).collect();
        let rows: Vec<&[f64]> = rows.iter().map(|it| it.as_slice()).collect();
        n_covered += usize::from(it.set(0.9, &rows).contains(&0));
    }
    // Promised are 800, to 3.3 standard errors of 12.6; in practice it is near 900.
    assert!(n_covered >= 800 - 42, "{n_covered}");
}

#[test]
fn the_measured_coverage_is_near_the_level() {
    let mut rng = Seed(0).stream("coverage/measured");
    let people: Vec<Vec<f64>> = (0..1000).map(|_| person(&mut rng)).collect();
    let groups: Vec<usize> =
        (0..1000).flat_map(|it| std::iter::repeat_n(it, people[it].len())).collect();
    let held_out = held_out(&people.concat(), &groups, &vec![0; groups.len()]);
    let parts: Vec<usize> = groups.iter().map(|it| it % 5).collect();
    let [low, high] = Conformal::coverage(&held_out, &parts, &[0.5, 0.9]).unwrap()[..] else {
        unreachable!()
    };
    // Of 1,000 people, to 3.3 standard errors of 0.0095 (the sets of the parts depend on each other, a little).
    assert!((high.covered - 0.9).abs() < 0.04, "{high:?}");
    // The first class is in the set as the most probable from p = 0.5 on: half the people are above it anyway.
    assert!(low.covered >= 0.45 && low.mean_size <= high.mean_size, "{low:?}");
    assert!((1.0..=2.0).contains(&high.mean_size) && low.single >= high.single);
    // One part leaves no others to take scores of.
    assert!(Conformal::coverage(&held_out, &vec![0; parts.len()], &[0.5]).is_err());
}
