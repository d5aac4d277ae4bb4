//! Wrong labels are found: synthetic people, some of whose images have flipped labels, and the
//! out-of-fold predictions of cross-validation.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
};

use base::config::Layer;
use candle::Device;
use infer::LabelledPredictions;
use metrics::{LabelScore, label_issues};
use trainer::{
    Experiment, Run,
    kfold::{KfoldEnded, kfold, with_folds},
};

use crate::small::{self, StopsAt, manifest, plan};

/// The quick start on fewer groups, 5 % of whose images have another joint label.
const SETTINGS: &str = r#"
data.source = { kind = "synthetic_people", n_people = 400, n_test = 0, wrong_labels = 0.0, flipped = 0.05 }
train.total = "20 epochs"
eval.every = "20 epochs"
"#;

/// Enables the tests that train for minutes: `MASKFIT_TEST_LABELS=1 cargo xtask test labels -- --nocapture`.
const VARIABLE: &str = "MASKFIT_TEST_LABELS";

#[test]
fn first_tenth_of_the_list_has_80_percent_of_the_flipped_labels() {
    if std::env::var(VARIABLE).is_err() {
        eprintln!("skipped: it trains for minutes; set {VARIABLE} to run it");
        return;
    }
    let experiment = Experiment::load(&[Layer::from_toml("labels", SETTINGS).unwrap()]).unwrap();
    let experiment = with_folds(&experiment, Some(3));
    let flipped = manifest(&experiment);
    let mut unflipped = experiment.clone();
    unflipped.data.source = toml::from_str(
        "kind = \"synthetic_people\"\nn_people = 400\nn_scored = 0\nwrong_labels = 0.0\nflipped = 0.0",
    )
    .unwrap();
    let true_classes: HashMap<String, usize> =
        manifest(&unflipped).examples.into_iter().map(|it| (it.name, it.class)).collect();

    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(&dir.path().join("run"), &experiment.to_toml()).unwrap();
    let (device, callback) = (&Device::Cpu, &StopsAt::never());
    let ended = kfold(&experiment, &flipped, &run, device, callback, |_, _, _, _| {}).unwrap();
    let KfoldEnded::Finished(outcome) = ended else { panic!("stopped unexpectedly") };
    eprintln!("macro F1 on labels as given: {:.3}", outcome.joined.joint().macro_f1.value);
    let labelled = LabelledPredictions::open(&run.dir().join("oof.csv"), &flipped.task).unwrap();
    let images = labelled.images.iter().zip(&labelled.predictions.classes);
    let is_wrong: Vec<bool> = images.map(|(name, &given)| true_classes[name] != given).collect();
    let n_wrong = is_wrong.iter().filter(|&&it| it).count();
    assert!(n_wrong > 100, "{n_wrong} of 2800 labels are not 5 %");

    // The list is cut after a tenth of its labels; or, which is harder, where it contains a tenth of the
    // images, each of which has a label for each factor.
    for by in [LabelScore::SelfConfidence, LabelScore::NormalisedMargin] {
        let issues = label_issues(&labelled.predictions, by);
        let listed = |n_labels: usize| -> BTreeSet<usize> {
            issues.iter().take(n_labels).flat_map(|it| it.images.iter().copied()).collect()
        };
        let (n, tenth) = (is_wrong.len(), issues.len() / 10);
        let within = |&it: &usize| listed(it).len() <= n / 10;
        let n_labels = (0..tenth).rev().find(within).unwrap_or(0);
        let recall = |n_labels: usize| {
            let n_found = listed(n_labels).iter().filter(|&&it| is_wrong[it]).count();
            n_found as f64 / n_wrong as f64
        };
        eprintln!(
            "{by:?}: {:.3} of {n_wrong} in the first tenth of {} labels, {:.3} in the first tenth of \
             {n} images",
            recall(tenth),
            issues.len(),
            recall(n_labels)
        );
        assert!(by == LabelScore::NormalisedMargin || recall(tenth) >= 0.8);
    }
}

#[test]
fn image_of_weight_0_is_not_trained_on_but_validated() {
    let before = plan(&small::experiment(&[]));
    let (trained, held_out) = (before.sides.train[3], before.sides.valid[3]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.csv");
    let row = |at: usize, decision: &str| {
        let (group, name) = (&before.groups[before.persons[at]], &before.images[at].0);
        format!("{group},{name},gender,male,female,0,{decision}\n")
    };
    let half = before.sides.train[4];
    let rows =
        [row(trained, "weight 0"), row(held_out, "weight 0"), row(half, "weight 0.5")].concat();
    let header = "group,image,factor,given,suggested,score,decision\n";
    fs::write(&path, [header, &rows].concat()).unwrap();
    let after = plan(&small::experiment(&[&format!("data.reviewed=['{}']", path.display())]));
    assert_eq!([trained, held_out, half].map(|it| after.weights[it]), [0.0, 0.0, 0.5]);
    let others = before.sides.train.iter().filter(|&&it| it != trained);
    assert!(after.sides.train.iter().eq(others));
    assert_eq!(after.sides.valid, before.sides.valid);
}
