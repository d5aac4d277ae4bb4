//! Published weights: finding out whose names a file uses, and taking them over.
//!
//! The library that wrote the names is recognised by the names themselves.

mod file;
mod names;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::PathBuf,
};

use candle::{DType, Tensor};

pub use self::file::{Format, WeightsFile, read_weights};
use self::names::{Place, unwrapped};
use crate::{BackboneConfig, ModelSpec, Naming, Params, Published, published, published::blank};

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
    /// Numbers that are none, or that no network can compute with.
    #[error(
        "these weights cannot be used: take those of an earlier step, or of another file{}",
        first_few(.0)
    )]
    NotFinite(Vec<String>),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

/// What became of published weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Whose names the file uses.
    pub library: &'static str,
    /// The path before these names, which ends in a dot; empty for none.
    pub prefix: String,
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

impl WeightsFile {
    /// The published networks that the tensors fit, or those that are closest; the better first.
    ///
    /// Networks that differ in what no file says (padding, say) come as one.
    pub fn closest(&self) -> Result<Vec<Fit>, WeightsError> {
        let weights: Vec<_> = self.weights().map(|(name, it)| (name, it.dims())).collect();
        let dims = unwrapped(weights.into_iter());
        let mut fits: Vec<Fit> = Vec::new();
        for it in published() {
            let fit = Fit::of(&it, &dims)?;
            let is_same =
                |other: &&mut Fit| Fit { names: other.names.clone(), ..fit.clone() } == **other;
            match fits.iter_mut().find(is_same) {
                Some(same) => same.names.extend(fit.names),
                None => fits.push(fit),
            }
        }
        // By shares: a small network has little that can be missing.
        let rank = |it: &Fit| (it.differences.len() * 10_000 / it.n_tensors, it.left_over.len());
        fits.sort_by_key(rank);
        Ok(fits)
    }

    /// Whose names the file has for a backbone, if it has all of its tensors.
    ///
    /// # Errors
    /// A tensor operation that fails.
    pub fn library(&self, backbone: &BackboneConfig) -> Result<Option<&'static str>, WeightsError> {
        let weights: Vec<_> = self.weights().map(|(name, it)| (name, it.dims())).collect();
        let compared = compare(backbone, &blank(backbone)?, &unwrapped(weights.into_iter()));
        Ok(compared.differences.is_empty().then_some(compared.naming.library))
    }
}

/// How well a file's tensors fit a published network.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Networks that it is the same for.
    pub names: Vec<&'static str>,
    /// Whose names the file uses, as far as it does.
    pub library: &'static str,
    /// The path before these names, which ends in a dot; empty for none.
    pub prefix: String,
    /// Tensors of the backbone.
    pub n_tensors: usize,
    /// What is missing or of another shape; empty where the weights fit.
    pub differences: Vec<String>,
    /// Classes of the file's classifier, if it has one.
    pub n_classes: Option<usize>,
    /// Tensors of the file that belong to nothing here.
    pub left_over: Vec<String>,
}

impl Fit {
    /// - `dims`: the shape of each tensor of the file.
    fn of(it: &Published, dims: &BTreeMap<String, &[usize]>) -> Result<Fit, WeightsError> {
        let (params, _) = it.params()?;
        let Compared { naming, place, differences, mut used } =
            compare(&it.backbone, &params, dims);
        let n_tensors = naming.backbone.len();
        let [weight, bias] = classifier_names(&naming);
        let n_classes = dims.get(&weight).and_then(|it| it.first()).copied();
        used.extend([weight, bias]);
        // What is of another shape is a difference, not left over.
        used.extend(naming.backbone.into_iter().map(|it| it.1));
        let left_over = dims.keys().filter(|&it| !used.contains(it));
        Ok(Fit {
            names: vec![it.name],
            library: naming.library,
            left_over: left_over.map(|it| bare(it, &place.prefix)).collect(),
            prefix: place.prefix,
            n_tensors,
            differences,
            n_classes,
        })
    }
}

/// Takes over the backbone's weights, and the classifier's where it fits.
pub(crate) fn fit(
    spec: &ModelSpec,
    params: &Params,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<Fitted, WeightsError> {
    let tensors = unwrapped(tensors.iter().map(|(name, it)| (name.as_str(), it)));
    let dims = tensors.iter().map(|(name, it)| (name.clone(), it.dims())).collect();
    let Compared { naming, place, differences, used } = compare(&spec.backbone, params, &dims);
    if !differences.is_empty() {
        return Err(WeightsError::DoNotFit(format!(
            "the weights do not fit `{}`: {} of {} tensors differ ({} names, the closest): \
             is it another variant? `weights inspect` says what they fit{}",
            spec.backbone.kind(),
            differences.len(),
            naming.backbone.len(),
            naming.library,
            first_few(&differences),
        )));
    }
    if !place.rivals.is_empty() {
        let places = std::iter::once(&place.prefix).chain(&place.rivals);
        let places: Vec<String> = places.map(|it| format!("`{it}`")).collect();
        return Err(WeightsError::DoNotFit(format!(
            "the file has `{}` more than once (under {}), and nothing says which is meant: save the \
             `state_dict()` of the one alone",
            spec.backbone.kind(),
            places.join(" and "),
        )));
    }
    let classifier_names = classifier_names(&naming);
    let is_left = |it: &&String| !used.contains(*it) && !classifier_names.contains(it);
    let left_over: Vec<&String> = tensors.keys().filter(is_left).collect();
    // A tensor or two may be a wrapper's, and what lies elsewhere is not the network's; many beside its
    // own are what a larger network has more.
    let within = left_over.iter().filter(|it| it.starts_with(&place.prefix));
    let within: Vec<String> = within.map(|it| bare(it, &place.prefix)).collect();
    if within.len() > naming.backbone.len() / 20 {
        return Err(WeightsError::DoNotFit(format!(
            "the weights are of a larger network than `{}`: {} tensors of the file belong to nothing \
             here: is it another variant? `weights inspect` says what they fit{}",
            spec.backbone.kind(),
            within.len(),
            first_few(&within),
        )));
    }
    let left_over = left_over.into_iter().map(|it| bare(it, &place.prefix)).collect();
    let taken = naming.backbone.iter().map(|(_, theirs)| theirs).chain(&classifier_names);
    let taken: BTreeSet<&String> = taken.collect();
    let taken = taken.into_iter().filter_map(|it| Some((it.as_str(), *tensors.get(it)?)));
    check_numbers(taken)?;
    for (name, theirs) in &naming.backbone {
        let param = params.get(name).expect("the names are the model's own");
        param.set_from_file(tensors[theirs])?;
    }
    let classifier = fit_classifier(spec, params, &tensors, &naming)?;
    let (library, n_loaded) = (naming.library, naming.backbone.len());
    Ok(Fitted { library, prefix: place.prefix, n_loaded, classifier, left_over })
}

/// Whether a network can compute with these weights.
///
/// # Errors
/// Every tensor with a number that is not finite, and every running variance below 0.
pub(crate) fn check_numbers<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
) -> Result<(), WeightsError> {
    let mut problems = Vec::new();
    for (name, tensor) in tensors {
        let numbers = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let n_bad = numbers.iter().filter(|it| !it.is_finite()).count();
        let is_variance = name.ends_with("running_var");
        if n_bad > 0 {
            let n = numbers.len();
            problems
                .push(format!("`{name}` is not finite (NaN or infinite): {n_bad} of {n} numbers"));
        } else if is_variance && numbers.iter().any(|&it| it < 0.0) {
            problems.push(format!("`{name}` is a variance, and below 0"));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(WeightsError::NotFinite(problems)) }
}

/// A name of the file as the network calls it, if it is under its place.
fn bare(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

fn classifier_names(naming: &Naming) -> [String; 2] {
    ["weight", "bias"].map(|it| format!("{}.{it}", naming.classifier))
}

/// Problems a line each, as many as a person reads.
pub fn first_few(problems: &[String]) -> String {
    let shown = problems.iter().take(5).map(|it| format!("\n  {it}")).collect::<String>();
    match problems.len().saturating_sub(5) {
        0 => shown,
        more => format!("{shown}\n  and {more} more"),
    }
}

/// What a backbone calls a parameter: of a copy that a branched head has, the original's name.
fn in_backbone(name: &str) -> Option<&str> {
    match name.strip_prefix("head.") {
        None => Some(name),
        Some(rest) => rest.split_once(".branch.").map(|it| it.1),
    }
}

/// A file's tensors beside a backbone's.
struct Compared {
    /// The library whose names fit best, as they are in the file.
    naming: Naming,
    /// Where in the file they are.
    place: Place,
    /// What is missing or of another shape.
    differences: Vec<String>,
    /// The file's names of what fits.
    used: BTreeSet<String>,
}

/// - `params`: those of `backbone`, and perhaps of a head.
/// - `dims`: the shapes of the file's tensors, by their names without wrappers.
fn compare(
    backbone: &BackboneConfig,
    params: &Params,
    dims: &BTreeMap<String, &[usize]>,
) -> Compared {
    let places: Vec<(&str, &str)> =
        params.named().filter_map(|(name, _)| Some((in_backbone(name)?, name))).collect();
    let ours: BTreeSet<String> = places.iter().map(|it| it.0.to_owned()).collect();
    let place_of = |naming: &Naming| {
        let wanted: HashSet<&str> = naming.backbone.iter().map(|it| it.1.as_str()).collect();
        Place::find(dims.keys().map(String::as_str), &wanted)
    };
    let namings = backbone.get().namings(&ours.into_iter().collect::<Vec<_>>());
    let placed = namings.into_iter().map(|it| (place_of(&it), it));
    let best = placed.max_by_key(|(place, _)| place.n_found);
    let (place, mut naming) = best.expect("every architecture has a naming of its own");
    let theirs: BTreeMap<String, String> = naming.backbone.drain(..).collect();
    let within = |name: &str| format!("{}{name}", place.prefix);
    let pair = |(plain, name): &(&str, &str)| ((*name).to_owned(), within(&theirs[*plain]));
    naming.backbone = places.iter().map(pair).collect();
    naming.classifier = within(&naming.classifier);
    let (mut differences, mut used) = (Vec::new(), BTreeSet::new());
    for (name, theirs) in &naming.backbone {
        let param = params.get(name).expect("the names are the model's own");
        let want = param.kind.file_dims(param.var.dims());
        match dims.get(theirs) {
            None => differences.push(format!("`{theirs}` is missing")),
            Some(it) if !param.takes(it) => {
                differences.push(format!("`{theirs}` has shape {it:?}, not {want:?}"));
            }
            Some(_) => drop(used.insert(theirs.clone())),
        }
    }
    Compared { naming, place, differences, used }
}

fn fit_classifier(
    spec: &ModelSpec,
    params: &Params,
    tensors: &BTreeMap<String, &Tensor>,
    naming: &Naming,
) -> Result<Classifier, WeightsError> {
    let names = classifier_names(naming);
    let [Some(weight), Some(bias)] = names.each_ref().map(|it| tensors.get(it)) else {
        return Ok(Classifier::Absent);
    };
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
        write!(f, "{} tensors by {}'s names", self.n_loaded, self.library)?;
        if !self.prefix.is_empty() {
            write!(f, " under `{}`", self.prefix)?;
        }
        write!(f, ", none missing")?;
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

    use super::{Classifier, Fit, Format, WeightsFile, read_weights};
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
    fn a_larger_network_is_no_smaller_one() {
        let resnet = |depth| {
            let backbone =
                BackboneConfig::ResNet(ResNet { depth, width: 0.125, ..ResNet::default() });
            let spec = ModelSpec { backbone, head: HeadConfig::default() };
            Model::fresh(&spec, &Task::mask_gender_age(), Seed(0), &Device::Cpu).unwrap()
        };
        let file = published(&resnet(34), "torchvision and timm", 1000);
        let err = resnet(18).fit_weights(&file).unwrap_err().to_string();
        assert!(err.contains("a larger network") && err.contains("layer1.2."), "{err}");
    }

    #[test]
    fn every_branch_starts_from_the_stage_that_it_copies() {
        let (from, file) = (model(Variant::B0, 1), published(&model(Variant::B0, 1), "timm", 1000));
        let head = HeadConfig::Branched(Branched::default());
        let spec = ModelSpec { head, ..spec(Variant::B0) };
        let to = Model::fresh(&spec, &Task::mask_gender_age(), Seed(2), &Device::Cpu).unwrap();
        let fitted = to.fit_weights(&file).unwrap();
        assert_eq!(fitted.left_over, Vec::<String>::new());
        for name in ["blocks.6.0.conv_pwl.weight", "conv_head.weight", "bn2.running_mean"] {
            for branch in ["mask", "gender", "age"] {
                let copy = format!("head.{branch}.branch.{name}");
                assert_eq!(numbers(&from, name), numbers(&to, &copy), "{copy}");
            }
        }
    }

    #[test]
    fn another_variant_is_an_error_that_changes_nothing() {
        let (from, to) = (model(Variant::B1, 1), model(Variant::B3, 2));
        let before = numbers(&to, "conv_stem.weight");
        let err = to.fit_weights(&published(&from, "torchvision", 1000)).unwrap_err().to_string();
        assert!(err.contains("is it another variant?"), "{err}");
        assert_eq!(before, numbers(&to, "conv_stem.weight"));
    }

    /// A file of tensors of these shapes.
    fn file_of(shapes: &BTreeMap<String, Vec<usize>>) -> WeightsFile {
        let tensor =
            |dims: &Vec<usize>| Tensor::zeros(&dims[..], DType::F16, &Device::Cpu).unwrap();
        let tensors = shapes.iter().map(|(name, dims)| (name.clone(), tensor(dims))).collect();
        let (format, place, beside) = (Format::Safetensors, String::new(), Vec::new());
        WeightsFile { format, n_bytes: 0, tensors, place, beside }
    }

    /// The shapes of a published network's tensors, as `library` names them.
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
    fn a_file_is_known_for_what_it_is() {
        for (name, library, names) in [
            ("efficientnet_b0", "torchvision", &["tf_efficientnet_b0", "efficientnet_b0"][..]),
            ("tf_efficientnet_lite0", "timm", &["tf_efficientnet_lite0", "efficientnet_lite0"]),
            ("resnet18", "torchvision and timm", &["resnet18"]),
        ] {
            let file = file_of(&shapes(name, library));
            let best = file.closest().unwrap().remove(0);
            let n_tensors = file.tensors.len() - 2;
            let (differences, left_over) = (vec![], vec![]);
            let (names, n_classes, prefix) = (names.to_vec(), Some(1000), String::new());
            let want = Fit { names, library, prefix, n_tensors, differences, n_classes, left_over };
            assert_eq!(best, want);
        }
    }

    #[test]
    fn what_fits_nothing_is_set_beside_the_closest() {
        let mut shapes = shapes("resnet34", "torchvision and timm");
        shapes.remove("bn1.bias");
        shapes.insert("conv1.weight".to_owned(), vec![64, 1, 7, 7]);
        shapes.insert("extra".to_owned(), vec![1]);
        let best = file_of(&shapes).closest().unwrap().remove(0);
        assert_eq!((best.names, best.left_over), (vec!["resnet34"], vec!["extra".to_owned()]));
        let want =
            ["`bn1.bias` is missing", "`conv1.weight` has shape [64, 1, 7, 7], not [64, 3, 7, 7]"];
        assert_eq!(best.differences, want);
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
        check("text.safetensors", b"hello, I am a text file", "text (`hello, I am a text file`)");
        check("page.pth", b"<!DOCTYPE html>\n<html>", "text (`<!DOCTYPE html>`), no weights");
        check("lfs.pth", b"version https://git-lfs.github.com/spec/v1\n", "`git lfs pull`");
        check("empty.pth", b"", "no whole `.safetensors` or `.pth`");
        let err = read_weights(&dir.path().join("absent.pth")).unwrap_err().to_string();
        assert!(err.contains("No such file"), "{err}");

        let tensor = Tensor::zeros(100, DType::F32, &Device::Cpu).unwrap();
        let whole = safetensors::serialize([("a", &tensor)], None).unwrap();
        check("cut.safetensors", &whole[..whole.len() - 10], "no whole `.safetensors` or `.pth`");
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused_by_name() {
        let model = model(Variant::B0, 0);
        let all = published(&model, "timm", 1000);
        let norm = "bn1.running_var";
        for (name, x, want) in [
            (norm, f32::NAN, "`bn1.running_var` is not finite (NaN or infinite): "),
            ("conv_stem.weight", f32::INFINITY, "`conv_stem.weight` is not finite"),
            (norm, -1.0, "`bn1.running_var` is a variance, and below 0"),
        ] {
            let mut tensors = all.clone();
            let filled = Tensor::full(x, all[name].shape(), &Device::Cpu).unwrap();
            tensors.insert(name.to_owned(), filled);
            let err = model.fit_weights(&tensors).err().unwrap().to_string();
            assert!(err.contains(want), "{err}");
        }
        assert!(model.fit_weights(&all).is_ok());
    }

    #[test]
    fn a_safetensors_file_may_begin_like_a_pickle() {
        // The length of the header, of which a pickle's first bytes are the lowest: 0x80 0x02 0x7d.
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
}
