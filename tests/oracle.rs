//! candle-transformers as an oracle: its EfficientNet, which supports only inference, and ours agree on
//! the same random weights under torchvision's names.

use std::collections::{BTreeMap, HashMap};

use base::Seed;
use candle::{DType, Device, Module as _, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::efficientnet as theirs;
use models::{BackboneConfig, EfficientNet, HeadConfig, Model, ModelSpec, Variant};
use ops::{Padding, Pass, Prepacked};
use testkit::{check_close, numbers};

use crate::golden::plain_task;

#[test]
fn candle_transformers_gives_the_same_logits() -> Result<()> {
    // candle-transformers has torchvision's names with TensorFlow's padding and eps.
    let config = EfficientNet {
        variant: Variant::B0,
        padding: Some(Padding::Same),
        norm_eps: Some(1e-3),
        ..EfficientNet::default()
    };
    let backbone = BackboneConfig::EfficientNet(config);
    let spec = ModelSpec { backbone, head: HeadConfig::default() };
    let ours = Model::fresh(&spec, &plain_task(18), Seed(3), &Device::Cpu)?;

    let tensors: BTreeMap<String, Tensor> = ours.params().to_file()?.into_iter().collect();
    let is_backbone = |name: &&String| !name.starts_with("head.");
    let names: Vec<String> = tensors.keys().filter(is_backbone).cloned().collect();
    let namings = spec.backbone.get().namings(&names);
    let naming = namings.into_iter().find(|it| it.library == "torchvision").expect("a naming");
    let mut published: HashMap<String, Tensor> = naming
        .backbone
        .into_iter()
        .map(|(ours, theirs)| (theirs, tensors[&ours].clone()))
        .collect();
    for part in ["weight", "bias"] {
        let tensor = tensors[&format!("head.joint.{part}")].clone();
        published.insert(format!("{}.{part}", naming.classifier), tensor);
    }
    let vb = VarBuilder::from_tensors(published, DType::F32, &Device::Cpu);
    let theirs = theirs::EfficientNet::new(vb, theirs::MBConvConfig::b0(), 18)?;

    let images =
        Tensor::from_vec(numbers("pictures", 2 * 65 * 64 * 3), (2, 65, 64, 3), &Device::Cpu)?;
    let images = images.to_dtype(DType::F32)?;
    let want = theirs.forward(&images.permute((0, 3, 1, 2))?.contiguous()?)?;
    let got = ours.forward(&images, &Pass::Eval(&Prepacked::default()))?.remove(0).numbers;
    let want = want.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    check_close(&got, &want, 1e-5);
    Ok(())
}
