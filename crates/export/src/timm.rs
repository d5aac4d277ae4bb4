//! The weights of one network under timm's names, as a safetensors file.
//!
//! `timm.create_model(architecture, num_classes=n, checkpoint_path=file)` loads it, and so does
//! `load_state_dict(load_file(file))`. The tensors have PyTorch's layouts, and the classifier is that of the head
//! `joint` without hidden layers, in the order of the classes; timm has no other head. The file's metadata names the
//! architecture, the number of classes, the classes and the preprocessing.

use std::collections::{BTreeMap, HashMap};

use augment::Statistics;
use base::task::Scope;
use candle::Tensor;
use infer::{Bundle, Member};
use models::{BackboneConfig, HeadConfig, Naming, Published};

use crate::ExportError;

/// The weights of a network under timm's names.
#[derive(Clone, Debug)]
pub struct TimmWeights {
    /// timm's name of the architecture.
    pub architecture: &'static str,
    /// The number of classes.
    pub n_classes: usize,
    /// The number of tensors.
    pub n_tensors: usize,
    /// The safetensors file.
    pub bytes: Vec<u8>,
}

/// Returns the weights of a bundle's only member under timm's names.
///
/// # Errors
/// Several members, a network or a head that timm does not have, or a tensor operation that fails.
pub fn timm(bundle: &Bundle) -> Result<TimmWeights, ExportError> {
    let [member] = &bundle.members[..] else {
        return Err(ExportError::Unfit(format!(
            "the bundle has {} members, and a file of weights has one network: name one of its runs or folds",
            bundle.members.len()
        )));
    };
    let spec = member.model.spec();
    let network = network(&spec.backbone)?;
    check_head(&spec.head)?;
    let tensors = tensors(member)?;
    let n_classes = member.task.n_classes();
    let n_tensors = tensors.len();
    let bytes = safetensors::serialize(tensors, None).map_err(candle::Error::wrap)?;
    let bytes = with_metadata(&bytes, metadata(network.name, member)?)?;
    Ok(TimmWeights { architecture: network.name, n_classes, n_tensors, bytes })
}

/// Returns the published network that a backbone is.
fn network(backbone: &BackboneConfig) -> Result<Published, ExportError> {
    let unfit = |what: String| Err(ExportError::Unfit(what));
    let Some(network) = Published::find(backbone) else {
        return unfit(format!(
            "the backbone `{}` has settings (such as `width`) that no network of timm has: export to ONNX",
            backbone.kind()
        ));
    };
    match naming(backbone, &[]) {
        Some(_) => Ok(network),
        None => unfit(format!("timm has no `{}`: export to ONNX", backbone.kind())),
    }
}

/// timm's naming of a backbone's parameters, if it has the backbone.
fn naming(backbone: &BackboneConfig, ours: &[String]) -> Option<Naming> {
    backbone.get().namings(ours).into_iter().find(|it| it.library.contains("timm"))
}

/// Checks that a head is one linear classifier over the joint classes.
fn check_head(head: &HeadConfig) -> Result<(), ExportError> {
    match head {
        HeadConfig::Joint(it) if it.depth == 0 => Ok(()),
        HeadConfig::Joint(_) => Err(ExportError::Unfit(
            "the head `joint` has hidden layers (`depth`), which networks of timm do not have: train with `--set \
             head.depth=0`, or export to ONNX".to_owned(),
        )),
        _ => Err(ExportError::Unfit(format!(
            "the head `{}` is not one of timm's, which has `joint`: train with `--set head.kind=joint`, or export to \
             ONNX",
            head.kind()
        ))),
    }
}

/// Returns a member's tensors in PyTorch's layouts, by timm's names.
fn tensors(member: &Member) -> Result<BTreeMap<String, Tensor>, ExportError> {
    /// What the names of a head's parameters begin with.
    const HEAD: &str = "head.";
    let all = member.model.params().to_file()?;
    let spec = member.model.spec();
    let ours = all.iter().map(|it| &it.0).filter(|it| !it.starts_with(HEAD)).cloned();
    let Some(naming) = naming(&spec.backbone, &ours.collect::<Vec<_>>()) else {
        return Err(ExportError::Unfit(format!("timm has no `{}`", spec.backbone.kind())));
    };
    let theirs: HashMap<String, String> = naming.backbone.into_iter().collect();
    let layer = spec.head.get().classifier().unwrap_or_default();
    let renamed = |(name, tensor): (String, Tensor)| {
        let of_classifier = || {
            let rest = name.strip_prefix(HEAD)?.strip_prefix(layer)?;
            Some(format!("{}{rest}", naming.classifier))
        };
        let theirs = theirs.get(&name).cloned().or_else(of_classifier);
        let unnamed = || ExportError::Unfit(format!("`{name}` has no name in timm"));
        Ok((theirs.ok_or_else(unnamed)?, tensor))
    };
    all.into_iter().map(renamed).collect()
}

fn json<T>(it: serde_json::Result<T>) -> Result<T, ExportError> {
    it.map_err(|err| ExportError::Unfit(format!("the metadata: {err}")))
}

/// Returns a safetensors file with metadata, in the order of its names: the library writes it in a random one.
///
/// A file is the length of its header in 8 bytes, the header, which is JSON and padded to a multiple of 8 bytes, and
/// the numbers.
fn with_metadata(file: &[u8], metadata: BTreeMap<String, String>) -> Result<Vec<u8>, ExportError> {
    const LENGTH: usize = size_of::<u64>();
    let broken = || ExportError::Unfit("the library wrote no safetensors file".to_owned());
    let (length, rest) = file.split_first_chunk::<LENGTH>().ok_or_else(broken)?;
    let n = usize::try_from(u64::from_le_bytes(*length)).ok().filter(|it| *it <= rest.len());
    let (header, numbers) = rest.split_at(n.ok_or_else(broken)?);
    let mut entries: BTreeMap<String, serde_json::Value> = json(serde_json::from_slice(header))?;
    entries.insert("__metadata__".to_owned(), json(serde_json::to_value(metadata))?);
    let mut header = json(serde_json::to_vec(&entries))?;
    header.resize(header.len().next_multiple_of(LENGTH), b' ');
    Ok([&(header.len() as u64).to_le_bytes(), header.as_slice(), numbers].concat())
}

/// The file's metadata.
fn metadata(architecture: &str, member: &Member) -> Result<BTreeMap<String, String>, ExportError> {
    let Member { task, pipeline, .. } = member;
    let Statistics { mean, std } = pipeline.statistics;
    let entries = [
        // As files of PyTorch's own state dicts.
        ("format", "pt".to_owned()),
        ("architecture", architecture.to_owned()),
        ("num_classes", task.n_classes().to_string()),
        ("classes", json(serde_json::to_string(&task.class_names(Scope::Joint)))?),
        ("mean", json(serde_json::to_string(&mean))?),
        ("std", json(serde_json::to_string(&std))?),
        ("pipeline", json(serde_json::to_string(pipeline))?),
    ];
    Ok(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use augment::{Pipeline, Statistics, Step};
    use base::Task;
    use candle::Device;
    use infer::{Bundle, Member};
    use models::{HeadConfig, Model, ModelSpec, published};

    use super::timm;

    /// A published network whose weights are all 0.
    fn member(name: &str, head: &str) -> Member {
        let known = published().into_iter().find(|it| it.name == name).unwrap();
        let head: HeadConfig = toml::from_str(head).unwrap();
        let spec = ModelSpec { backbone: known.backbone, head };
        let task = Task::mask_gender_age();
        let model = Model::zeros(&spec, &task, &Device::Cpu).unwrap();
        let ops = "kind = \"resize\"\nsize = [64, 64]";
        let statistics = Statistics { mean: [0.5; 3], std: [0.5; 3] };
        let ops = vec![toml::from_str::<Step>(ops).unwrap()];
        Member::new(Rc::new(model), task, Pipeline { ops, statistics, max_pixels: 1 << 20 })
    }

    fn bundle(members: Vec<Member>) -> Bundle {
        Bundle::new(Task::mask_gender_age(), members)
    }

    #[test]
    fn tensors_have_timms_names() {
        for (name, wanted) in [
            ("tf_efficientnet_lite0", ["conv_stem.weight", "classifier.bias"]),
            ("resnet18", ["layer1.0.conv1.weight", "fc.weight"]),
            ("convnext_tiny", ["head.norm.weight", "head.fc.weight"]),
        ] {
            let made = timm(&bundle(vec![member(name, "kind = \"joint\"")])).unwrap();
            assert_eq!((made.architecture, made.n_classes), (name, 18));
            let again = timm(&bundle(vec![member(name, "kind = \"joint\"")])).unwrap();
            assert!(made.bytes == again.bytes, "{name}: other bytes");
            let file = safetensors::SafeTensors::deserialize(&made.bytes).unwrap();
            let names = file.names();
            assert_eq!(names.len(), made.n_tensors);
            for it in wanted {
                assert!(names.contains(&it), "{name}: {it}");
            }
            assert!(names.iter().all(|it| !it.starts_with("head.joint")), "{names:?}");
        }
    }

    #[test]
    fn what_timm_does_not_have_is_named() {
        let refused = |members: Vec<Member>, want: &str| {
            let err = timm(&bundle(members)).unwrap_err().to_string();
            assert!(err.starts_with(want), "{err}");
        };
        let (lite, joint) = ("tf_efficientnet_lite0", "kind = \"joint\"");
        let set =
            "timm's, which has `joint`: train with `--set head.kind=joint`, or export to ONNX";
        refused(
            vec![member(lite, "kind = \"factored\"")],
            &format!("the head `factored` is not one of {set}"),
        );
        let deep = "kind = \"joint\"\ndepth = 1";
        refused(vec![member(lite, deep)], "the head `joint` has hidden layers (`depth`)");
        refused(vec![member("xresnet50", joint)], "timm has no `xresnet`");
        refused(vec![member(lite, joint), member(lite, joint)], "the bundle has 2 members");
    }
}
