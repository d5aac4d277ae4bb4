//! Duplicate images: the same file, the same pixels, or a near-duplicate of another group's image.
//!
//! An image is linked to one other: to the first with the same file, else to the first with the same
//! pixels, else to the nearest of another group by [`DifferenceHash`], if that is within [`NEAR`] bits.
//! So there are never more links than images. Images of one group are similar by nature, and are
//! compared by file and pixels only; so are images of one colour.
//!
//! Near hashes are found without comparing all pairs: hashes that differ in fewer bits than there are bands
//! agree in at least one band, so only images that share a band are compared. For each band, the hashes are
//! sorted with that band first, then those after it, and each is compared with at most [`n_neighbours`]
//! before it and after it. So the time is O(n log n) for any images. If no more images than that agree in a
//! band, all of them are compared. An image that agrees with more is *crowded*: it is certain to find
//! images within [`NEAR`] bits less one for each of its crowded bands; others are found by chance, which
//! the order favours. The number of crowded images is reported.
//!
//! Source: M. Norouzi, A. Punjani and D. J. Fleet, "Fast Search in Hamming Space with Multi-Index
//! Hashing", CVPR 2012; here with whole bands only.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use rayon::prelude::*;
use serde::Serialize;

use super::{difference_hash::DifferenceHash, summary::ImageSummary};

/// The maximum Hamming distance of near-duplicates, of 256 bits. All of them are found, because it is less
/// than the number of bands.
pub const NEAR: u32 = DifferenceHash::N_BANDS as u32 - 1;

/// The kind of similarity of two images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// The files are identical.
    SameBytes,
    /// The files differ, the pixels are identical.
    SamePixels,
    /// The difference hashes are within [`NEAR`] bits.
    Near,
}

/// A pair of duplicate or near-duplicate images.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NearDuplicate {
    /// The kind of similarity.
    pub likeness: Similarity,
    /// The Hamming distance of their difference hashes, of 256 bits.
    pub distance: u32,
    /// Positions in [`Manifest::examples`](crate::Manifest::examples), increasing.
    pub images: [usize; 2],
}

/// All duplicates found, and the limit of the search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NearDuplicates {
    /// The pairs, most certain first.
    pub near_duplicates: Vec<NearDuplicate>,
    /// The number of images similar to so many others that they were not compared with all of them.
    pub n_crowded: usize,
}

/// Finds all pairs.
///
/// - `images`: the images with their positions, increasing.
/// - `group`: returns the group of the image at a position.
pub(super) fn find(
    images: &[(usize, ImageSummary)],
    group: &dyn Fn(usize) -> usize,
) -> NearDuplicates {
    let mut near_duplicates = Vec::new();
    let (mut by_bytes, mut by_pixels) = (HashMap::new(), HashMap::new());
    let mut distinct = Vec::new();
    for &(idx, ref summary) in images {
        let (likeness, first) = match by_bytes.entry(summary.bytes) {
            Entry::Occupied(first) => (Similarity::SameBytes, *first.get()),
            Entry::Vacant(it) => {
                it.insert(idx);
                match by_pixels.entry(summary.pixels) {
                    Entry::Occupied(first) => (Similarity::SamePixels, *first.get()),
                    Entry::Vacant(it) => {
                        it.insert(idx);
                        distinct.push((idx, summary.hash));
                        continue;
                    }
                }
            }
        };
        near_duplicates.push(NearDuplicate { likeness, distance: 0, images: [first, idx] });
    }
    let near = near(&distinct, group);
    near_duplicates.extend(near.near_duplicates);
    near_duplicates.sort();
    NearDuplicates { near_duplicates, n_crowded: near.n_crowded }
}

/// Finds near-duplicates by difference hashes only, without files and pixels; for benchmarks.
///
/// - `hashes`: 256 bits each.
/// - `groups`: the group of each image.
pub fn link_hashes(hashes: &[[u64; 4]], groups: &[usize]) -> NearDuplicates {
    let hashes = hashes.iter().map(|&it| DifferenceHash::from_bits(it)).enumerate();
    near(&hashes.collect::<Vec<_>>(), &|idx| groups[idx])
}

/// Finds the nearest image of another group within [`NEAR`] for each image that is not plain.
fn near(hashes: &[(usize, DifferenceHash)], group: &dyn Fn(usize) -> usize) -> NearDuplicates {
    let mut near_duplicates = BTreeSet::new();
    let mut first = HashMap::with_capacity(hashes.len());
    let mut distinct = Vec::new();
    for &(idx, hash) in hashes.iter().filter(|it| !it.1.is_plain()) {
        match first.entry(hash) {
            Entry::Occupied(first) => {
                let first = *first.get();
                if group(first) != group(idx) {
                    let (likeness, distance) = (Similarity::Near, 0);
                    near_duplicates.insert(NearDuplicate {
                        likeness,
                        distance,
                        images: [first, idx],
                    });
                }
            }
            Entry::Vacant(it) => {
                it.insert(idx);
                distinct.push((idx, hash));
            }
        }
    }
    let groups: Vec<usize> = distinct.iter().map(|it| group(it.0)).collect();
    let hashes: Vec<DifferenceHash> = distinct.iter().map(|it| it.1).collect();
    let Nearest { nearest, n_crowded } = nearest(&hashes, &groups, n_neighbours(hashes.len()));
    let pair = |(from, it): (usize, Option<(u32, usize)>)| {
        let (distance, to) = it?;
        let images = [from.min(to), from.max(to)].map(|it| distinct[it].0);
        Some(NearDuplicate { likeness: Similarity::Near, distance, images })
    };
    near_duplicates.extend(nearest.into_iter().enumerate().filter_map(pair));
    NearDuplicates { near_duplicates: near_duplicates.into_iter().collect(), n_crowded }
}

/// The approximate maximum number of pairs compared: a few seconds of work.
const MOST_PAIRS: usize = 1 << 30;

/// Returns the number of hashes before and after it, in the order of a band, that a hash is compared with:
/// all that agree in the band for few images, and at least 64 for any number of images.
fn n_neighbours(n_hashes: usize) -> usize {
    (MOST_PAIRS / DifferenceHash::N_BANDS / n_hashes.max(1)).max(64)
}

struct Nearest {
    /// For each hash, the minimum distance to one of another group, and its position: the first among equal
    /// distances.
    nearest: Vec<Option<(u32, usize)>>,
    n_crowded: usize,
}

/// Finds the nearest hash of another group for each hash.
///
/// - `hashes`: distinct hashes.
/// - `groups`: the group of each image.
fn nearest(hashes: &[DifferenceHash], groups: &[usize], n_neighbours: usize) -> Nearest {
    let mut nearest: Vec<Option<(u32, usize)>> = vec![None; hashes.len()];
    let mut is_crowded = vec![false; hashes.len()];
    for band in 0..DifferenceHash::N_BANDS {
        let mut order: Vec<(DifferenceHash, usize)> =
            hashes.par_iter().enumerate().map(|(at, it)| (it.band_first(band), at)).collect();
        order.par_sort_unstable();
        for group in order.chunk_by(|a, b| a.0.first_band() == b.0.first_band()) {
            if group.len() > n_neighbours + 1 {
                group.iter().for_each(|it| is_crowded[it.1] = true);
            }
        }
        let closest = |at: usize| -> Option<(u32, usize)> {
            let (hash, own) = order[at];
            let agrees = |it: &&(DifferenceHash, usize)| it.0.first_band() == hash.first_band();
            let before = order[..at].iter().rev().take(n_neighbours).take_while(agrees);
            let after = order[at + 1..].iter().take(n_neighbours).take_while(agrees);
            let mut best = None;
            ops::vectorised(
                #[inline(always)]
                || {
                    for &(other, to) in before.chain(after) {
                        let distance = hash.distance(other);
                        let is_better = || best.is_none_or(|it| (distance, to) < it);
                        if distance <= NEAR && is_better() && groups[to] != groups[own] {
                            best = Some((distance, to));
                        }
                    }
                },
            );
            best
        };
        let found: Vec<Option<(u32, usize)>> =
            (0..order.len()).into_par_iter().map(closest).collect();
        for (&(_, own), found) in order.iter().zip(found) {
            let better = |it: &(u32, usize)| nearest[own].is_none_or(|before| *it < before);
            if let Some(it) = found.filter(better) {
                nearest[own] = Some(it);
            }
        }
    }
    Nearest { nearest, n_crowded: is_crowded.into_iter().filter(|&it| it).count() }
}

#[cfg(test)]
mod tests {
    use base::Seed;
    use rand::Rng as _;

    use super::{DifferenceHash, NEAR, NearDuplicates, link_hashes, near, nearest};

    /// `hash` with `n` of its bits flipped, spread over all bands.
    fn flipped(hash: [u64; 4], n: usize) -> [u64; 4] {
        let mut bits = hash;
        (0..n).for_each(|k| bits[k * 17 % 256 / 64] ^= 1 << (k * 17 % 64));
        bits
    }

    /// `hash` with up to `n` random bits flipped.
    fn near_to(hash: [u64; 4], n: usize, rng: &mut base::Rng) -> [u64; 4] {
        let mut bits = hash;
        for _ in 0..rng.random_range(0..=n) {
            bits[rng.random_range(0..4)] ^= 1 << rng.random_range(0..64);
        }
        bits
    }

    #[test]
    fn all_within_the_maximum_distance_are_found_and_no_others() {
        let base = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, 0x0f1e_2d3c_4b5a_6978, 7];
        for n in 0..30 {
            let hashes = [base, flipped(base, n)].map(DifferenceHash::from_bits);
            assert_eq!(hashes[0].distance(hashes[1]), n as u32);
            let hashes = [(3, hashes[0]), (9, hashes[1])];
            let found = near(&hashes, &|idx| idx).near_duplicates;
            assert_eq!(found.len(), usize::from(n as u32 <= NEAR), "{n} bits");
            assert!(found.iter().all(|it| it.images == [3, 9] && it.distance == n as u32));
            let of_one = near(&hashes, &|_| 0).near_duplicates;
            assert!(of_one.is_empty(), "images of one group are not compared");
        }
    }

    #[test]
    fn the_nearest_image_is_linked() {
        let hashes = [0, 3, 1].map(|n| DifferenceHash::from_bits(flipped([5; 4], n)));
        let hashes: Vec<_> = hashes.into_iter().enumerate().collect();
        let found = near(&hashes, &|idx| idx).near_duplicates;
        let found: Vec<_> = found.into_iter().map(|it| it.images).collect();
        // 0 and 2 differ in 1 bit; 1 differs from 2 in 2 bits, and from 0 in 3.
        assert_eq!(found, [[0, 2], [1, 2]]);
    }

    #[test]
    fn results_match_brute_force() {
        let rng = &mut Seed(0).stream("hashes");
        let bases: Vec<[u64; 4]> = (0..40).map(|_| rng.random()).collect();
        let mut hashes: Vec<[u64; 4]> =
            (0..800).map(|it| near_to(bases[it % 40], 24, rng)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        let hashes: Vec<_> = hashes.into_iter().map(DifferenceHash::from_bits).collect();
        let groups: Vec<usize> = (0..hashes.len()).map(|it| it % 97).collect();
        let of = |from: usize| {
            let others = (0..hashes.len()).filter(|&to| groups[to] != groups[from]);
            let found = others.map(|to| (hashes[from].distance(hashes[to]), to)).min();
            found.filter(|it| it.0 <= NEAR)
        };
        let want: Vec<_> = (0..hashes.len()).map(of).collect();
        let found = nearest(&hashes, &groups, hashes.len());
        assert!(found.nearest == want && found.n_crowded == 0);
        assert!(
            want.iter().flatten().count() > 400,
            "too few near-duplicates for a meaningful test"
        );
        // With few neighbours fewer are found, and `n_crowded` reports it.
        let few = nearest(&hashes, &groups, 4);
        assert!(few.n_crowded > 400, "{}", few.n_crowded);
        for (found, want) in few.nearest.iter().zip(&want).filter(|it| it.0.is_some()) {
            assert!(found.unwrap() >= want.unwrap());
        }
    }

    #[test]
    fn many_similar_images_take_no_longer_than_others() {
        // Comparing all images that share a band takes hours: nearly all share nearly all bands.
        const N: usize = 100_000;
        let rng = &mut Seed(0).stream("hashes");
        let base: [u64; 4] = rng.random();
        let similar: Vec<[u64; 4]> = (0..N).map(|_| near_to(base, 7, rng)).collect();
        let groups: Vec<usize> = (0..N).collect();
        let found = link_hashes(&similar, &groups);
        let linked: std::collections::BTreeSet<usize> =
            found.near_duplicates.iter().flat_map(|it| it.images).collect();
        assert_eq!(linked.len(), N, "each is within 14 bits of any other");
        assert!(found.n_crowded > N / 2 && found.near_duplicates.len() <= N, "{}", found.n_crowded);

        let same = link_hashes(&vec![base; N], &groups);
        assert_eq!((same.near_duplicates.len(), same.n_crowded), (N - 1, 0));
        assert_eq!(link_hashes(&vec![[0; 4]; N], &groups), NearDuplicates::default(), "plain ones");
    }
}
