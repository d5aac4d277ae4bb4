//! Groups by stratum: a tree with a level for each factor, and the groups at its leaves.
//!
//! All orders that matter are those of hashes of names and the split's seed, so that nothing depends on
//! other groups, or on positions in the list.

use base::Seed;
use rand::{Rng as _, seq::SliceRandom as _};

use super::Candidate;

/// The groups whose first levels are the same.
#[derive(Debug)]
pub(super) struct Strata {
    /// The number of groups.
    pub(super) n: usize,
    /// The parts by the next level, in the order of hashes; empty at a leaf.
    pub(super) parts: Vec<Strata>,
    /// At a leaf: the groups, as positions in the list, in the order of [`lot`]s.
    pub(super) groups: Vec<usize>,
}

impl Strata {
    /// Builds the tree of all candidates.
    pub(super) fn new(candidates: &[Candidate<'_>], seed: Seed) -> Strata {
        let mut groups: Vec<usize> = (0..candidates.len()).collect();
        let lots: Vec<u64> = candidates.iter().map(|it| lot(it.name, seed)).collect();
        groups.sort_by_key(|&it| (candidates[it].stratum, lots[it], candidates[it].name));
        Strata::part(candidates, &groups, 0, seed)
    }

    /// Builds the tree of a part of the candidates.
    ///
    /// - `groups`: sorted by stratum; their first `depth` levels are the same.
    fn part(candidates: &[Candidate<'_>], groups: &[usize], depth: usize, seed: Seed) -> Strata {
        let n = groups.len();
        let is_leaf = groups.first().is_none_or(|&it| candidates[it].stratum.len() == depth);
        if is_leaf {
            return Strata { n, parts: Vec::new(), groups: groups.to_vec() };
        }
        let level = |it: &usize| candidates[*it].stratum[depth];
        let parts = groups.chunk_by(|a, b| level(a) == level(b));
        let mut parts: Vec<(u64, Strata)> = parts
            .map(|groups| {
                let levels = &candidates[groups[0]].stratum[..=depth];
                let hash = seed.stream(&format!("split/stratum/{levels:?}")).random();
                (hash, Strata::part(candidates, groups, depth + 1, seed))
            })
            .collect();
        parts.sort_by_key(|it| it.0);
        Strata { n, parts: parts.into_iter().map(|it| it.1).collect(), groups: Vec::new() }
    }
}

/// Returns a group's random number: groups with the lowest numbers are held out first.
pub(super) fn lot(name: &str, seed: Seed) -> u64 {
    seed.stream(&format!("split/{name}")).random()
}

/// Returns the folds in a group's random order of preference.
pub(super) fn preferences(name: &str, n_folds: usize, seed: Seed) -> Vec<usize> {
    let mut folds: Vec<usize> = (0..n_folds).collect();
    folds.shuffle(&mut seed.stream(&format!("split/fold/{name}")));
    folds
}
