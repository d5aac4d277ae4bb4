//! Published weights: detects which library's tensor names a file uses, and loads the weights.
//!
//! The library is recognised by the tensor names alone.

mod compare;
mod continued;
mod error;
mod file;
mod load;
mod names;
mod numbers;

use std::collections::BTreeMap;

use self::{
    compare::{Compared, bare, classifier_names, compare},
    names::unwrapped,
};
pub use self::{
    continued::{Continued, ContinuedOutput},
    error::{WeightsError, first_few},
    file::{Format, WeightsFile, read_weights},
    load::{Classifier, LoadedWeights},
};
pub(crate) use self::{
    continued::{Side, load as load_continued},
    load::load,
    numbers::check_numbers,
};
use crate::{BackboneConfig, Published, published, published::blank};

impl WeightsFile {
    /// Returns the published networks by how well the tensors fit them, the best first.
    ///
    /// Networks that differ only in what a file does not contain (for example padding) share one entry.
    ///
    /// # Errors
    /// A tensor operation that fails.
    pub fn closest(&self) -> Result<Vec<NetworkMatch>, WeightsError> {
        let weights: Vec<_> = self.weights().map(|(name, it)| (name, it.dims())).collect();
        let dims = unwrapped(weights.into_iter());
        let mut fits: Vec<NetworkMatch> = Vec::new();
        for it in published() {
            let fit = NetworkMatch::of(&it, &dims)?;
            let is_same = |other: &&mut NetworkMatch| {
                NetworkMatch { names: other.names.clone(), ..fit.clone() } == **other
            };
            match fits.iter_mut().find(is_same) {
                Some(same) => same.names.extend(fit.names),
                None => fits.push(fit),
            }
        }
        // By the fraction of tensors that differ: a small network has few that can be missing.
        let rank =
            |it: &NetworkMatch| (it.differences.len() * 10_000 / it.n_tensors, it.unexpected.len());
        fits.sort_by_key(rank);
        Ok(fits)
    }

    /// Returns the library whose tensor names the file uses, if it contains all tensors of the backbone.
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
pub struct NetworkMatch {
    /// timm's names of the networks with this fit.
    pub names: Vec<&'static str>,
    /// The library whose tensor names fit best.
    pub library: &'static str,
    /// The prefix of these names, which ends in a dot; empty for none.
    pub prefix: String,
    /// The number of the backbone's tensors.
    pub n_tensors: usize,
    /// Missing tensors and shape mismatches; empty if the weights fit.
    pub differences: Vec<String>,
    /// The number of classes of the file's classifier, if it has one.
    pub n_classes: Option<usize>,
    /// Unexpected tensors: neither the backbone's nor the classifier's.
    pub unexpected: Vec<String>,
}

impl NetworkMatch {
    /// - `dims`: the shape of each tensor of the file.
    fn of(it: &Published, dims: &BTreeMap<String, &[usize]>) -> Result<NetworkMatch, WeightsError> {
        let (params, _) = it.params()?;
        let Compared { naming, place, differences, mut used } =
            compare(&it.backbone, &params, dims);
        let n_tensors = naming.backbone.len();
        let [weight, bias] = classifier_names(&naming);
        let n_classes = dims.get(&weight).and_then(|it| it.first()).copied();
        used.extend([weight, bias]);
        // A shape mismatch is a difference, not an unexpected tensor.
        used.extend(naming.backbone.into_iter().map(|it| it.1));
        let unexpected = dims.keys().filter(|&it| !used.contains(it));
        Ok(NetworkMatch {
            names: vec![it.name],
            library: naming.library,
            unexpected: unexpected.map(|it| bare(it, &place.prefix)).collect(),
            prefix: place.prefix,
            n_tensors,
            differences,
            n_classes,
        })
    }
}

#[cfg(test)]
mod tests;
