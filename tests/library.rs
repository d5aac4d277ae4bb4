//! The library `maskfit`: its examples run, and predict what the program does.

#[path = "../crates/maskfit/examples/own_backbone.rs"]
#[expect(dead_code, reason = "the example's own `main`")]
mod own_backbone;
#[path = "../crates/maskfit/examples/own_loss.rs"]
#[expect(dead_code, reason = "the example's own `main`")]
mod own_loss;
#[path = "../crates/maskfit/examples/own_operation.rs"]
#[expect(dead_code, reason = "the example's own `main`")]
mod own_operation;
#[path = "../crates/maskfit/examples/predict.rs"]
#[expect(dead_code, reason = "the example's own `main`")]
mod predict;
#[path = "../crates/maskfit/examples/train.rs"]
#[expect(dead_code, reason = "the example's own `main`")]
mod train;

use std::{fs, io::Cursor, path::Path, sync::Arc, thread};

use candle::Device;
use data::Content;
use infer::{Bundle, Predictor, Serving};
use maskfit::{Classifier, Ended, Image};

/// Returns an image that differs everywhere.
fn pattern(seed: u32) -> Image {
    Image::from_fn(32, 40, |x, y| [x * 7 + seed, y * 5, x * y].map(|it| (it % 256) as u8).into())
}

#[test]
fn a_run_is_trained_with_a_callback_and_predicts_as_the_program_does() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    // Stopped after the first evaluation, and resumed by the same call.
    let (scores, ended) = train::train(&run, 0.0).unwrap();
    assert!(matches!(ended, Ended::Stopped { step } if step == scores[0].0), "{scores:?}");
    let (more, ended) = train::train(&run, 2.0).unwrap();
    assert!(matches!(ended, Ended::Finished(_)) && more[0].0 > scores[0].0, "{more:?}");
    let err = train::train(&run, 2.0).err().unwrap().to_string();
    assert!(err.contains("this run is finished"), "{err}");

    let best = run.join("best");
    let images: Vec<Image> = (0..3).map(pattern).collect();
    let encoded = |image: &Image| {
        let mut png = Cursor::new(Vec::new());
        image.write_to(&mut png, image::ImageFormat::Png).unwrap();
        ("image".to_owned(), Content::Memory(png.into_inner().into()))
    };
    let files: Arc<[_]> = images.iter().map(encoded).collect();
    let predictor = Predictor::new(Bundle::open(&best, &Device::Cpu).unwrap(), &Device::Cpu);
    let serving = Serving { batch_size: 2, num_workers: 1, prefetch: 1, cache: None };
    let want = predictor.predict(&files, serving, &mut |_, _| {}).unwrap();
    let classifier = Classifier::open(&best).unwrap();
    // From several threads at once.
    let predicted: Vec<_> = thread::scope(|scope| {
        let predict = |it| classifier.predict(it).unwrap();
        let all = images.chunks(1).map(|it| scope.spawn(move || predict(it)));
        let all: Vec<_> = all.collect();
        all.into_iter().flat_map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(predicted, want);
    let named = predict::predict(&best, &images).unwrap();
    assert_eq!(named[0].0, classifier.class_names()[want[0].predicted]);
    assert_eq!(named[0].1, want[0].probabilities[want[0].predicted]);
    // Files, of which one has no end.
    let bytes: Vec<_> = files.iter().map(|it| it.1.bytes().unwrap().into_owned()).collect();
    assert_eq!(classifier.predict_encoded(&bytes).unwrap(), want);
    let cut = &bytes[0][..bytes[0].len() - 20];
    let err = classifier.predict_encoded(&[&bytes[1], cut]).unwrap_err().to_string();
    assert!(err.starts_with("image 1: ") && err.contains("truncated"), "{err}");
    let small = Image::new(8, 8);
    let err = classifier.predict(&[pattern(0), small]).unwrap_err().to_string();
    assert!(err.starts_with("image 1: `center_crop`: "), "{err}");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_loss_of_ones_own_is_a_setting() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(own_loss::with_poly1(dir.path()).unwrap(), 2);
    let config = read(&dir.path().join("config.toml"));
    assert!(config.contains("kind = \"poly1\"") && config.contains("epsilon = 2.0"), "{config}");
    let wrong = "[loss]\nkind = \"poly1\"\nepsilom = 2.0";
    let err = maskfit::experiment("own.toml", wrong).unwrap_err().to_string();
    assert!(err.contains("epsilom") && err.contains("of kind `poly1`"), "{err}");
}

#[test]
fn an_operation_of_ones_own_is_in_the_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let probabilities = own_operation::with_vignette(dir.path(), pattern(0)).unwrap();
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{probabilities:?}");
    let bundle = read(&dir.path().join("best/bundle.toml"));
    assert!(bundle.contains("kind = \"vignette\""), "{bundle}");
}

#[test]
fn a_backbone_of_ones_own_is_trained_and_opened() {
    let dir = tempfile::tempdir().unwrap();
    let probabilities = own_backbone::with_tiny(dir.path(), pattern(0)).unwrap();
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{probabilities:?}");
    let bundle = read(&dir.path().join("best/bundle.toml"));
    assert!(bundle.contains("kind = \"tiny\"") && bundle.contains("widths = [8, 16]"), "{bundle}");
}
