//! crates/models against timm and torchvision: see networks.py.

use std::collections::{BTreeMap, HashMap};

use base::{Seed, Task, config::Layer, task::Factor};
use candle::{DType, Device, Result, Tensor};
use models::{
    BackboneConfig, ConvNeXt, DenseNet, EfficientNet, HeadConfig, Joint, Model, ModelSpec, ResNet,
    Variant, Vgg, WeightsFile, XResNet,
};
use ops::{Padding, Pass, Prepacked, Tape, Training};
use testkit::{check_close, numbers};
use trainer::Experiment;

use super::golden;

/// The network of a case of the golden file.
pub(super) fn network(name: &str) -> BackboneConfig {
    let plain = |variant| EfficientNet { variant, drop_path: 0.0, ..EfficientNet::default() };
    let resnet = |config| BackboneConfig::ResNet(config);
    let vgg = |depth, batch_norm| {
        BackboneConfig::Vgg(Vgg { depth, batch_norm, hidden: 64, dropout: 0.0, width: 1.0 })
    };
    BackboneConfig::EfficientNet(match name {
        "timm/b0" | "torchvision/b0" => plain(Variant::B0),
        "timm/b4" | "torchvision/b4" => plain(Variant::B4),
        "timm_tf/b0" => EfficientNet {
            padding: Some(Padding::Same),
            norm_eps: Some(1e-3),
            ..plain(Variant::B0)
        },
        "timm_tf/lite0" => plain(Variant::Lite0),
        "torchvision/v2" => {
            let padding = Some(Padding::Symmetric);
            EfficientNet { depth: 0.2, padding, ..plain(Variant::V2S) }
        }
        "torchvision/resnet18" => return resnet(ResNet { depth: 18, ..ResNet::default() }),
        "torchvision/resnet50" => return resnet(ResNet::default()),
        "torchvision/resnext50_32x4d" => {
            return resnet(ResNet { groups: 32, group_width: 4, ..ResNet::default() });
        }
        "timm/seresnet50" => {
            return resnet(ResNet { squeeze_excite: true, ..ResNet::default() });
        }
        "fastai/xresnet50" => return BackboneConfig::XResNet(XResNet::default()),
        "torchvision/vgg11" => return vgg(11, false),
        "torchvision/vgg13_bn" => return vgg(13, true),
        "torchvision/densenet121" => return BackboneConfig::DenseNet(DenseNet::default()),
        "timm/convnext" => {
            let tiny = ConvNeXt { drop_path: 0.0, width: 0.25, ..ConvNeXt::default() };
            return BackboneConfig::ConvNeXt(tiny);
        }
        other => panic!("no network {other}"),
    })
}

/// A task of `n` classes, named by their numbers.
pub(crate) fn plain_task(n: usize) -> Task {
    let names: Vec<String> = (0..n).map(|it| it.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Task::new(vec![Factor::new("class", &names)])
}

/// Sets the weights that `formula` of network_weights.py computes.
pub(crate) fn set_by_formula(model: &Model) -> Result<()> {
    for (name, param) in model.params().named() {
        let dims = param.kind.file_dims(param.var.dims());
        let xs = numbers(name, dims.iter().product());
        let fan_in: usize = dims[1..].iter().product();
        let scaled = xs.into_iter().map(|x| {
            if name.ends_with("running_mean") {
                0.1 * x
            } else if name.ends_with("running_var") {
                1.0 + 0.5 * x
            } else if dims.len() > 1 {
                x * (6.0 / fan_in as f64).sqrt()
            } else if name.ends_with("bias") {
                0.1 * x
            } else {
                let ends = ["bn3.weight", "convpath.2.1.weight", "gamma"];
                let is_end =
                    ends.iter().any(|it| name.ends_with(it)) && !name.starts_with("blocks");
                (if is_end { 0.2 } else { 1.0 }) * (1.0 + 0.2 * x)
            }
        });
        param.set_from_file(&Tensor::from_vec(scaled.collect(), dims, &Device::Cpu)?)?;
    }
    Ok(())
}

/// The tolerance for differences from the reference, which computes in f64.
struct Tolerance {
    dtype: DType,
    /// For each logit.
    logits: f64,
    /// For each parameter's gradient, relative to its norm.
    gradients: f64,
}

#[track_caller]
fn check(name: &str, tolerance: Tolerance) -> Result<()> {
    let case = golden("networks").at("cases").at(name);
    let head = HeadConfig::Joint(Joint { dropout: 0.0, ..Joint::default() });
    let spec = ModelSpec { backbone: network(name), head };
    let Tolerance { dtype, .. } = tolerance;
    let model = Model::with_dtype(&spec, &plain_task(18), Seed(0), dtype, &Device::Cpu)?;
    set_by_formula(&model)?;
    let ([h, w], n): ([usize; 2], usize) = (case.to("size"), case.to("batch"));
    let images = numbers("pictures", n * h * w * 3);
    let images = Tensor::from_vec(images, (n, h, w, 3), &Device::Cpu)?.to_dtype(dtype)?;
    let logits = model.forward(&images, &Pass::Eval(&Prepacked::default()))?.remove(0).numbers;
    check_close(&logits, &case.to::<Vec<f64>>("eval"), tolerance.logits);

    let tape = Tape::default();
    let training = Training { tape: &tape, seed: Seed(0), step: 0, first_row: 0, momentum: None };
    let logits = model.forward(&images, &Pass::Train(training))?.remove(0).numbers;
    check_close(&logits, &case.to::<Vec<f64>>("train"), tolerance.logits);

    let r = Tensor::from_vec(numbers("projection", n * 18), (n, 18), &Device::Cpu)?;
    let grads = tape.backward(&(&logits * r.to_dtype(dtype)?)?.sum_all()?)?;
    let want: BTreeMap<String, [f64; 5]> = case.to("gradients");
    let mut worst = 0.0_f64;
    for (name, param) in model.params().trainable() {
        let grad = param.kind.to_file(grads.get(&param.var).expect("a gradient"))?;
        let grad = grad.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let [want_norm, want_projections @ ..] = want[name];
        let norm = grad.iter().map(|g| g * g).sum::<f64>().sqrt();
        if want_norm < 1e-10 {
            // Zero by construction: the gradient of a shift before the next batch norm.
            assert!(norm < 1e-3, "{name}: {norm:e} instead of 0");
            continue;
        }
        // Each projection of an error e on a random direction has the mean square |e|^2.
        let square = want_projections.iter().enumerate().map(|(k, want)| {
            let r = numbers(&format!("{name}/{k}"), grad.len());
            let got: f64 = grad.iter().zip(r).map(|(g, r)| g * r * 3f64.sqrt()).sum();
            (got - want) * (got - want)
        });
        let error = (square.sum::<f64>() / 4.0).sqrt().max((norm - want_norm).abs()) / want_norm;
        worst = worst.max(error);
        assert!(error <= tolerance.gradients, "{name}: off by {error:e} of its norm");
    }
    assert_eq!(want.len(), model.params().trainable().count());
    eprintln!("{name} in {dtype:?}: the worst gradient is off by {worst:.1e} of its norm");
    Ok(())
}

#[test]
fn every_network_agrees_with_its_reference_in_double_precision() -> Result<()> {
    for name in golden("networks").at("cases").keys() {
        // The golden file has nine digits of each gradient's norm.
        check(&name, Tolerance { dtype: DType::F64, logits: 1e-9, gradients: 1e-8 })?;
    }
    Ok(())
}

#[test]
fn every_network_agrees_with_its_reference_in_single_precision() -> Result<()> {
    for name in golden("networks").at("cases").keys() {
        // Rounding moves a few values across a kink of a ReLU: the difference between PyTorch in f32 and
        // in f64 is 1.1e-2 on Lite0, 1.9e-3 on ResNet-50 (1.4e-2 on images of 160x128), 3.1e-3 on
        // DenseNet-121, and 8e-4 to 4.5e-3 on VGG-13 with norms, if images change by 1e-7.
        let has_many_kinks =
            ["lite0", "resne", "densenet", "vgg13_bn"].iter().any(|it| name.contains(it));
        let gradients = if has_many_kinks { 2e-2 } else { 1e-3 };
        check(&name, Tolerance { dtype: DType::F32, logits: 1e-4, gradients })?;
    }
    Ok(())
}

#[test]
fn lite0_on_its_published_weights_agrees_with_timm() -> Result<()> {
    let Some(path) = testkit::shared_data("weights/efficientnet-lite0-57934424.pth") else {
        return Ok(());
    };
    let want: Vec<Vec<f64>> = golden("lite0").to("logits");
    let config = EfficientNet { variant: Variant::Lite0, ..EfficientNet::default() };
    let backbone = BackboneConfig::EfficientNet(config);
    let spec = ModelSpec { backbone, head: HeadConfig::default() };
    let model = Model::fresh(&spec, &plain_task(1000), Seed(0), &Device::Cpu)?;
    let weights = models::read_weights(&path).expect("the published file");
    let loaded = model.load_pretrained(&weights).expect("weights of this network");
    eprintln!("{loaded}");

    let coarse = numbers("lite0", 10 * 8 * 8 * 3);
    let level = |n: usize, y: usize, x: usize, c: usize| {
        let at = ((n * 8 + y / 16) * 8 + x / 16) * 3 + c;
        ((127.5 * (1.0 + coarse[at])).floor() as f32 - 127.0) / 128.0
    };
    let pixels = (0..10 * 128 * 128 * 3)
        .map(|it| level(it / (128 * 128 * 3), it / (128 * 3) % 128, it / 3 % 128, it % 3));
    let images = Tensor::from_iter(pixels, &Device::Cpu)?.reshape((10, 128, 128, 3))?;
    let logits = model.forward(&images, &Pass::Eval(&Prepacked::default()))?.remove(0).numbers;
    check_close(&logits, &want.concat(), 1e-4);
    Ok(())
}

#[test]
fn weights_with_efficientnet_pytorchs_names_predict_as_tensorflows_network() -> Result<()> {
    let case = golden("networks").at("cases").at("timm_tf/b0");
    let head = HeadConfig::Joint(Joint { dropout: 0.0, ..Joint::default() });
    let without = network("timm/b0");
    let spec = ModelSpec { backbone: without.clone(), head: head.clone() };
    let written = Model::fresh(&spec, &plain_task(18), Seed(0), &Device::Cpu)?;
    set_by_formula(&written)?;
    let all: HashMap<String, Tensor> = written.params().to_file()?.into_iter().collect();
    let ours: Vec<String> = all.keys().filter(|it| !it.starts_with("head.")).cloned().collect();
    let namings = without.get().namings(&ours);
    let naming = namings.into_iter().find(|it| it.library == "efficientnet_pytorch").unwrap();
    let named = naming.backbone.iter().map(|(ours, theirs)| (theirs.clone(), all[ours].clone()));
    let mut named: HashMap<String, Tensor> = named.collect();
    for it in ["weight", "bias"] {
        let classifier = &all[&format!("head.joint.{it}")];
        named.insert(format!("{}.{it}", naming.classifier), classifier.clone());
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("best.safetensors");
    candle::safetensors::save(&named, &path)?;

    // The config sets the variant and the file, but neither the padding nor the norms.
    let path_text = path.display();
    let text = format!(
        "[model]\npretrained = '{path_text}'\nbackbone = {{ kind = 'efficientnet', drop_path = 0.0 }}"
    );
    let layers = [Layer::from_toml("net.toml", &text).unwrap()];
    assert_eq!(Experiment::load(&layers).unwrap().model.backbone, without);
    let file = WeightsFile::read(&path).unwrap();
    let (experiment, _) = Experiment::load_with(&layers, &file, &[], "").unwrap();
    let spec = ModelSpec { backbone: experiment.model.backbone, head };
    let model = Model::fresh(&spec, &plain_task(18), Seed(1), &Device::Cpu)?;
    model.load_pretrained(&models::read_weights(&path).unwrap()).unwrap();
    let ([h, w], n): ([usize; 2], usize) = (case.to("size"), case.to("batch"));
    let images = Tensor::from_vec(numbers("pictures", n * h * w * 3), (n, h, w, 3), &Device::Cpu)?;
    let images = images.to_dtype(DType::F32)?;
    let logits = model.forward(&images, &Pass::Eval(&Prepacked::default()))?.remove(0).numbers;
    check_close(&logits, &case.to::<Vec<f64>>("eval"), 1e-4);
    Ok(())
}
