//! Loads published weights into a network.

use std::collections::{BTreeMap, BTreeSet};

use candle::Tensor;

use super::{
    compare::{Compared, bare, classifier_names, compare},
    error::{WeightsError, first_few},
    names::unwrapped,
    numbers::check_numbers,
};
use crate::{BackboneConfig, HeadConfig, Naming, Params};

/// The result of loading published weights.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedWeights {
    /// The library whose tensor names the file uses.
    pub library: &'static str,
    /// The prefix of these names, which ends in a dot; empty for none.
    pub prefix: String,
    /// The number of backbone tensors loaded: all of them.
    pub n_loaded: usize,
    /// Whether the classifier was loaded.
    pub classifier: Classifier,
    /// Unexpected tensors: neither the backbone's nor the classifier's.
    pub unexpected: Vec<String>,
}

/// Whether a file's classifier was loaded, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classifier {
    /// It has the model's number of classes and was loaded.
    Taken,
    /// It has a different number of classes: the model's is newly initialised.
    Replaced {
        /// The number of classes of the file's classifier.
        theirs: usize,
        /// The number of classes of the model's classifier.
        ours: usize,
    },
    /// The head's outputs are not those of one joint classifier: the head is newly initialised.
    OtherHead,
    /// The file has no classifier: the model's is newly initialised.
    Absent,
}

/// Loads the backbone's weights, and the classifier's if it fits.
///
/// # Errors
/// Weights that do not fit or are not finite; then the parameters are unchanged.
pub(crate) fn load(
    backbone: &BackboneConfig,
    head: &HeadConfig,
    params: &Params,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<LoadedWeights, WeightsError> {
    let tensors = unwrapped(tensors.iter().map(|(name, it)| (name.as_str(), it)));
    let dims = tensors.iter().map(|(name, it)| (name.clone(), it.dims())).collect();
    let Compared { naming, place, differences, used } = compare(backbone, params, &dims);
    if !differences.is_empty() {
        return Err(WeightsError::DoNotFit(format!(
            "the weights do not fit `{}`: {} of {} tensors differ ({} names, the closest): \
             is it another variant? `weights inspect` reports which network they fit{}",
            backbone.kind(),
            differences.len(),
            naming.backbone.len(),
            naming.library,
            first_few(&differences),
        )));
    }
    if !place.others.is_empty() {
        let places = std::iter::once(&place.prefix).chain(&place.others);
        let places: Vec<String> = places.map(|it| format!("`{it}`")).collect();
        return Err(WeightsError::DoNotFit(format!(
            "the file contains `{}` more than once (under {}), so the weights are ambiguous: save the \
             `state_dict()` of only one of them",
            backbone.kind(),
            places.join(" and "),
        )));
    }
    let classifier_names = classifier_names(&naming);
    let is_unexpected = |it: &&String| !used.contains(*it) && !classifier_names.contains(it);
    let unexpected: Vec<&String> = tensors.keys().filter(is_unexpected).collect();
    // A few unexpected tensors may be a wrapper's, and those under another prefix are not the network's;
    // many under the network's own prefix are those of a larger network.
    let within = unexpected.iter().filter(|it| it.starts_with(&place.prefix));
    let within: Vec<String> = within.map(|it| bare(it, &place.prefix)).collect();
    if within.len() > naming.backbone.len() / 20 {
        return Err(WeightsError::DoNotFit(format!(
            "the weights are of a larger network than `{}`: {} tensors of the file are unexpected: is it \
             another variant? `weights inspect` reports which network they fit{}",
            backbone.kind(),
            within.len(),
            first_few(&within),
        )));
    }
    let unexpected = unexpected.into_iter().map(|it| bare(it, &place.prefix)).collect();
    let expected = naming.backbone.iter().map(|(_, theirs)| theirs).chain(&classifier_names);
    let expected: BTreeSet<&String> = expected.collect();
    let loaded = expected.into_iter().filter_map(|it| Some((it.as_str(), *tensors.get(it)?)));
    check_numbers(loaded)?;
    for (name, theirs) in &naming.backbone {
        let param = params.get(name).expect("the names are the model's own");
        param.set_from_file(tensors[theirs])?;
    }
    let classifier = fit_classifier(head, params, &tensors, &naming)?;
    let (library, n_loaded) = (naming.library, naming.backbone.len());
    Ok(LoadedWeights { library, prefix: place.prefix, n_loaded, classifier, unexpected })
}

fn fit_classifier(
    head: &HeadConfig,
    params: &Params,
    tensors: &BTreeMap<String, &Tensor>,
    naming: &Naming,
) -> Result<Classifier, WeightsError> {
    let names = classifier_names(naming);
    let [Some(weight), Some(bias)] = names.each_ref().map(|it| tensors.get(it)) else {
        return Ok(Classifier::Absent);
    };
    let Some(layer) = head.get().classifier() else { return Ok(Classifier::OtherHead) };
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

impl std::fmt::Display for LoadedWeights {
    /// A summary in one line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tensors with {} names", self.n_loaded, self.library)?;
        if !self.prefix.is_empty() {
            write!(f, " under `{}`", self.prefix)?;
        }
        write!(f, ", none missing")?;
        match self.classifier {
            Classifier::Taken => write!(f, "; the classifier is loaded as well"),
            Classifier::Replaced { theirs, ours } => {
                write!(
                    f,
                    "; the classifier of {theirs} classes is replaced by a newly initialised one of {ours}"
                )
            }
            Classifier::OtherHead => {
                write!(f, "; its classifier is replaced by a newly initialised head")
            }
            Classifier::Absent => {
                write!(f, "; the file has no classifier, so the head is newly initialised")
            }
        }?;
        match self.unexpected.as_slice() {
            [] => Ok(()),
            names => write!(f, "; unexpected: {}", names.join(", ")),
        }
    }
}
