//! People by stratum: a tree with a level for each factor, and the people at its leaves.
//!
//! Whatever order matters is that of hashes of names and the split's seed, so that nothing depends on who
//! else is there, or on where in the list somebody stands.

use base::Seed;
use rand::{Rng as _, seq::SliceRandom as _};

use super::Candidate;

/// Everybody whose first levels are the same.
#[derive(Debug)]
pub(super) struct Strata {
    /// How many they are.
    pub(super) n: usize,
    /// By the next level, in the order of hashes; none at a leaf.
    pub(super) parts: Vec<Strata>,
    /// At a leaf: who they are, as positions in the list, in the order of [`lot`]s.
    pub(super) people: Vec<usize>,
}

impl Strata {
    /// The people of a list.
    pub(super) fn new(candidates: &[Candidate<'_>], seed: Seed) -> Strata {
        let mut people: Vec<usize> = (0..candidates.len()).collect();
        let lots: Vec<u64> = candidates.iter().map(|it| lot(it.name, seed)).collect();
        people.sort_by_key(|&it| (candidates[it].stratum, lots[it], candidates[it].name));
        Strata::part(candidates, &people, 0, seed)
    }

    /// - `people`: in the order of their strata, the first `depth` levels of which are the same.
    fn part(candidates: &[Candidate<'_>], people: &[usize], depth: usize, seed: Seed) -> Strata {
        let n = people.len();
        let is_leaf = people.first().is_none_or(|&it| candidates[it].stratum.len() == depth);
        if is_leaf {
            return Strata { n, parts: Vec::new(), people: people.to_vec() };
        }
        let level = |it: &usize| candidates[*it].stratum[depth];
        let parts = people.chunk_by(|a, b| level(a) == level(b));
        let mut parts: Vec<(u64, Strata)> = parts
            .map(|people| {
                let levels = &candidates[people[0]].stratum[..=depth];
                let hash = seed.stream(&format!("split/stratum/{levels:?}")).random();
                (hash, Strata::part(candidates, people, depth + 1, seed))
            })
            .collect();
        parts.sort_by_key(|it| it.0);
        Strata { n, parts: parts.into_iter().map(|it| it.1).collect(), people: Vec::new() }
    }
}

/// A person's own random number: those with the lowest are held out first.
pub(super) fn lot(name: &str, seed: Seed) -> u64 {
    seed.stream(&format!("split/{name}")).random()
}

/// The folds in the order that a person would be in them.
pub(super) fn wishes(name: &str, n_folds: usize, seed: Seed) -> Vec<usize> {
    let mut folds: Vec<usize> = (0..n_folds).collect();
    folds.shuffle(&mut seed.stream(&format!("split/fold/{name}")));
    folds
}
