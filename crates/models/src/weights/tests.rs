//! Weights files: recognising the network and the naming, loading, and error messages.

use std::{collections::BTreeMap, fs};

use base::{Seed, Task};
use candle::{DType, Device, Tensor};
use expect_test::expect;

use super::{Classifier, Format, NetworkMatch, WeightsFile, read_weights};
use crate::{
    BackboneConfig, Branched, EfficientNet, HeadConfig, Model, ModelSpec, ResNet, Variant,
};

fn spec(variant: Variant) -> ModelSpec {
    // Narrow, so that the test is quick.
    let backbone = EfficientNet { variant, width: 0.25, ..EfficientNet::default() };
    ModelSpec { backbone: BackboneConfig::EfficientNet(backbone), head: HeadConfig::default() }
}

fn model(variant: Variant, seed: u64) -> Model {
    let task = Task::mask_gender_age();
    Model::fresh(&spec(variant), &task, Seed(seed), &Device::Cpu).unwrap()
}

/// The model's tensors with `library`'s names, and a classifier of `n` classes.
fn published(model: &Model, library: &str, n: usize) -> BTreeMap<String, Tensor> {
    let all: BTreeMap<String, Tensor> = model.params().to_file().unwrap().into_iter().collect();
    let ours: Vec<String> = all.keys().filter(|it| !it.starts_with("head.")).cloned().collect();
    let namings = model.spec().backbone.get().namings(&ours);
    let naming = namings.into_iter().find(|it| it.library == library).unwrap();
    let mut file: BTreeMap<String, Tensor> =
        naming.backbone.iter().map(|(ours, theirs)| (theirs.clone(), all[ours].clone())).collect();
    let width = all["head.joint.weight"].dims()[1];
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    file.insert(format!("{}.weight", naming.classifier), zeros(&[n, width]));
    file.insert(format!("{}.bias", naming.classifier), zeros(&[n]));
    file
}

fn numbers(model: &Model, name: &str) -> Vec<f32> {
    let var = &model.params().get(name).unwrap().var;
    var.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn every_naming_is_recognised() {
    for library in ["timm", "torchvision", "efficientnet_pytorch"] {
        let (from, to) = (model(Variant::B0, 1), model(Variant::B0, 2));
        let loaded = to.load_pretrained(&published(&from, library, 1000)).unwrap();
        assert_eq!(loaded.library, library);
        assert_eq!(loaded.classifier, Classifier::Replaced { theirs: 1000, ours: 18 });
        assert_eq!(loaded.unexpected, Vec::<String>::new());
        for name in
            ["conv_stem.weight", "blocks.6.0.bn3.running_var", "blocks.0.0.se.conv_expand.bias"]
        {
            assert_eq!(numbers(&from, name), numbers(&to, name), "{library}: {name}");
        }
    }
}

#[test]
fn classifier_with_matching_classes_is_loaded() {
    let (from, to) = (model(Variant::Lite0, 1), model(Variant::Lite0, 2));
    let loaded = to.load_pretrained(&published(&from, "timm", 18)).unwrap();
    assert_eq!(loaded.classifier, Classifier::Taken);
    assert!(numbers(&to, "head.joint.weight").iter().all(|&it| it == 0.0));
}

#[test]
fn unexpected_tensors_are_named_and_wrappers_are_removed() {
    let (from, to) = (model(Variant::B0, 1), model(Variant::B0, 2));
    let mut file: BTreeMap<String, Tensor> = published(&from, "timm", 1000)
        .into_iter()
        .map(|(name, it)| (format!("module.{name}"), it))
        .collect();
    file.insert("module.extra".to_owned(), file["module.bn1.bias"].clone());
    let loaded = to.load_pretrained(&file).unwrap();
    expect!["309 tensors with timm names, none missing; the classifier of 1000 classes is replaced by a newly initialised one of 18; unexpected: extra"]
        .assert_eq(&loaded.to_string());
}

#[test]
fn weights_of_a_larger_network_are_refused() {
    let resnet = |depth| {
        let backbone = BackboneConfig::ResNet(ResNet { depth, width: 0.125, ..ResNet::default() });
        let spec = ModelSpec { backbone, head: HeadConfig::default() };
        Model::fresh(&spec, &Task::mask_gender_age(), Seed(0), &Device::Cpu).unwrap()
    };
    let file = published(&resnet(34), "torchvision and timm", 1000);
    let err = resnet(18).load_pretrained(&file).unwrap_err().to_string();
    assert!(err.contains("a larger network") && err.contains("layer1.2."), "{err}");
}

#[test]
fn every_branch_is_initialised_from_the_stage_that_it_copies() {
    let (from, file) = (model(Variant::B0, 1), published(&model(Variant::B0, 1), "timm", 1000));
    let head = HeadConfig::Branched(Branched::default());
    let spec = ModelSpec { head, ..spec(Variant::B0) };
    let to = Model::fresh(&spec, &Task::mask_gender_age(), Seed(2), &Device::Cpu).unwrap();
    let loaded = to.load_pretrained(&file).unwrap();
    assert_eq!(loaded.unexpected, Vec::<String>::new());
    for name in ["blocks.6.0.conv_pwl.weight", "conv_head.weight", "bn2.running_mean"] {
        for branch in ["mask", "gender", "age"] {
            let copy = format!("head.{branch}.branch.{name}");
            assert_eq!(numbers(&from, name), numbers(&to, &copy), "{copy}");
        }
    }
}

#[test]
fn weights_of_another_variant_are_an_error_that_changes_nothing() {
    let (from, to) = (model(Variant::B1, 1), model(Variant::B3, 2));
    let before = numbers(&to, "conv_stem.weight");
    let err = to.load_pretrained(&published(&from, "torchvision", 1000)).unwrap_err().to_string();
    assert!(err.contains("is it another variant?"), "{err}");
    assert_eq!(before, numbers(&to, "conv_stem.weight"));
}

/// A file with tensors of these shapes.
fn file_of(shapes: &BTreeMap<String, Vec<usize>>) -> WeightsFile {
    let tensor = |dims: &Vec<usize>| Tensor::zeros(&dims[..], DType::F16, &Device::Cpu).unwrap();
    let tensors = shapes.iter().map(|(name, dims)| (name.clone(), tensor(dims))).collect();
    let (format, place, ignored) = (Format::Safetensors, String::new(), Vec::new());
    WeightsFile { format, n_bytes: 0, tensors, place, ignored }
}

/// The shapes of a published network's tensors, with `library`'s names.
fn shapes(name: &str, library: &str) -> BTreeMap<String, Vec<usize>> {
    let it = crate::published().into_iter().find(|it| it.name == name).unwrap();
    let (params, width) = it.params().unwrap();
    let ours: Vec<String> = params.named().map(|it| it.0.to_owned()).collect();
    let namings = it.backbone.get().namings(&ours);
    let naming = namings.into_iter().find(|it| it.library == library).unwrap();
    let dims = |name: &str| {
        let it = params.get(name).unwrap();
        it.kind.file_dims(it.var.dims())
    };
    let pairs = naming.backbone.iter();
    let mut shapes: BTreeMap<_, _> =
        pairs.map(|(ours, theirs)| (theirs.clone(), dims(ours))).collect();
    shapes.insert(format!("{}.weight", naming.classifier), vec![1000, width]);
    shapes.insert(format!("{}.bias", naming.classifier), vec![1000]);
    shapes
}

#[test]
fn published_networks_are_recognised() {
    for (name, library, names) in [
        ("efficientnet_b0", "torchvision", &["tf_efficientnet_b0", "efficientnet_b0"][..]),
        ("tf_efficientnet_lite0", "timm", &["tf_efficientnet_lite0", "efficientnet_lite0"]),
        ("resnet18", "torchvision and timm", &["resnet18"]),
    ] {
        let file = file_of(&shapes(name, library));
        let best = file.closest().unwrap().remove(0);
        let n_tensors = file.tensors.len() - 2;
        let (differences, unexpected) = (vec![], vec![]);
        let (names, n_classes, prefix) = (names.to_vec(), Some(1000), String::new());
        let want =
            NetworkMatch { names, library, prefix, n_tensors, differences, n_classes, unexpected };
        assert_eq!(best, want);
    }
}

#[test]
fn file_that_fits_no_network_is_compared_with_the_closest() {
    let mut shapes = shapes("resnet34", "torchvision and timm");
    shapes.remove("bn1.bias");
    shapes.insert("conv1.weight".to_owned(), vec![64, 1, 7, 7]);
    shapes.insert("extra".to_owned(), vec![1]);
    let best = file_of(&shapes).closest().unwrap().remove(0);
    assert_eq!((best.names, best.unexpected), (vec!["resnet34"], vec!["extra".to_owned()]));
    let want =
        ["`bn1.bias` is missing", "`conv1.weight` has shape [64, 1, 7, 7], not [64, 3, 7, 7]"];
    assert_eq!(best.differences, want);
}

#[test]
fn files_that_are_not_weights_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, bytes: &[u8], want: &str| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let err = read_weights(&path).unwrap_err().to_string();
        assert!(err.starts_with(&path.display().to_string()), "{err}");
        assert!(err.contains(want), "{err}");
    };
    check("text.safetensors", b"hello, I am a text file", "text file (`hello, I am a text file`)");
    check("page.pth", b"<!DOCTYPE html>\n<html>", "text file (`<!DOCTYPE html>`), not weights");
    check("lfs.pth", b"version https://git-lfs.github.com/spec/v1\n", "`git lfs pull`");
    check("empty.pth", b"", "not a complete `.safetensors` or `.pth`");
    let err = read_weights(&dir.path().join("absent.pth")).unwrap_err().to_string();
    assert!(err.contains("No such file"), "{err}");

    let tensor = Tensor::zeros(100, DType::F32, &Device::Cpu).unwrap();
    let whole = safetensors::serialize([("a", &tensor)], None).unwrap();
    check("cut.safetensors", &whole[..whole.len() - 10], "not a complete `.safetensors` or `.pth`");
}

#[test]
fn non_finite_weights_and_negative_variances_are_refused_by_name() {
    let model = model(Variant::B0, 0);
    let all = published(&model, "timm", 1000);
    let norm = "bn1.running_var";
    for (name, x, want) in [
        (norm, f32::NAN, "`bn1.running_var` is not finite (NaN or infinite): "),
        ("conv_stem.weight", f32::INFINITY, "`conv_stem.weight` is not finite"),
        (norm, -1.0, "`bn1.running_var` is a variance with values below 0"),
    ] {
        let mut tensors = all.clone();
        let filled = Tensor::full(x, all[name].shape(), &Device::Cpu).unwrap();
        tensors.insert(name.to_owned(), filled);
        let err = model.load_pretrained(&tensors).err().unwrap().to_string();
        assert!(err.contains(want), "{err}");
    }
    assert!(model.load_pretrained(&all).is_ok());
}

#[test]
fn safetensors_file_that_begins_like_a_pickle_is_read() {
    // A header length whose lowest bytes are a pickle's first bytes: 0x80 0x02 0x7d.
    let n = 0x7d_0280;
    let mut header = r#"{"a.b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.to_owned();
    header.extend(std::iter::repeat_n(' ', n - header.len()));
    let mut bytes = (n as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(2.5_f32.to_le_bytes());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    fs::write(&path, bytes).unwrap();
    let tensors = read_weights(&path).unwrap();
    assert_eq!(tensors["a.b"].to_vec1::<f32>().unwrap(), [2.5]);
}
