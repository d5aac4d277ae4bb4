//! Taking published weights over into a network.

use std::collections::{BTreeMap, BTreeSet};

use candle::Tensor;

use super::{
    compare::{Compared, bare, classifier_names, compare},
    error::{WeightsError, first_few},
    names::unwrapped,
    numbers::check_numbers,
};
use crate::{BackboneConfig, HeadConfig, Naming, Params};

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

/// Takes over the backbone's weights, and the classifier's where it fits.
pub(crate) fn fit(
    backbone: &BackboneConfig,
    head: &HeadConfig,
    params: &Params,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<Fitted, WeightsError> {
    let tensors = unwrapped(tensors.iter().map(|(name, it)| (name.as_str(), it)));
    let dims = tensors.iter().map(|(name, it)| (name.clone(), it.dims())).collect();
    let Compared { naming, place, differences, used } = compare(backbone, params, &dims);
    if !differences.is_empty() {
        return Err(WeightsError::DoNotFit(format!(
            "the weights do not fit `{}`: {} of {} tensors differ ({} names, the closest): \
             is it another variant? `weights inspect` says what they fit{}",
            backbone.kind(),
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
            backbone.kind(),
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
            backbone.kind(),
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
    let classifier = fit_classifier(head, params, &tensors, &naming)?;
    let (library, n_loaded) = (naming.library, naming.backbone.len());
    Ok(Fitted { library, prefix: place.prefix, n_loaded, classifier, left_over })
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
