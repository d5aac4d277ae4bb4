//! Published weights: finding out whose names a file uses, and taking them over.
//!
//! The library that wrote the names is recognised by the names themselves.

mod compare;
mod error;
mod file;
mod fit;
mod names;
mod numbers;

use std::collections::BTreeMap;

use self::{
    compare::{Compared, bare, classifier_names, compare},
    names::unwrapped,
};
pub use self::{
    error::{WeightsError, first_few},
    file::{Format, WeightsFile, read_weights},
    fit::{Classifier, Fitted},
};
pub(crate) use self::{fit::fit, numbers::check_numbers};
use crate::{BackboneConfig, Published, published, published::blank};

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

#[cfg(test)]
mod tests;
