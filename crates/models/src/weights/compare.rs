//! Compares a file's tensors with a backbone's: the naming, the prefix, and the differences.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::names::Place;
use crate::{BackboneConfig, Naming, Params};

/// Returns a parameter's name in the backbone; for a branched head's copy, the name of the original.
fn in_backbone(name: &str) -> Option<&str> {
    match name.strip_prefix("head.") {
        None => Some(name),
        Some(rest) => rest.split_once(".branch.").map(|it| it.1),
    }
}

/// A file's tensors compared with a backbone's.
pub(super) struct Compared {
    /// The naming that fits best, with the names as they are in the file.
    pub(super) naming: Naming,
    /// Where in the file the network is.
    pub(super) place: Place,
    /// Missing tensors and shape mismatches.
    pub(super) differences: Vec<String>,
    /// The names in the file of the tensors that fit.
    pub(super) used: BTreeSet<String>,
}

/// Compares a file with a backbone, in the naming that fits best.
///
/// - `params`: the parameters of `backbone`, and possibly of a head.
/// - `dims`: the shapes of the file's tensors, by their names without wrappers.
pub(super) fn compare(
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

/// Removes the network's prefix from a tensor name of the file, if it has it.
pub(super) fn bare(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

/// The names of the classifier's weight and bias.
pub(super) fn classifier_names(naming: &Naming) -> [String; 2] {
    ["weight", "bias"].map(|it| format!("{}.{it}", naming.classifier))
}
