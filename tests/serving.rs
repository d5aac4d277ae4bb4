//! A predicted probability equals the validation probability of the same image.

use std::{fs, rc::Rc, sync::Arc};

use augment::ViewsConfig;
use base::{Seed, Task, table::number};
use candle::Device;
use data::Content;
use infer::{Bundle, LabelledReader, Member, Prediction, Predictor, Row, Serving};
use metrics::argmax;
use models::Model;
use trainer::{Run, fit};

use crate::small::{StopsAt, experiment, manifest, plan};

/// Trains a small run, and checks that its best bundle predicts what its `valid.csv` has.
fn check_served(sets: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let experiment = experiment(sets);
    let run = Run::create(&path, &experiment.to_toml()).unwrap();
    fit(&plan(&experiment), &run, &StopsAt::never()).unwrap();
    let manifest = manifest(&experiment);
    let (mut valid, mut row) = (Vec::new(), Row::default());
    let mut reader = LabelledReader::open(&path.join("valid.csv"), &manifest.task).unwrap();
    while reader.next(&mut row).unwrap() {
        valid.push(row.clone());
    }

    // The bundle alone, moved elsewhere, with the images as files.
    let moved = dir.path().join("moved");
    fs::rename(run.best(), &moved).unwrap();
    let mut images = Vec::new();
    for name in valid.iter().map(|it| &it.image) {
        let example = manifest.examples.iter().find(|it| it.name == *name).unwrap();
        let file = dir.path().join(name.replace('/', "_"));
        fs::write(&file, example.content.bytes().unwrap()).unwrap();
        images.push((name.clone(), Content::File(file)));
    }
    let images: Arc<[_]> = images.into();
    for batch_size in [128, 5, 1] {
        let bundle = Bundle::open(&moved, &Device::Cpu).unwrap();
        for (row, got) in valid.iter().zip(served(&bundle, &images, batch_size)) {
            // A table has nine digits.
            let got = got.probabilities.iter().map(|&it| number(it).parse::<f64>().unwrap());
            let worst = row.probabilities.iter().zip(got).map(|(a, b)| (a - b).abs());
            let worst = worst.fold(0.0, f64::max);
            let name = &row.image;
            assert!(worst == 0.0, "{sets:?}: {name} at {batch_size}: off by {worst:e}");
        }
    }
}

fn served(
    bundle: &Bundle,
    images: &Arc<[(String, Content)]>,
    batch_size: usize,
) -> Vec<Prediction> {
    let predictor = Predictor::new(bundle.clone(), &Device::Cpu);
    let serving = Serving { batch_size, num_workers: 2, prefetch: 2, cache: None };
    predictor.predict(images, serving, &mut |_, _| {}).unwrap()
}

/// The best bundle of a small run.
fn trained(sets: &[&str]) -> Bundle {
    let dir = tempfile::tempdir().unwrap();
    let experiment = experiment(sets);
    let run = Run::create(&dir.path().join("run"), &experiment.to_toml()).unwrap();
    fit(&plan(&experiment), &run, &StopsAt::never()).unwrap();
    Bundle::open(&run.best(), &Device::Cpu).unwrap()
}

/// Some images, in memory.
fn images(n: usize) -> Vec<(String, Content)> {
    let manifest = manifest(&experiment(&[]));
    manifest.examples.iter().take(n).map(|it| (it.name.clone(), it.content.clone())).collect()
}

#[track_caller]
fn check_same(a: &Prediction, b: &Prediction, tolerance: f64) {
    let worst = a.probabilities.iter().zip(&b.probabilities).map(|(a, b)| (a - b).abs());
    let worst = worst.fold(0.0, f64::max);
    assert!(worst <= tolerance, "off by {worst:e}");
}

#[test]
fn bundle_predicts_the_validation_probabilities() {
    check_served(&["train.total=2 epochs"]);
}

#[test]
fn bundle_predicts_the_validation_probabilities_with_every_kind_of_views() {
    for (kind, _) in ViewsConfig::zoo() {
        check_served(&["train.total=1 epochs", &format!("tta.kind={kind}")]);
    }
}

#[test]
fn an_ensemble_with_views_calibration_and_decision_serves_what_it_is_made_of() {
    let a = trained(&["train.total=1 epochs", "tta.kind=augment"]);
    let b =
        trained(&["train.total=1 epochs", "seed=2", "tta={ kind = crops, n = 5, merge = max }"]);
    let named = vec![("a".to_owned(), a.clone()), ("b".to_owned(), b.clone())];
    let mut bundle = Bundle::join(named, &[0.25, 0.75]).unwrap();
    bundle.calibration = toml::from_str("kind = \"temperature\"\ntemperature = 0.5").unwrap();
    let n_classes = bundle.task.n_classes();
    bundle.decision.class_weights = (0..n_classes).map(|it| 1.0 + it as f64).collect();
    bundle.conformal = Some(
        toml::from_str("n_groups = 99\nfolds = [{ scores = [0.2, 0.9], weights = [0.5, 0.95] }]")
            .unwrap(),
    );
    let dir = tempfile::tempdir().unwrap();
    bundle.save(dir.path(), "1").unwrap();
    let bundle = Bundle::open(dir.path(), &Device::Cpu).unwrap();

    let mut images = images(9);
    let all: Arc<[_]> = images.clone().into();
    // Alone: the same views for fewer images, because theirs are not loaded with the others'.
    let (of_a, of_b) = (served(&a, &all, 1), served(&b, &all, 1));
    let alone = served(&bundle, &all, 1);
    for ((a, b), both) in of_a.iter().zip(&of_b).zip(&alone) {
        assert_eq!([&a.probabilities, &b.probabilities], [&both.members[0], &both.members[1]]);
        // Temperature 1/2 squares probabilities: q = p² / Σ p².
        let mean = a.probabilities.iter().zip(&b.probabilities).map(|(a, b)| 0.25 * a + 0.75 * b);
        let squares: Vec<f64> = mean.map(|p| p * p).collect();
        let sum: f64 = squares.iter().sum();
        for (got, square) in both.probabilities.iter().zip(&squares) {
            assert!((got - square / sum).abs() < 1e-9, "{got} is not {}", square / sum);
        }
        let weighted = both.probabilities.iter().zip(1_u8..).map(|(p, w)| p * f64::from(w));
        assert_eq!(both.predicted, argmax(&weighted.collect::<Vec<_>>()));
        assert_eq!(both.set, None);
    }
    for (one, many) in alone.iter().zip(served(&bundle, &all, 64)) {
        assert_eq!(*one, many);
    }
    images.reverse();
    for (one, turned) in alone.iter().rev().zip(served(&bundle, &images.into(), 1)) {
        assert_eq!(*one, turned);
    }

    // Sets need a level.
    let predictor = || Predictor::new(bundle.clone(), &Device::Cpu);
    assert!(predictor().with_sets(1.0).is_err());
    let plain = Predictor::new(a, &Device::Cpu).with_sets(0.9).err().unwrap();
    assert!(plain.contains("no scores of held-out images"), "{plain}");
    let serving = Serving { batch_size: 1, num_workers: 1, prefetch: 1, cache: None };
    let with_sets = predictor().with_sets(0.9).unwrap();
    for (it, alone) in
        with_sets.predict(&all, serving, &mut |_, _| {}).unwrap().into_iter().zip(alone)
    {
        // A set has the classes with 1 - p up to 0.9, and the most probable one.
        let best = argmax(&it.probabilities);
        let set = (0..n_classes).filter(|&c| 1.0 - it.probabilities[c] <= 0.9 || c == best);
        assert_eq!(it.set, Some(set.collect()));
        assert_eq!(Prediction { set: None, ..it }, alone);
    }
}

#[test]
fn the_members_of_an_input_are_averaged_first() {
    let sets = |seed: &'static str| trained(&["train.total=1 epochs", seed]);
    let all = ["seed=1", "seed=2", "seed=3"].map(sets);
    let members: Vec<_> = all.iter().map(|it| it.members[0].clone()).collect();
    let mut bundle = Bundle::new(all[0].task.clone(), members);
    bundle.inputs = vec![2, 1];
    let images: Arc<[_]> = images(5).into();
    let [a, b, c] = all.map(|it| served(&it, &images, 1));
    let got = served(&bundle, &images, 1);
    for (row, it) in got.iter().enumerate() {
        let of = |all: &[Prediction], class: usize| all[row].probabilities[class];
        for (class, p) in it.probabilities.iter().enumerate() {
            let want = of(&a, class) / 4.0 + of(&b, class) / 4.0 + of(&c, class) / 2.0;
            assert!((p - want).abs() < 1e-12);
        }
    }
    // Those of the mean of all, if each is an input.
    bundle.inputs = vec![1, 1, 1];
    let alone = served(&bundle, &images, 1);
    bundle.inputs = Vec::new();
    for (a, b) in alone.iter().zip(served(&bundle, &images, 1)) {
        check_same(a, &b, 1e-12);
    }
    bundle.inputs = vec![3, 1];
    let serving = Serving { batch_size: 1, num_workers: 1, prefetch: 1, cache: None };
    let unfit = Predictor::new(bundle, &Device::Cpu).predict(&images, serving, &mut |_, _| {});
    let err = unfit.unwrap_err().to_string();
    assert!(err.contains("at `inputs`"), "{err}");
}

#[test]
fn models_for_one_factor_each_predict_all_of_them() {
    let whole = trained(&["train.total=1 epochs"]);
    let images: Arc<[_]> = images(6).into();
    let of_factor = |idx: usize| {
        let task = Task::new(vec![whole.task.factors[idx].clone()]);
        let member = &whole.members[0];
        let model = Model::fresh(member.model.spec(), &task, Seed(idx as u64), &Device::Cpu);
        let member =
            Member { model: Rc::new(model.unwrap()), task: task.clone(), ..member.clone() };
        Bundle::new(task, vec![member])
    };
    let bundles = [0, 1, 2].map(of_factor);
    let named = bundles.iter().map(|it| (it.task.factors[0].name.clone(), it.clone()));
    let joined = Bundle::join(named.collect(), &[]).unwrap();
    assert_eq!(joined.task.factors, whole.task.factors);
    let [mask, gender, age] = bundles.map(|it| served(&it, &images, 1));
    for (row, it) in served(&joined, &images, 1).iter().enumerate() {
        for (class, p) in it.probabilities.iter().enumerate() {
            let [m, g, a] = joined.task.levels_of(class).try_into().unwrap();
            let of = |all: &[Prediction], level: usize| all[row].probabilities[level];
            let want = of(&mask, m) * of(&gender, g) * of(&age, a);
            assert!((p - want).abs() < 1e-12, "{p} is not {want}");
        }
        assert!(it.members.iter().all(Vec::is_empty), "none predicts the joint classes");
    }
}

#[test]
fn members_of_a_bundle_are_averaged() {
    let [a, b] = ["seed=1", "seed=2"].map(|seed| trained(&["train.total=1 epochs", seed]));
    let images: Arc<[_]> = images(9).into();
    let both = a.members.iter().chain(&b.members).cloned().collect();
    let both = Bundle::new(a.task.clone(), both);
    let [a, b, both] = [a, b, both].map(|it| served(&it, &images, 4));
    for ((a, b), both) in a.iter().zip(&b).zip(&both) {
        for ((a, b), both) in a.probabilities.iter().zip(&b.probabilities).zip(&both.probabilities)
        {
            assert!((both - (a + b) / 2.0).abs() < 1e-12);
        }
        assert!((both.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}
