//! A predicted probability equals the validation probability of the same image.

use std::{fs, sync::Arc};

use base::table::number;
use candle::Device;
use data::Content;
use infer::{Bundle, LabelledReader, Predictor, Row, Serving};
use trainer::{Run, fit};

use crate::small::{StopsAt, experiment, manifest, plan};

#[test]
fn bundle_predicts_the_validation_probabilities() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let experiment = experiment(&["train.total=2 epochs"]);
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
        let predictor = Predictor::new(bundle, &Device::Cpu);
        let serving = Serving { batch_size, num_workers: 2, prefetch: 2, cache: None };
        let served = predictor.predict(&images, serving, &mut |_, _| {}).unwrap();
        for (Row { image: name, probabilities: want, .. }, got) in
            valid.iter().zip(&served.probabilities)
        {
            // A table has nine digits.
            let got = got.iter().map(|&it| number(it).parse::<f64>().unwrap());
            let worst = want.iter().zip(got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            // At the batch size of validation, equal to the last digit; at others, up to rounding.
            let tolerance = if batch_size == 128 { 0.0 } else { 1e-6 };
            assert!(worst <= tolerance, "{name} at {batch_size}: off by {worst:e}");
        }
    }
}

#[test]
fn members_of_a_bundle_are_averaged() {
    let dir = tempfile::tempdir().unwrap();
    let opened = |seed: &str| {
        let experiment = experiment(&["train.total=1 epochs", seed]);
        let path = dir.path().join(seed);
        let run = Run::create(&path, &experiment.to_toml()).unwrap();
        fit(&plan(&experiment), &run, &StopsAt::never()).unwrap();
        Bundle::open(&run.best(), &Device::Cpu).unwrap()
    };
    let (a, b) = (opened("seed=1"), opened("seed=2"));
    let manifest = manifest(&experiment(&[]));
    let images: Arc<[_]> =
        manifest.examples.iter().take(9).map(|it| (it.name.clone(), it.content.clone())).collect();
    let probabilities = |bundle: &Bundle| {
        let serving = Serving { batch_size: 4, num_workers: 1, prefetch: 1, cache: None };
        let predictor = Predictor::new(bundle.clone(), &Device::Cpu);
        predictor.predict(&images, serving, &mut |_, _| {}).unwrap().probabilities
    };
    let both = Bundle {
        task: a.task.clone(),
        members: a.members.iter().chain(&b.members).cloned().collect(),
    };
    let (a, b, both) = (probabilities(&a), probabilities(&b), probabilities(&both));
    for ((a, b), both) in a.iter().zip(&b).zip(&both) {
        for ((a, b), both) in a.iter().zip(b).zip(both) {
            assert!((both - (a + b) / 2.0).abs() < 1e-12);
        }
        assert!((both.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}
