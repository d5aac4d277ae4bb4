//! Every published network, and every head.

use std::collections::{BTreeMap, BTreeSet};

use base::{Seed, Task};
use candle::{DType, Device, Result, Tensor};
use models::{
    BackboneConfig, ConvNeXt, DenseNet, EfficientNet, HeadConfig, Kind, Model, ModelSpec, ResNet,
    Vgg, XResNet, published,
};
use ops::{Form, Op, Output, Pass, Prepacked, Tape, Training, Value};
use testkit::numbers;

fn spec(backbone: BackboneConfig, head: HeadConfig) -> ModelSpec {
    ModelSpec { backbone, head }
}

fn images(n: usize, h: usize, w: usize) -> Result<Tensor> {
    let xs = numbers("pictures", n * h * w * 3);
    Tensor::from_vec(xs, (n, h, w, 3), &Device::Cpu)?.to_dtype(DType::F32)
}

fn flat(outputs: &[Output]) -> Vec<f32> {
    let list = |it: &Output| it.numbers.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    outputs.iter().flat_map(list).collect()
}

/// Checks the outputs of a network for `n` images at inference.
fn check_outputs(name: &str, outputs: &[Output], n: usize, task: &Task) -> Result<()> {
    let mut predictions = vec![Vec::new(); n];
    for output in outputs {
        let width = match output.form {
            Form::Classes | Form::Cosines { .. } | Form::Independent => {
                task.n_classes_of(output.scope)
            }
            Form::Bins { .. } => 61,
            Form::Number { .. } => 1,
        };
        assert_eq!(output.numbers.dims(), [n, width], "{name}");
        for (all, it) in predictions.iter_mut().zip(output.predictions()?.into_iter().flatten()) {
            all.push(it);
        }
    }
    assert!(flat(outputs).iter().all(|it| it.is_finite()), "{name}: {outputs:?}");
    for it in predictions {
        let p = task.join(&[it], &[]).unwrap_or_else(|err| panic!("{name}: {err}"));
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{name}: {p:?}");
        // Deep networks with initial running statistics saturate the softmax.
        let is_moderate = flat(outputs).iter().all(|it| it.abs() < 100.0);
        assert!(p.iter().all(|&it| it > 0.0) || !is_moderate, "{name}: {p:?}");
    }
    Ok(())
}

/// The output of a network, packed anew.
fn predicted(model: &Model, xs: &Tensor) -> Result<Vec<f32>> {
    Ok(flat(&model.forward(xs, &Pass::Eval(&Prepacked::default()))?))
}

/// Checks that an image has the same bits alone and in a batch, with weights that were packed for the other.
fn check_alone(name: &str, model: &Model, xs: &Tensor) -> Result<()> {
    let packed = Prepacked::default();
    let all = model.forward(xs, &Pass::Eval(&packed))?;
    for image in 0..xs.dims()[0] {
        let alone = model.forward(&xs.narrow(0, image, 1)?, &Pass::Eval(&packed))?;
        for (all, alone) in all.iter().zip(alone) {
            let want = all.numbers.get(image)?.to_vec1::<f32>()?;
            assert_eq!(
                alone.numbers.get(0)?.to_vec1::<f32>()?,
                want,
                "{name}: image {image} alone"
            );
        }
    }
    Ok(())
}

/// Checks that the graph of a network has its outputs, and no norm that could be part of a layer.
///
/// - `outputs`: those of its forward pass for two images.
fn check_graph(name: &str, model: &Model, outputs: &[Output]) -> Result<()> {
    let graph = model.graph(64, 64)?;
    let dims = |it: &Output<usize>| [2, graph.nodes[it.numbers].dims[1]];
    let got = graph.outputs.iter().map(|it| (it.scope, it.form.clone(), dims(it).to_vec()));
    let want = outputs.iter().map(|it| (it.scope, it.form.clone(), it.numbers.dims().to_vec()));
    assert_eq!(got.collect::<Vec<_>>(), want.collect::<Vec<_>>(), "{name}");
    let mut n_readers = vec![0; graph.nodes.len()];
    graph.nodes.iter().flat_map(|it| &it.inputs).for_each(|it| n_readers[*it] += 1);
    for (idx, node) in graph.nodes.iter().enumerate() {
        assert!(
            node.inputs.iter().all(|it| *it < idx),
            "{name}: operation {idx} is before its input"
        );
        let from = node.inputs.first().map(|&it| (&graph.nodes[it].op, n_readers[it]));
        let is_layer = matches!(from, Some((Op::Conv { .. } | Op::Linear { .. }, 1)));
        let is_norm = matches!(node.op, Op::Affine { .. });
        assert!(!(is_layer && is_norm), "{name}: the norm of operation {idx} is not folded");
        if let Op::Conv { weight, .. } = &node.op {
            let known = weight.name.as_deref().and_then(|it| model.params().get(it));
            assert!(known.is_some(), "{name}: the weight of operation {idx} has no name");
        }
    }
    Ok(())
}

/// Checks a network with a head.
fn check_model(name: &str, spec: &ModelSpec) -> Result<()> {
    eprintln!("{name}");
    let task = Task::mask_gender_age();
    let fresh = |seed| Model::fresh(spec, &task, Seed(seed), &Device::Cpu);
    let model = fresh(0)?;
    for (n, h, w) in [(2, 64, 64), (1, 96, 70)] {
        let outputs = model.forward(&images(n, h, w)?, &Pass::Eval(&Prepacked::default()))?;
        check_outputs(name, &outputs, n, &task)?;
    }

    check_alone(name, &model, &images(3, 70, 64)?)?;
    let xs = images(2, 64, 64)?;
    let before = predicted(&model, &xs)?;
    assert_eq!(before, predicted(&model, &xs)?, "{name}: inference changes the model");
    assert_eq!(before, predicted(&fresh(0)?, &xs)?, "{name}: same seed");
    assert_ne!(before, predicted(&fresh(1)?, &xs)?, "{name}: other seed");

    let other = fresh(1)?;
    let tensors: BTreeMap<String, Tensor> = model.params().to_file()?.into_iter().collect();
    other.params().load(&tensors).expect("the same network");
    assert_eq!(before, predicted(&other, &xs)?, "{name}: saved and loaded");

    check_graph(name, &model, &model.forward(&xs, &Pass::Eval(&Prepacked::default()))?)?;

    let tape = Tape::default();
    let training = Training { tape: &tape, seed: Seed(0), step: 0, first_row: 0, momentum: None };
    let outputs = model.forward(&images(4, 64, 64)?, &Pass::Train(training))?;
    let specs = spec.head.get().outputs(&task)?;
    let got = |it: &Output| (it.scope, it.form.clone(), it.weight, it.numbers.dims()[1]);
    let want = specs.iter().map(|it| (it.scope, it.form.clone(), it.weight, it.n_out));
    assert_eq!(outputs.iter().map(got).collect::<Vec<_>>(), want.collect::<Vec<_>>(), "{name}");
    let mut loss = Tensor::zeros((), DType::F32, &Device::Cpu)?;
    for output in &outputs {
        loss = (loss + output.numbers.sqr()?.sum_all()?)?;
    }
    let grads = tape.backward(&loss)?;
    for (param, it) in model.params().trainable() {
        let grad = grads.get(&it.var).unwrap_or_else(|| panic!("{name}: {param} has no gradient"));
        let grad = grad.flatten_all()?.to_vec1::<f32>()?;
        assert!(grad.iter().all(|it| it.is_finite()), "{name}: {param}");
    }
    let has_statistics = model.params().named().any(|(_, it)| it.kind == Kind::Buffer);
    let moved = predicted(&model, &xs)?;
    assert_eq!(before != moved, has_statistics, "{name}: training updates the running statistics");

    let maps = model.maps(&xs, &Pass::Eval(&Prepacked::default()))?;
    let (stages, n_heads) = (model.stages(), spec.head.get().n_copied());
    assert_eq!(maps.len() + 1, stages.len(), "{name}");
    let is_map = |it: &Value| it.dims().len() == 4;
    assert!(maps[..maps.len() - 1].iter().all(is_map), "{name}: a stage before the neck");
    assert_eq!(is_map(&maps[maps.len() - 1]), n_heads > 0, "{name}: the neck ends in features");
    for (idx, stage) in stages.iter().enumerate() {
        let has_params = model.params().named().any(|(_, it)| it.stage == idx);
        assert!(has_params || stage == "neck", "{name}: {stage} is empty");
    }
    Ok(())
}

/// The same network with a quarter of the width, so that the largest take seconds instead of minutes.
pub(crate) fn narrow(backbone: BackboneConfig) -> BackboneConfig {
    let width = 0.25;
    match backbone {
        BackboneConfig::EfficientNet(it) => {
            BackboneConfig::EfficientNet(EfficientNet { width, ..it })
        }
        BackboneConfig::ResNet(it) => BackboneConfig::ResNet(ResNet { width, ..it }),
        BackboneConfig::XResNet(it) => BackboneConfig::XResNet(XResNet { width, ..it }),
        BackboneConfig::Vgg(it) => BackboneConfig::Vgg(Vgg { width, hidden: 64, ..it }),
        BackboneConfig::DenseNet(it) => BackboneConfig::DenseNet(DenseNet { width, ..it }),
        BackboneConfig::ConvNeXt(it) => BackboneConfig::ConvNeXt(ConvNeXt { width, ..it }),
        own @ BackboneConfig::Own(_) => own,
    }
}

#[test]
fn every_published_network_passes_the_checks() -> Result<()> {
    let mut kinds = BTreeSet::new();
    for it in published() {
        kinds.insert(it.backbone.kind());
        assert_eq!(it.backbone.get().problem(), None, "{}", it.name);
        check_model(it.name, &spec(narrow(it.backbone), HeadConfig::default()))?;
    }
    assert_eq!(kinds.into_iter().collect::<BTreeSet<_>>().len(), BackboneConfig::KINDS.len());
    Ok(())
}

#[test]
fn every_head_passes_the_checks() -> Result<()> {
    // A head depends on a backbone only by its features, so a narrow one is sufficient.
    let config = EfficientNet { width: 0.25, ..EfficientNet::default() };
    let mut heads = HeadConfig::zoo();
    for text in [
        "kind = \"joint\"\ndepth = 2\nwidth = 32\nactivation = \"silu\"\ninit = \"kaiming\"",
        "kind = \"factored\"\ndepth = 1\nwidth = 16\ninit = \"xavier\"",
        "kind = \"cosine\"\nby = \"factor\"",
        "kind = \"bins\"\ndecide = \"likeliest\"\ncuts = [31, 59]",
        "kind = \"bins\"\ndecide = \"expected\"\ndepth = 1\ninit = \"trunc_normal\"",
        "kind = \"regression\"\nfactor = \"age\"\nauxiliary = false",
        "kind = \"multi_sample_dropout\"\nmean = \"logits\"",
    ] {
        heads.push((text, toml::from_str(text).expect("settings")));
    }
    for (kind, head) in heads {
        check_model(kind, &spec(BackboneConfig::EfficientNet(config.clone()), head))?;
    }
    Ok(())
}
