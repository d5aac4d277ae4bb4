//! Exported networks in `tract`, a runtime that shares no code with ours: every kind of block with batches of
//! different sizes, and the preprocessing in the graph. All published networks and heads, for ONNX Runtime and timm
//! as well, are exported by `cargo xtask exports`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    env, fs,
    io::Cursor,
    path::Path,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use augment::{Pipeline, Statistics, Step};
use base::{Seed, Task, task::ScopePrediction};
use candle::{Device, Result, Tensor};
use data::Content;
use export::{OnnxOptions, onnx, timm};
use image::{ImageFormat, RgbImage};
use infer::{Bundle, Member, Predictor, Serving};
use models::{BackboneConfig, EfficientNet, HeadConfig, Kind, Model, ModelSpec, published};
use ops::{Form, Pass, Prepacked, Tape, Training};
use testkit::{OnnxModel, numbers};

use super::models::narrow;

/// Height and width: odd, so that TensorFlow's padding differs between the sides.
const SIZE: [usize; 2] = [65, 50];

/// The largest difference, as a share of the largest logit.
const TOLERANCE: f64 = 1e-4;

/// A network in which every number matters: initial norms, biases and layer scales are 0, 1 or tiny.
///
/// As after training, its running statistics are those of images, here of `xs`, and a residual branch adds a part of
/// what it is added to: otherwise rounding grows from block to block, and the logits of the deepest networks differ in
/// their first digits.
fn model(backbone: BackboneConfig, head: HeadConfig, xs: &Tensor) -> Result<Rc<Model>> {
    let spec = ModelSpec { backbone, head };
    let model = Model::fresh(&spec, &Task::mask_gender_age(), Seed(3), &Device::Cpu)?;
    for (name, it) in model.params().named() {
        let (middle, reach) = match it.kind {
            Kind::Matrix | Kind::Dense | Kind::Depthwise | Kind::Buffer => continue,
            // The last norm of a branch of three convolutions, which the deep networks have.
            Kind::Norm if name.ends_with("bn3.weight") => (0.2, 0.1),
            Kind::Norm if name.ends_with(".weight") => (1.0, 0.5),
            _ if name.ends_with("gamma") => (0.3, 0.2),
            _ => (0.0, 0.3),
        };
        let values = numbers(name, it.var.elem_count()).into_iter().map(|x| middle + reach * x);
        let values: Vec<f32> = values.map(|x| x as f32).collect();
        it.var.set(&Tensor::from_vec(values, it.var.dims(), &Device::Cpu)?)?;
    }
    let tape = Tape::default();
    let momentum = Some(1.0);
    let pass = Training { tape: &tape, seed: Seed(3), step: 0, first_row: 0, momentum };
    model.forward(xs, &Pass::Train(pass))?;
    Ok(Rc::new(model))
}

/// The bundle of one network, for images of a size.
fn bundle(model: &Rc<Model>, [h, w]: [usize; 2]) -> Bundle {
    let ops = format!("{{ kind = \"center_crop\", size = [{h}, {w}] }}");
    let task = Task::mask_gender_age();
    Bundle::new(task.clone(), vec![Member::new(Rc::clone(model), task, pipeline(&ops))])
}

fn pipeline(ops: &str) -> Pipeline {
    #[derive(serde::Deserialize)]
    struct Ops {
        ops: Vec<Step>,
    }
    let Ops { ops } = toml::from_str(&format!("ops = [{ops}]")).unwrap();
    let statistics = Statistics { mean: [0.48, 0.46, 0.41], std: [0.23, 0.22, 0.23] };
    Pipeline { ops, statistics, max_pixels: 1_000_000 }
}

/// Normalised images, `[n, h, w, 3]`.
fn images(n: usize, [h, w]: [usize; 2]) -> Result<Tensor> {
    let xs = numbers("exported", n * h * w * 3).into_iter().map(|x| (2.0 * x) as f32);
    Tensor::from_vec(xs.collect(), (n, h, w, 3), &Device::Cpu)
}

/// Our outputs for normalised images, by their names in the file.
fn ours(model: &Model, xs: &Tensor) -> Result<BTreeMap<String, Vec<f64>>> {
    let task = Task::mask_gender_age();
    let outputs = model.forward(xs, &Pass::Eval(&Prepacked::default()))?;
    let mut found = BTreeMap::new();
    let mut rows: Vec<Vec<ScopePrediction>> = vec![Vec::new(); xs.dims()[0]];
    for it in &outputs {
        for (row, prediction) in rows.iter_mut().zip(it.predictions()?.into_iter().flatten()) {
            row.push(prediction);
        }
        let scale = match it.form {
            Form::Number { .. } => continue,
            Form::Cosines { scale } => scale,
            _ => 1.0,
        };
        let name = match outputs.len() {
            1 => "logits".to_owned(),
            _ => format!("logits_{}", task.scope_name(it.scope)),
        };
        found.insert(name, list(&(&it.numbers * scale)?)?);
    }
    let joint = |row: Vec<ScopePrediction>| task.join(&[row], &[]).expect("all factors");
    found.insert("probabilities".to_owned(), rows.into_iter().flat_map(joint).collect());
    Ok(found)
}

fn list(of: &Tensor) -> Result<Vec<f64>> {
    Ok(of.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
}

/// Runs a file, and returns the largest difference of each of our outputs as a share of the largest logit; of
/// probabilities as a share of at least 1.
fn difference(
    runtime: &OnnxModel,
    names: &[String],
    xs: &Tensor,
    want: &BTreeMap<String, Vec<f64>>,
) -> Result<f64> {
    let [n, h, w] = [0, 1, 2].map(|it| xs.dims()[it]);
    let first = xs.permute((0, 3, 1, 2))?.flatten_all()?.to_vec1::<f32>()?;
    let got = runtime.run([n, 3, h, w], &first);
    let got: HashMap<&str, Vec<f64>> = names.iter().map(String::as_str).zip(got).collect();
    let largest = |of: &[f64]| of.iter().fold(0.0, |most: f64, it| most.max(it.abs()));
    let logits = want.iter().filter(|it| it.0 != "probabilities").map(|it| largest(it.1));
    let logit = logits.fold(0.0, f64::max);
    let mut worst: f64 = 0.0;
    for (name, want) in want {
        let got = &got[name.as_str()];
        assert_eq!(got.len(), want.len(), "{name}");
        let off: Vec<f64> = got.iter().zip(want).map(|(a, b)| a - b).collect();
        assert!(off.iter().all(|it| it.is_finite()), "{name}: {got:?}");
        let scale = if name == "probabilities" { logit.max(1.0) } else { logit };
        worst = worst.max(largest(&off) / scale);
    }
    Ok(worst)
}

/// Checks a network, for batches of one image and of three.
fn check(name: &str, model: &Rc<Model>) -> Result<()> {
    let file = onnx(&bundle(model, SIZE), &OnnxOptions::default()).expect(name);
    let names: Vec<String> = file.outputs.into_iter().map(|it| it.name).collect();
    let runtime = OnnxModel::read(&file.bytes);
    for n in [1, 3] {
        let xs = images(n, SIZE)?;
        let off = difference(&runtime, &names, &xs, &ours(model, &xs)?)?;
        assert!(off <= TOLERANCE, "{name}, {n} images: off by {off:e} of the largest logit");
    }
    Ok(())
}

#[test]
fn every_kind_of_block_agrees_in_another_runtime() -> Result<()> {
    let names = [
        "efficientnet_b0",
        "tf_efficientnet_b0",
        "tf_efficientnet_lite0",
        "efficientnetv2_s",
        "tf_efficientnetv2_s",
        "resnet18",
        "resnet50",
        "seresnext50_32x4d",
        "xresnet50",
        "vgg11",
        "vgg11_bn",
        "densenet121",
        "convnext_tiny",
    ];
    let mut kinds = BTreeSet::new();
    for it in published().into_iter().filter(|it| names.contains(&it.name)) {
        kinds.insert(it.backbone.kind());
        let backbone = match narrow(it.backbone) {
            BackboneConfig::EfficientNet(it) => {
                BackboneConfig::EfficientNet(EfficientNet { depth: 0.3, ..it })
            }
            other => other,
        };
        check(it.name, &model(backbone, HeadConfig::default(), &images(3, SIZE)?)?)?;
    }
    assert_eq!(kinds.len(), BackboneConfig::KINDS.len(), "a backbone is missing");
    Ok(())
}

/// Two members with different pipelines, and a calibration.
fn with_preprocessing() -> Result<Bundle> {
    let task = Task::mask_gender_age();
    let resize = "{ kind = \"resize\", size = [40, 48] }";
    let shorter = "{ kind = \"resize_shorter\", size = 52, filter = \"bicubic\" }, \
                   { kind = \"center_crop\", size = [48, 45] }";
    let cropped = "{ kind = \"crop\", size = [44, 36], at = [0.2, 0.5] }, \
                   { kind = \"resize\", size = [33, 32], filter = \"bicubic\" }";
    let mut members = Vec::new();
    for (name, head, ops) in [
        ("resnet18", HeadConfig::default(), resize),
        ("efficientnet_b0", toml::from_str("kind = \"factored\"").expect("a head"), shorter),
        ("vgg11_bn", toml::from_str("kind = \"bins\"").expect("a head"), cropped),
    ] {
        let known = published().into_iter().find(|it| it.name == name).expect("a network");
        let model = model(narrow(known.backbone), head, &images(6, SIZE)?)?;
        members.push(Member::new(model, task.clone(), pipeline(ops)));
    }
    let mut bundle = Bundle::new(task, members);
    bundle.calibration = toml::from_str("kind = \"temperature\"\ntemperature = 2.0").unwrap();
    Ok(bundle)
}

#[test]
fn decoded_images_of_any_size_are_predicted_as_their_files() -> Result<()> {
    let bundle = with_preprocessing()?;
    let file = onnx(&bundle, &OnnxOptions { preprocessing: true }).expect("it is exported");
    let place = file.outputs.iter().position(|it| it.name == "probabilities").unwrap();
    assert_eq!(file.inputs[0].dtype, "uint8");
    let predictor = Predictor::new(bundle, &Device::Cpu);
    for [h, w] in [[61, 80], [90, 57]] {
        let noise = numbers("decoded", h * w * 3);
        let image = RgbImage::from_fn(w as u32, h as u32, |x, y| {
            let at = (y as usize * w + x as usize) * 3;
            let wave = (f64::from(x) / 9.0).sin() * 60.0 + (f64::from(y) / 7.0).cos() * 40.0;
            image::Rgb([0, 1, 2].map(|c| (125.0 + wave + 25.0 * noise[at + c]) as u8))
        });
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        let content = Content::Memory(bytes.into_inner().into());
        let images: Arc<[_]> = [("image".to_owned(), content)].into();
        let serving = Serving { batch_size: 1, num_workers: 1, prefetch: 1, cache: None };
        let want = predictor.predict(&images, serving, &mut |_, _| {}).unwrap().remove(0);
        let dims = [1, h, w, 3];
        let got = OnnxModel::for_input::<u8>(&file.bytes, dims).run(dims, image.as_raw());
        let off = got[place].iter().zip(&want.probabilities).map(|(a, b)| (a - b).abs());
        let worst = off.fold(0.0, f64::max);
        assert!(worst < 0.01, "{h}x{w}: off by {worst}");
    }
    Ok(())
}

/// The networks and heads that `cargo xtask exports` compares: each published network with the head `joint`, and each
/// head on a small network.
fn cases() -> Vec<(String, BackboneConfig, HeadConfig)> {
    let networks = published().into_iter();
    let networks = networks.map(|it| (it.name.to_owned(), it.backbone, HeadConfig::default()));
    let small = EfficientNet { width: 0.25, ..EfficientNet::default() };
    let heads = HeadConfig::zoo().into_iter();
    let on_small =
        |(kind, head)| (format!("head {kind}"), BackboneConfig::EfficientNet(small.clone()), head);
    networks.chain(heads.map(on_small)).collect()
}

/// Writes a case for `tests/peers/exports.py`: `model.onnx`, `model.safetensors` with timm's names if it has the network,
/// and `case.safetensors` with images and our outputs.
#[test]
fn a_case_is_written_for_other_runtimes() -> Result<()> {
    /// The size of the images.
    const SIZE: [usize; 2] = [97, 80];
    let Ok(dir) = env::var("MASKFIT_EXPORT_DIR") else {
        eprintln!("skipped: `cargo xtask exports` runs it, with MASKFIT_EXPORT_DIR");
        return Ok(());
    };
    let dir = Path::new(&dir);
    let wanted = env::var("MASKFIT_EXPORT_CASE").unwrap_or_default();
    if wanted.is_empty() {
        let names: Vec<String> = cases().into_iter().map(|it| it.0).collect();
        fs::write(dir.join("names.txt"), names.join("\n"))?;
        with_preprocessing()?.save(&dir.join("ensemble"), "1").expect("a bundle is saved");
        return Ok(());
    }
    let case = cases().into_iter().find(|it| it.0 == wanted);
    let (name, backbone, head) = case.expect("MASKFIT_EXPORT_CASE: a name of names.txt");
    let xs = images(2, SIZE)?;
    let model = model(backbone, head, &xs)?;
    let bundle = bundle(&model, SIZE);
    let begun = Instant::now();
    let file = onnx(&bundle, &OnnxOptions::default()).expect(&name);
    let seconds = begun.elapsed().as_secs_f64();
    fs::write(dir.join("model.onnx"), &file.bytes)?;
    match timm(&bundle) {
        Ok(it) => fs::write(dir.join("model.safetensors"), it.bytes)?,
        Err(_) => drop(fs::remove_file(dir.join("model.safetensors"))),
    }
    let want = ours(&model, &xs)?;
    let names: Vec<String> = file.outputs.into_iter().map(|it| it.name).collect();
    let off = difference(&OnnxModel::read(&file.bytes), &names, &xs, &want)?;
    let mut tensors =
        HashMap::from([("images".to_owned(), xs.permute((0, 3, 1, 2))?.contiguous()?)]);
    for (name, numbers) in want {
        let n = numbers.len() / 2;
        tensors.insert(name, Tensor::from_vec(numbers, (2, n), &Device::Cpu)?);
    }
    for (name, number) in [("tract", off), ("seconds", seconds)] {
        tensors.insert(name.to_owned(), Tensor::new(&[number], &Device::Cpu)?);
    }
    candle::safetensors::save(&tensors, dir.join("case.safetensors"))
}
