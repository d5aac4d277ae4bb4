//! A bundle that is exported to ONNX predicts what the predictor does: every head, and every way to combine,
//! calibrate and decide that is exported.

use std::{collections::BTreeMap, io::Cursor, rc::Rc, sync::Arc};

use augment::{Merge, Pipeline, Resize, Statistics, Step, TransformConfig};
use base::{
    Seed, Task,
    mix::whole,
    task::{Factor, Scope},
};
use candle::{Device, Result};
use data::Content;
use ensemble::{CalibrationConfig, CombineConfig, FactorThresholds};
use export::{OnnxOptions, onnx};
use image::{ImageFormat, RgbImage};
use infer::{Bundle, Member, Prediction, Predictor, Serving};
use models::{HeadConfig, Model, ModelSpec};
use ops::Rows;
use testkit::OnnxModel;

const SIZE: [usize; 2] = [36, 33];
const N_IMAGES: usize = 5;

fn statistics() -> Statistics {
    Statistics { mean: [0.4, 0.5, 0.6], std: [0.2, 0.25, 0.3] }
}

/// A small network with random weights.
fn member(seed: u64, head: &str, task: &Task) -> Member {
    let backbone = "kind = \"vgg\"\ndepth = 11\nbatch_norm = true\nhidden = 0\nwidth = 0.125";
    let (backbone, head) = (toml::from_str(backbone).unwrap(), toml::from_str(head).unwrap());
    let spec = ModelSpec { backbone, head };
    let model = Model::fresh(&spec, task, Seed(seed), &Device::Cpu).unwrap();
    let resize = Resize { size: SIZE, ..Resize::default() };
    let ops = vec![Step::from(TransformConfig::Resize(resize))];
    let pipeline = Pipeline { ops, statistics: statistics(), max_pixels: 10_000 };
    Member::new(Rc::new(model), task.clone(), pipeline)
}

/// The images, already of the networks' size.
fn pixels() -> Vec<u8> {
    let n = SIZE[0] * SIZE[1] * 3;
    let colour =
        |image: usize, at: usize| (image * 45 + at * at * 7 % 61 + at % 3 * image * 5) as u8;
    (0..N_IMAGES).flat_map(|image| (0..n).map(move |at| colour(image, at))).collect()
}

/// The predictions of the predictor, for the images in files.
fn predicted(bundle: &Bundle) -> Vec<Prediction> {
    let file = |(idx, pixels): (usize, &[u8])| {
        let [height, width] = SIZE.map(|it| it as u32);
        let image = RgbImage::from_raw(width, height, pixels.to_vec()).unwrap();
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        (idx.to_string(), Content::Memory(bytes.into_inner().into()))
    };
    let pixels = pixels();
    let images: Arc<[_]> =
        pixels.chunks_exact(pixels.len() / N_IMAGES).enumerate().map(file).collect();
    let serving = Serving { batch_size: 4, num_workers: 1, prefetch: 1, cache: None };
    let predictor = Predictor::new(bundle.clone(), &Device::Cpu);
    predictor.predict(&images, serving, &mut |_, _| {}).unwrap()
}

/// The normalised images, with channels first.
fn normalised() -> Result<Vec<f32>> {
    let (pixels, Statistics { mean, std }) = (pixels(), statistics());
    let rows = Rows { images: &pixels, size: SIZE, samples: &whole(N_IMAGES) };
    let images = ops::normalise(rows, mean, std, &Device::Cpu)?;
    images.permute((0, 3, 1, 2))?.flatten_all()?.to_vec1()
}

/// The outputs of the exported bundle, each with its numbers of an image.
fn exported(bundle: &Bundle) -> BTreeMap<String, Vec<Vec<f64>>> {
    let file = onnx(bundle, &OnnxOptions::default()).unwrap();
    let dims = [N_IMAGES, 3, SIZE[0], SIZE[1]];
    let model = OnnxModel::for_input::<f32>(&file.bytes, dims);
    let outputs = model.run(dims, &normalised().unwrap());
    let rows = |it: Vec<f64>| it.chunks(it.len() / N_IMAGES).map(<[f64]>::to_vec).collect();
    let names = file.outputs.into_iter().map(|it| it.name);
    names.zip(outputs.into_iter().map(rows)).collect()
}

#[track_caller]
fn check_rows(what: &str, got: &[Vec<f64>], want: Vec<Vec<f64>>, tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (image, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!(got.len(), want.len(), "{what}");
        let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < tolerance, "{what}, image {image}: {got:?}, want {want:?}");
    }
}

/// Checks all outputs of a bundle that follow from its prediction.
#[track_caller]
fn check(what: &str, bundle: &Bundle) {
    assert_eq!(bundle.problem(), None, "{what}");
    let (want, got) = (predicted(bundle), exported(bundle));
    let rows = |of: &dyn Fn(&Prediction) -> Vec<f64>| want.iter().map(of).collect::<Vec<_>>();
    check_rows(what, &got["probabilities"], rows(&|it| it.probabilities.clone()), 1e-5);
    check_rows(what, &got["predicted"], rows(&|it| vec![it.predicted as f64]), 0.5);
    let task = &bundle.task;
    for scope in task.scopes().into_iter().filter(|it| *it != Scope::Joint) {
        let want = rows(&|it| task.marginal(&it.probabilities, scope));
        check_rows(what, &got[&format!("probabilities_{}", task.scope_name(scope))], want, 1e-5);
    }
    assert_eq!(got.contains_key("number"), bundle.number().is_some(), "{what}");
    if let Some(number) = got.get("number") {
        check_rows(what, number, rows(&|it| it.number.into_iter().collect()), 1e-3);
    }
    // Of images with the same votes they are the same.
    let may_be_same = matches!(bundle.combine, CombineConfig::HardVote(_));
    let differ = got["probabilities"].windows(2).all(|it| it[0] != it[1]);
    assert!(differ || may_be_same, "{what}: images have the same prediction");
}

fn people() -> Task {
    Task::mask_gender_age()
}

/// A bundle of members with these heads.
fn bundle(heads: &[&str]) -> Bundle {
    let members = (1..).zip(heads).map(|(seed, head)| member(seed, head, &people())).collect();
    Bundle::new(people(), members)
}

const JOINT: &str = "kind = \"joint\"";
const FACTORED: &str = "kind = \"factored\"\ndepth = 1\nwidth = 16";

#[test]
fn every_head_predicts_the_same() {
    for (kind, head) in HeadConfig::zoo() {
        check(kind, &bundle(&[&toml::to_string(&head).unwrap()]));
    }
    for head in [
        "kind = \"cosine\"\nby = \"factor\"\nscale = 5.0",
        "kind = \"bins\"\ndecide = \"likeliest\"\ncuts = [31, 59]",
        "kind = \"bins\"\ndecide = \"expected\"\nmin = -3",
        "kind = \"regression\"\nauxiliary = false\nscale = 30.0",
    ] {
        check(head, &bundle(&[head]));
    }
}

#[test]
fn a_task_of_one_factor_predicts_the_same() {
    let breeds = Task::new(vec![Factor::new("breed", &["beagle", "boxer", "collie"])]);
    for head in [JOINT, FACTORED] {
        let bundle = Bundle::new(breeds.clone(), vec![member(1, head, &breeds)]);
        check(head, &bundle);
        let names: Vec<_> = exported(&bundle).into_keys().collect();
        assert_eq!(names, ["logits", "predicted", "probabilities"]);
    }
}

#[test]
fn mirrored_views_are_merged_in_every_way() {
    for merge in Merge::ALL {
        let views = format!("kind = \"flip\"\nmerge = \"{}\"", format!("{merge:?}").to_lowercase());
        let heads = [FACTORED, "kind = \"bins\""];
        let bundle = bundle(&heads).with_views(&toml::from_str(&views).unwrap()).unwrap();
        check(&views, &bundle);
    }
}

#[test]
fn an_ensemble_is_combined_calibrated_and_decided_the_same() {
    let numbers = |n: usize| -> Vec<f64> {
        testkit::numbers("ensemble", n).into_iter().map(|it| 1.0 + 0.3 * it).collect()
    };
    let three = [JOINT, FACTORED, "kind = \"sigmoid\""];
    let plain = bundle(&three);
    check("the mean", &plain);

    let vote = |text: &str| toml::from_str::<CombineConfig>(text).unwrap();
    let weighted = vote("kind = \"soft_vote\"\nweights = [0.2, 0.5, 1.3]");
    check("weights", &Bundle { combine: weighted, ..plain.clone() });
    let two = vote("kind = \"soft_vote\"\nweights = [0.2, 0.8]");
    check("inputs", &Bundle { combine: two, inputs: vec![2, 1], ..plain.clone() });
    for text in ["kind = \"hard_vote\"", "kind = \"hard_vote\"\nweights = [0.5, 0.2, 0.3]"] {
        check(text, &Bundle { combine: vote(text), ..plain.clone() });
    }
    for n_learned in [18, 15] {
        let mut coefficients = vec![Vec::new(); 18];
        for (class, it) in coefficients.iter_mut().take(n_learned).enumerate() {
            *it = numbers(54);
            it.rotate_left(3 * class);
        }
        let mut combine = vote("kind = \"stack\"");
        let CombineConfig::Stack(stack) = &mut combine else { panic!("a stack") };
        (stack.coefficients, stack.intercepts) = (coefficients, numbers(18));
        check("a stack", &Bundle { combine, ..plain.clone() });
    }

    let list = |it: Vec<f64>| format!("{it:?}");
    let vector = format!("kind = \"vector\"\nscale = {0}\nbias = {0}", list(numbers(18)));
    for text in ["kind = \"temperature\"\ntemperature = 0.4", &vector] {
        let calibration: CalibrationConfig = toml::from_str(text).unwrap();
        check(text, &Bundle { calibration, ..plain.clone() });
    }

    let mut tuned = plain;
    tuned.decision.class_weights = numbers(18);
    check("class weights", &tuned);
    let thresholds = vec![0.9, 0.1];
    tuned.decision.thresholds = vec![FactorThresholds { factor: "age".to_owned(), thresholds }];
    check("class weights and thresholds", &tuned);
}

#[test]
fn members_of_different_factors_are_joined_the_same() {
    let of = |names: &[&str]| {
        let named = |name: &&str| people().factors.into_iter().find(|it| it.name == **name);
        Task { factors: names.iter().filter_map(named).collect(), unit: people().unit }
    };
    let (mask, others, turned) =
        (of(&["mask"]), of(&["gender", "age"]), of(&["age", "mask", "gender"]));
    let parts =
        vec![member(1, JOINT, &mask), member(2, JOINT, &others), member(3, FACTORED, &others)];
    check("parts", &Bundle::new(people(), parts.clone()));
    let with_whole = [parts, vec![member(4, JOINT, &turned), member(5, FACTORED, &people())]];
    let mut bundle = Bundle::new(people(), with_whole.concat());
    check("parts and two that are whole", &bundle);
    let weights = "kind = \"soft_vote\"\nweights = [0.5, 1.5, 1.0, 2.0, 0.5]";
    bundle.combine = toml::from_str(weights).unwrap();
    check("weighted parts", &bundle);
}

#[test]
fn what_is_not_exported_is_refused_by_name() {
    let refused = |bundle: &Bundle, want: &[&str]| {
        let err = onnx(bundle, &OnnxOptions::default()).expect_err("it is refused").to_string();
        assert!(want.iter().all(|it| err.contains(it)), "{err}");
    };
    let plain = bundle(&[JOINT]);
    let quantiles = vec![vec![0.1, 0.5]; 18];
    let text = format!("kind = \"rank_average\"\nquantiles = [{quantiles:?}]");
    let combine = toml::from_str(&text).unwrap();
    refused(&Bundle { combine, ..plain.clone() }, &["`rank_average`", "`soft_vote`"]);
    let calibration = toml::from_str("kind = \"isotonic\"").unwrap();
    refused(&Bundle { calibration, ..plain.clone() }, &["`isotonic`", "`temperature`"]);
    let views = toml::from_str("kind = \"scales\"").unwrap();
    refused(&plain.with_views(&views).unwrap(), &["`scales`", "`flip`"]);
}
