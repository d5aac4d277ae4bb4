//! The gradient of a network's outputs with respect to the feature map of each stage, at inference, against
//! differences in f64.

use base::{Seed, Task};
use candle::{DType, Device, Result, Tensor, Var};
use models::{
    BackboneConfig, ConvNeXt, DenseNet, EfficientNet, HeadConfig, Model, ModelSpec, ResNet,
    Variant, Vgg, XResNet,
};
use ops::{Output, Pass, Prepacked, Tape, Value};
use testkit::{check_gradient, numbers};

use crate::{golden::set_by_formula, zoo::models::narrow};

/// One network for each type of block, in a quarter of its width.
fn backbones() -> Vec<(&'static str, BackboneConfig)> {
    let efficientnet = |variant| EfficientNet { variant, depth: 0.3, ..EfficientNet::default() };
    let resnet = |depth| ResNet { depth, ..ResNet::default() };
    let vgg = |batch_norm| Vgg { depth: 11, batch_norm, ..Vgg::default() };
    let all = vec![
        ("mbconv", BackboneConfig::EfficientNet(efficientnet(Variant::B0))),
        ("fused mbconv", BackboneConfig::EfficientNet(efficientnet(Variant::V2S))),
        (
            "mbconv without squeeze-excite",
            BackboneConfig::EfficientNet(efficientnet(Variant::Lite0)),
        ),
        ("residual", BackboneConfig::ResNet(resnet(18))),
        ("bottleneck", BackboneConfig::ResNet(resnet(50))),
        (
            "bottleneck with squeeze-excite",
            BackboneConfig::ResNet(ResNet { squeeze_excite: true, ..resnet(50) }),
        ),
        ("xresnet", BackboneConfig::XResNet(XResNet::default())),
        ("vgg", BackboneConfig::Vgg(vgg(false))),
        ("vgg with norms", BackboneConfig::Vgg(vgg(true))),
        ("dense", BackboneConfig::DenseNet(DenseNet::default())),
        ("convnext", BackboneConfig::ConvNeXt(ConvNeXt::default())),
    ];
    all.into_iter().map(|(name, it)| (name, narrow(it))).collect()
}

/// Σ r·x over the numbers of all outputs.
fn projected(outputs: &[Output]) -> Result<Tensor> {
    let mut sum = Tensor::zeros((), DType::F64, &Device::Cpu)?;
    for (idx, it) in outputs.iter().enumerate() {
        let r = numbers(&format!("projection/{idx}"), it.numbers.elem_count());
        let r = Tensor::from_vec(r, it.numbers.dims(), &Device::Cpu)?;
        sum = (sum + (&it.numbers * r)?.sum_all()?)?;
    }
    Ok(sum)
}

/// Checks the gradient of the map of each stage; of a copied stage, that of the first copy.
fn check(name: &str, backbone: BackboneConfig, head: HeadConfig) -> Result<()> {
    let (spec, task) = (ModelSpec { backbone, head }, Task::mask_gender_age());
    let model = Model::with_dtype(&spec, &task, Seed(0), DType::F64, &Device::Cpu)?;
    set_by_formula(&model)?;
    let xs = Tensor::from_vec(numbers("images", 40 * 32 * 3), (1, 40, 32, 3), &Device::Cpu)?;
    // The scores that are differentiated are those of inference.
    let packed = Prepacked::default();
    let at_inference = projected(&model.forward(&xs, &Pass::Eval(&packed))?)?.to_scalar::<f64>()?;
    let recorded = projected(&model.forward(&xs, &Pass::Gradient(&Tape::default()))?)?;
    let recorded = recorded.to_scalar::<f64>()?;
    let is_close = (at_inference - recorded).abs() <= 1e-9 * at_inference.abs().max(1.0);
    assert!(is_close, "{name}: {recorded}, not {at_inference}");

    for stage in model.map_stages() {
        let (tape, mut leaf) = (Tape::default(), None);
        let mut tap = |at: &str, ys: Value| -> Result<Value> {
            if at != stage || leaf.is_some() {
                return Ok(ys);
            }
            let var = Var::from_tensor(&ys.tensor()?)?;
            leaf = Some(var.clone());
            Ok(tape.leaf(&var))
        };
        let outputs = model.forward_tapped(&xs, &Pass::Gradient(&tape), &mut tap)?;
        let found = tape.backward(&projected(&outputs)?)?;
        let map = leaf.expect("each stage has a map");
        let gradient = found.get(&map).unwrap_or_else(|| panic!("{name}: {stage}: no gradient"));
        let list = |it: &Tensor| it.flatten_all()?.to_vec1::<f64>();
        let (values, gradient) = (list(map.as_tensor())?, list(gradient)?);
        let norm = gradient.iter().map(|it| it * it).sum::<f64>().sqrt();
        assert!(norm > 0.0 && norm.is_finite(), "{name}: {stage}: the gradient's norm is {norm}");
        // Two unit directions: the gradient's own, and a random one with it.
        let own: Vec<f64> = gradient.iter().map(|it| it / norm).collect();
        let n = (own.len() as f64).sqrt();
        let random = numbers(stage, own.len());
        let mixed: Vec<f64> = own.iter().zip(random).map(|(g, r)| g + r / n).collect();
        eprintln!("{name}: {stage}: {:?}, the gradient's norm is {norm:.2e}", map.dims());
        check_gradient(&[0.0, 0.0], |at| {
            let moved = |idx: usize| values[idx] + at[0] * own[idx] + at[1] * mixed[idx];
            let moved = Tensor::from_iter((0..values.len()).map(moved), &Device::Cpu).unwrap();
            let moved = moved.reshape(map.dims()).unwrap();
            let mut n_taken = 0;
            let mut tap = |at: &str, ys: Value| {
                n_taken += usize::from(at == stage);
                let is_first = at == stage && n_taken == 1;
                Ok(if is_first { Value::constant(moved.clone()) } else { ys })
            };
            let pass = Pass::Gradient(&Tape::default());
            let outputs = model.forward_tapped(&xs, &pass, &mut tap).unwrap();
            let score = projected(&outputs).unwrap().to_scalar::<f64>().unwrap() / norm;
            let along =
                |v: &[f64]| -> f64 { gradient.iter().zip(v).map(|(g, v)| g * v / norm).sum() };
            (score, vec![along(&own), along(&mixed)])
        });
    }
    Ok(())
}

#[test]
fn the_gradient_of_every_block_matches_differences() -> Result<()> {
    for (name, backbone) in backbones() {
        check(name, backbone, HeadConfig::default())?;
    }
    Ok(())
}

#[test]
fn the_gradient_of_every_head_matches_differences() -> Result<()> {
    let config = EfficientNet { width: 0.25, depth: 0.3, ..EfficientNet::default() };
    for (kind, head) in HeadConfig::zoo() {
        check(kind, BackboneConfig::EfficientNet(config.clone()), head)?;
    }
    Ok(())
}
