//! Published weights: reading the file, and finding out whose names it uses.
//!
//! `.safetensors` files, and PyTorch's `.pth` in its old and its zip form (see `pickle.rs`).
//! The library that wrote the names is recognised by the names themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use candle::{DType, Device, Tensor};

use crate::{ModelSpec, Params, pickle};

/// Why weights could not be read or used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be opened.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file opens, but what it holds cannot be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The tensors are of another architecture or variant.
    #[error("{0}")]
    DoNotFit(String),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

/// What became of published weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Whose names the file uses.
    pub library: &'static str,
    /// How many tensors of the backbone were taken over: all of them.
    pub n_loaded: usize,
    /// What became of the classifier.
    pub classifier: Classifier,
    /// Tensors of the file that belong to nothing here.
    pub left_over: Vec<String>,
}

/// What became of a file's classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classifier {
    /// It has as many classes as ours, and was taken over.
    Taken,
    /// It has another number of classes: ours starts fresh.
    Replaced {
        /// Its number of classes.
        theirs: usize,
        /// Ours.
        ours: usize,
    },
    /// The head asks other questions than one joint classifier can answer: ours starts fresh.
    OtherHead,
    /// The file has none: ours starts fresh.
    Absent,
}

/// Reads all floating-point tensors of a file, as `f32`, by name, in the files' usual layout.
///
/// # Errors
/// A file that cannot be opened, that is cut off, or that is of no known format.
pub fn read_weights(path: &Path) -> Result<BTreeMap<String, Tensor>, WeightsError> {
    let bytes =
        fs::read(path).map_err(|source| WeightsError::Io { path: path.to_owned(), source })?;
    let unreadable = |reason: String| WeightsError::Unreadable { path: path.to_owned(), reason };
    let tensors = if pickle::looks_like_pth(&bytes) {
        pickle::read(&bytes).map_err(|err| unreadable(err.to_string()))?
    } else {
        read_safetensors(&bytes).map_err(|err| unreadable(err.to_string()))?
    };
    let mut floats = BTreeMap::new();
    for (name, tensor) in tensors {
        // Counters such as `num_batches_tracked` are no weights.
        if tensor.dtype().is_float() {
            floats.insert(name, tensor.to_dtype(DType::F32)?);
        }
    }
    Ok(floats)
}

/// The tensors of a safetensors file.
fn read_safetensors(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, Box<dyn std::error::Error>> {
    let file = safetensors::SafeTensors::deserialize(bytes).map_err(|err| {
        format!("this is no whole `.safetensors` or `.pth` file ({err}): fetch it again")
    })?;
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        let dtype = DType::try_from(view.dtype())?;
        let tensor = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)?;
        tensors.push((name, tensor));
    }
    Ok(tensors)
}

/// Takes over the backbone's weights, and the classifier's where it fits.
pub(crate) fn fit(
    spec: &ModelSpec,
    params: &Params,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<Fitted, WeightsError> {
    // Weights trained on several GPUs carry their wrapper's name in front of each tensor.
    let tensors: BTreeMap<&str, &Tensor> = tensors
        .iter()
        .map(|(name, it)| (name.strip_prefix("module.").unwrap_or(name), it))
        .collect();
    let ours: Vec<String> = params
        .named()
        .map(|(name, _)| name.to_owned())
        .filter(|name| !name.starts_with("head."))
        .collect();
    let hits = |pairs: &[(String, String)]| {
        pairs.iter().filter(|(_, theirs)| tensors.contains_key(theirs.as_str())).count()
    };
    let namings = spec.backbone.get().namings(&ours);
    let naming = namings.into_iter().max_by_key(|it| hits(&it.backbone));
    let naming = naming.expect("every architecture has a naming of its own");

    let mut problems = Vec::new();
    let mut used = BTreeSet::new();
    for (name, theirs) in &naming.backbone {
        let param = params.get(name).expect("the names are the model's own");
        let want = param.kind.file_dims(param.var.dims());
        match tensors.get(theirs.as_str()) {
            None => problems.push(format!("`{theirs}` is missing")),
            Some(it) if !param.takes(it.dims()) => {
                problems.push(format!("`{theirs}` has shape {:?}, not {want:?}", it.dims()));
            }
            Some(_) => drop(used.insert(theirs.clone())),
        }
    }
    if !problems.is_empty() {
        let n = problems.len();
        let shown = problems.iter().take(5).map(|it| format!("\n  {it}")).collect::<String>();
        let rest = if n > 5 { format!("\n  and {} more", n - 5) } else { String::new() };
        return Err(WeightsError::DoNotFit(format!(
            "the weights do not fit `{}`: {n} of {} tensors differ ({} names, the closest): \
             is it another variant?{shown}{rest}",
            spec.backbone.kind(),
            naming.backbone.len(),
            naming.library,
        )));
    }
    for (name, theirs) in &naming.backbone {
        let param = params.get(name).expect("the names are the model's own");
        param.set_from_file(tensors[theirs.as_str()])?;
    }
    let classifier = fit_classifier(spec, params, &tensors, naming.classifier, &mut used)?;
    let left_over = tensors.keys().filter(|&&it| !used.contains(it)).map(|&it| it.to_owned());
    Ok(Fitted {
        library: naming.library,
        n_loaded: naming.backbone.len(),
        classifier,
        left_over: left_over.collect(),
    })
}

fn fit_classifier(
    spec: &ModelSpec,
    params: &Params,
    tensors: &BTreeMap<&str, &Tensor>,
    theirs: &str,
    used: &mut BTreeSet<String>,
) -> Result<Classifier, WeightsError> {
    let names = [format!("{theirs}.weight"), format!("{theirs}.bias")];
    let [Some(weight), Some(bias)] = names.each_ref().map(|it| tensors.get(it.as_str())) else {
        return Ok(Classifier::Absent);
    };
    used.extend(names.iter().cloned());
    let Some(layer) = spec.head.get().classifier() else { return Ok(Classifier::OtherHead) };
    let ours = ["weight", "bias"].map(|it| params.get(&format!("head.{layer}.{it}")));
    let [Some(our_weight), Some(our_bias)] = ours else { return Ok(Classifier::OtherHead) };
    if weight.dims() != our_weight.var.dims() || bias.dims() != our_bias.var.dims() {
        let n = |dims: &[usize]| dims.first().copied().unwrap_or(0);
        let (theirs, ours) = (n(weight.dims()), n(our_weight.var.dims()));
        return Ok(Classifier::Replaced { theirs, ours });
    }
    our_weight.set_from_file(weight)?;
    our_bias.set_from_file(bias)?;
    Ok(Classifier::Taken)
}

impl std::fmt::Display for Fitted {
    /// What a person wants to know, in one sentence or a few.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tensors by {}'s names, none missing", self.n_loaded, self.library)?;
        match self.classifier {
            Classifier::Taken => write!(f, "; the classifier as well"),
            Classifier::Replaced { theirs, ours } => {
                write!(
                    f,
                    "; the classifier of {theirs} classes is replaced by a fresh one of {ours}"
                )
            }
            Classifier::OtherHead => write!(f, "; its classifier is replaced by a fresh head"),
            Classifier::Absent => write!(f, "; the file has no classifier, so the head is fresh"),
        }?;
        match self.left_over.as_slice() {
            [] => Ok(()),
            names => write!(f, "; left over: {}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use base::{Seed, Task};
    use candle::{DType, Device, Tensor};
    use expect_test::expect;

    use super::{Classifier, read_weights};
    use crate::{BackboneConfig, EfficientNet, HeadConfig, Model, ModelSpec, Variant};

    fn spec(variant: Variant) -> ModelSpec {
        // Narrow, so that the test is quick.
        let backbone = EfficientNet { variant, width: 0.25, ..EfficientNet::default() };
        ModelSpec { backbone: BackboneConfig::EfficientNet(backbone), head: HeadConfig::default() }
    }

    fn model(variant: Variant, seed: u64) -> Model {
        let task = Task::mask_gender_age();
        Model::fresh(&spec(variant), &task, Seed(seed), &Device::Cpu).unwrap()
    }

    /// The model's tensors as `library` would have written them, with a classifier of `n` classes.
    fn published(model: &Model, library: &str, n: usize) -> BTreeMap<String, Tensor> {
        let all: BTreeMap<String, Tensor> = model.params().to_file().unwrap().into_iter().collect();
        let ours: Vec<String> = all.keys().filter(|it| !it.starts_with("head.")).cloned().collect();
        let namings = model.spec().backbone.get().namings(&ours);
        let naming = namings.into_iter().find(|it| it.library == library).unwrap();
        let mut file: BTreeMap<String, Tensor> = naming
            .backbone
            .iter()
            .map(|(ours, theirs)| (theirs.clone(), all[ours].clone()))
            .collect();
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
            let fitted = to.fit_weights(&published(&from, library, 1000)).unwrap();
            assert_eq!(fitted.library, library);
            assert_eq!(fitted.classifier, Classifier::Replaced { theirs: 1000, ours: 18 });
            assert_eq!(fitted.left_over, Vec::<String>::new());
            for name in
                ["conv_stem.weight", "blocks.6.0.bn3.running_var", "blocks.0.0.se.conv_expand.bias"]
            {
                assert_eq!(numbers(&from, name), numbers(&to, name), "{library}: {name}");
            }
        }
    }

    #[test]
    fn a_classifier_of_our_width_is_taken() {
        let (from, to) = (model(Variant::Lite0, 1), model(Variant::Lite0, 2));
        let fitted = to.fit_weights(&published(&from, "timm", 18)).unwrap();
        assert_eq!(fitted.classifier, Classifier::Taken);
        assert!(numbers(&to, "head.joint.weight").iter().all(|&it| it == 0.0));
    }

    #[test]
    fn what_is_left_over_is_named_and_wrappers_are_seen_through() {
        let (from, to) = (model(Variant::B0, 1), model(Variant::B0, 2));
        let mut file: BTreeMap<String, Tensor> = published(&from, "timm", 1000)
            .into_iter()
            .map(|(name, it)| (format!("module.{name}"), it))
            .collect();
        file.insert("module.extra".to_owned(), file["module.bn1.bias"].clone());
        let fitted = to.fit_weights(&file).unwrap();
        expect![[r#"309 tensors by timm's names, none missing; the classifier of 1000 classes is replaced by a fresh one of 18; left over: extra"#]]
            .assert_eq(&fitted.to_string());
    }

    #[test]
    fn another_variant_is_an_error_that_changes_nothing() {
        let (from, to) = (model(Variant::B1, 1), model(Variant::B3, 2));
        let before = numbers(&to, "conv_stem.weight");
        let err = to.fit_weights(&published(&from, "torchvision", 1000)).unwrap_err().to_string();
        assert!(err.contains("is it another variant?"), "{err}");
        assert_eq!(before, numbers(&to, "conv_stem.weight"));
    }

    #[test]
    fn files_that_are_no_weights_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, bytes: &[u8], want: &str| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            let err = read_weights(&path).unwrap_err().to_string();
            assert!(err.starts_with(&path.display().to_string()), "{err}");
            assert!(err.contains(want), "{err}");
        };
        check("text.safetensors", b"hello, I am a text file", "no whole `.safetensors` or `.pth`");
        check("empty.pth", b"", "no whole `.safetensors` or `.pth`");
        let err = read_weights(&dir.path().join("absent.pth")).unwrap_err().to_string();
        assert!(err.contains("No such file"), "{err}");

        let tensor = Tensor::zeros(100, DType::F32, &Device::Cpu).unwrap();
        let whole = safetensors::serialize([("a", &tensor)], None).unwrap();
        check("cut.safetensors", &whole[..whole.len() - 10], "no whole `.safetensors` or `.pth`");
    }
}
