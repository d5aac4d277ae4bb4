//! Tensor names without what wrapper modules add to them.
//!
//! There are two kinds of wrappers.
//! - Transparent ones (`torch.nn.DataParallel`, `torch.compile`, FSDP, checkpointing) add a component
//!   anywhere in a name: `layer1.module.0.conv1.weight`. It is removed.
//! - A module that contains the network (Lightning's `model`, a `net`, a `backbone`) adds a prefix to each
//!   name. The prefix is found from the network's own names: it is the one under which most of them
//!   are.

use std::collections::{BTreeMap, HashMap, HashSet};

/// The components that transparent wrappers add.
const WRAPPERS: [&str; 4] =
    ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// Attribute names of the network in a module that contains two, the preferred first: the trained network,
/// not its average.
const PATHS: [&str; 5] = ["model", "net", "network", "backbone", "encoder"];

/// Maps names without wrappers to the values. If two names would become the same, all names stay unchanged.
pub(super) fn unwrapped<'a, T>(
    all: impl Iterator<Item = (&'a str, T)> + Clone,
) -> BTreeMap<String, T> {
    let plain = |name: &str| {
        let components = name.split('.').filter(|it| !WRAPPERS.contains(it));
        components.collect::<Vec<_>>().join(".")
    };
    let mut seen = HashSet::new();
    let are_different = all.clone().all(|(name, _)| seen.insert(plain(name)));
    all.map(|(name, it)| (if are_different { plain(name) } else { name.to_owned() }, it)).collect()
}

/// Where in a file a network is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The prefix of each name: empty, or a path that ends in a dot.
    pub(super) prefix: String,
    /// How many of the network's names have this prefix.
    pub(super) n_found: usize,
    /// Other prefixes with as many names and the same preference.
    pub(super) others: Vec<String>,
}

impl Place {
    /// Finds the prefix under which most of the network's names are.
    ///
    /// - `wanted`: the network's names.
    pub(super) fn find<'a>(names: impl Iterator<Item = &'a str>, wanted: &HashSet<&str>) -> Place {
        let mut found: HashMap<&str, usize> = HashMap::new();
        for name in names {
            let starts = name.match_indices('.').map(|(at, _)| at + 1);
            for start in std::iter::once(0).chain(starts) {
                if wanted.contains(&name[start..]) {
                    *found.entry(&name[..start]).or_default() += 1;
                }
            }
        }
        let n_found = found.values().copied().max().unwrap_or(0);
        let mut best: Vec<&str> =
            found.into_iter().filter(|it| it.1 == n_found).map(|it| it.0).collect();
        best.sort_by_key(|it| (rank(it), *it));
        let Some(&first) = best.first() else {
            return Place { prefix: String::new(), n_found, others: Vec::new() };
        };
        let others = best[1..].iter().filter(|it| rank(it) == rank(first));
        let others = others.map(|&it| it.to_owned()).collect();
        Place { prefix: first.to_owned(), n_found, others }
    }
}

/// The preference of a prefix, smaller is better: none, then one of known names, then any other.
fn rank(prefix: &str) -> (usize, usize) {
    let position = |it: &str| PATHS.iter().position(|known| *known == it).unwrap_or(PATHS.len());
    let components: Vec<usize> = prefix.split_terminator('.').map(position).collect();
    (components.iter().copied().max().map_or(0, |it| it + 1), components.len())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Place, unwrapped};

    #[test]
    fn wrapper_components_are_removed_anywhere_in_a_name() {
        let plain = |names: &[&str]| {
            let all = unwrapped(names.iter().map(|it| (*it, ())));
            all.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(
            plain(&["_orig_mod.module.a.b", "module._orig_mod.c", "features.module.0.weight"]),
            ["a.b", "c", "features.0.weight"]
        );
        assert_eq!(plain(&["a.module.b", "a.b"]), ["a.b", "a.module.b"]);
    }

    #[test]
    fn network_prefix_is_the_one_with_most_of_its_names() {
        let place = |names: &[&str]| {
            let wanted = HashSet::from(["conv1.weight", "bn1.bias", "layer1.0.conv1.weight"]);
            let it = Place::find(names.iter().copied(), &wanted);
            (it.prefix, it.n_found, it.others)
        };
        let net = ["conv1.weight", "bn1.bias", "layer1.0.conv1.weight"];
        let under = |prefix: &str| net.map(|it| format!("{prefix}{it}")).to_vec();
        let found = |names: &[Vec<String>]| {
            let names: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
            place(&names)
        };
        let alone = |prefix: &str| (prefix.to_owned(), 3, vec![]);
        assert_eq!(found(&[under("")]), alone(""));
        assert_eq!(
            found(&[under("model.net."), vec!["loss.weight".to_owned()]]),
            alone("model.net.")
        );
        assert_eq!(found(&[under("ema.model."), under("model.")]), alone("model."));
        assert_eq!(found(&[under("a."), under("")]), alone(""));
        let two = ("left.".to_owned(), 3, vec!["right.".to_owned()]);
        assert_eq!(found(&[under("right."), under("left.")]), two);
        assert_eq!(place(&["x"]), (String::new(), 0, vec![]));
    }
}
