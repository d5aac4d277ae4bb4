//! Pictures that are there twice: the same file, the same pixels, or nearly the same picture of another
//! person.
//!
//! A picture is linked to one other: to the first with the same file, else to the first with the same
//! pixels, else to the nearest of another person by [`DifferenceHash`], if that is within [`NEAR`] bits.
//! So there are never more links than pictures. Pictures of one person look alike by nature, and are
//! compared by file and pixels only; so are plain ones.
//!
//! Near hashes are found without comparing all: those that differ in fewer bits than there are bands
//! agree in a band, so only pictures that share one are compared.
//!
//! Source: M. Norouzi, A. Punjani and D. J. Fleet, "Fast Search in Hamming Space with Multi-Index
//! Hashing", CVPR 2012; here with whole bands only.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use serde::Serialize;

use super::{difference_hash::DifferenceHash, glance::Glance};

/// Pictures of different people that differ in no more than so many of 256 bits look the same. All such
/// are found, since they are fewer than the bands.
pub const NEAR: u32 = DifferenceHash::N_BANDS as u32 - 1;

/// How alike two pictures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Likeness {
    /// The files are the same.
    SameBytes,
    /// The files differ, the pixels do not.
    SamePixels,
    /// They look the same.
    Near,
}

/// Two pictures that are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Twin {
    /// How alike.
    pub likeness: Likeness,
    /// In how many of 256 bits they look different.
    pub distance: u32,
    /// Positions in [`Manifest::examples`](crate::Manifest::examples), rising.
    pub pictures: [usize; 2],
}

/// All links, the surest first.
///
/// - `seen`: the pictures by position, rising.
/// - `person`: whose picture is at a position.
pub(super) fn find(seen: &[(usize, Glance)], person: &dyn Fn(usize) -> usize) -> Vec<Twin> {
    let mut twins = Vec::new();
    let (mut by_bytes, mut by_pixels, mut by_hash) =
        (HashMap::new(), HashMap::new(), HashMap::new());
    let mut distinct = Vec::new();
    for &(idx, ref glance) in seen {
        let (likeness, first) = match by_bytes.entry(glance.bytes) {
            Entry::Occupied(first) => (Likeness::SameBytes, *first.get()),
            Entry::Vacant(it) => {
                it.insert(idx);
                match by_pixels.entry(glance.pixels) {
                    Entry::Occupied(first) => (Likeness::SamePixels, *first.get()),
                    Entry::Vacant(it) => {
                        it.insert(idx);
                        if glance.hash.is_plain() {
                            continue;
                        }
                        match by_hash.entry(glance.hash) {
                            Entry::Occupied(first) if person(*first.get()) == person(idx) => {
                                continue;
                            }
                            Entry::Occupied(first) => (Likeness::Near, *first.get()),
                            Entry::Vacant(it) => {
                                it.insert(idx);
                                distinct.push((idx, glance.hash));
                                continue;
                            }
                        }
                    }
                }
            }
        };
        twins.push(Twin { likeness, distance: 0, pictures: [first, idx] });
    }
    twins.extend(near(&distinct, person));
    twins.sort();
    twins
}

/// The nearest picture of another person for each picture, where there is one within [`NEAR`].
fn near(hashes: &[(usize, DifferenceHash)], person: &dyn Fn(usize) -> usize) -> BTreeSet<Twin> {
    // By position in `hashes`: the least distance so far, and to whom.
    let mut nearest: Vec<Option<(u32, usize)>> = vec![None; hashes.len()];
    let mut note = |from: usize, distance: u32, to: usize| {
        if nearest[from].is_none_or(|it| (distance, to) < it) {
            nearest[from] = Some((distance, to));
        }
    };
    for band in 0..DifferenceHash::N_BANDS {
        let mut order: Vec<(u16, usize)> =
            hashes.iter().enumerate().map(|(at, (_, hash))| (hash.band(band), at)).collect();
        order.sort_unstable();
        for alike in order.chunk_by(|a, b| a.0 == b.0) {
            for (k, &(_, a)) in alike.iter().enumerate() {
                for &(_, b) in &alike[k + 1..] {
                    let distance = hashes[a].1.distance(hashes[b].1);
                    if distance <= NEAR && person(hashes[a].0) != person(hashes[b].0) {
                        note(a, distance, b);
                        note(b, distance, a);
                    }
                }
            }
        }
    }
    let twin = |(from, it): (usize, Option<(u32, usize)>)| {
        let (distance, to) = it?;
        let pictures = [from.min(to), from.max(to)].map(|it| hashes[it].0);
        Some(Twin { likeness: Likeness::Near, distance, pictures })
    };
    nearest.into_iter().enumerate().filter_map(twin).collect()
}

#[cfg(test)]
mod tests {
    use super::{DifferenceHash, NEAR, near};

    /// `hash` with `n` of its bits turned, spread over all bands.
    fn turned(hash: [u64; 4], n: usize) -> [u64; 4] {
        let mut bits = hash;
        (0..n).for_each(|k| bits[k * 17 % 256 / 64] ^= 1 << (k * 17 % 64));
        bits
    }

    #[test]
    fn all_within_the_limit_are_found_and_none_beyond() {
        let base = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, 0x0f1e_2d3c_4b5a_6978, 7];
        for n in 0..30 {
            let hashes = [base, turned(base, n)].map(DifferenceHash::from_bits);
            assert_eq!(hashes[0].distance(hashes[1]), n as u32);
            let hashes = [(3, hashes[0]), (9, hashes[1])];
            let found = near(&hashes, &|idx| idx);
            assert_eq!(found.len(), usize::from(n as u32 <= NEAR), "{n} bits");
            assert!(found.iter().all(|it| it.pictures == [3, 9] && it.distance == n as u32));
            assert!(near(&hashes, &|_| 0).is_empty(), "one person's pictures are alike by nature");
        }
    }

    #[test]
    fn the_nearest_wins() {
        let hashes = [0, 3, 1].map(|n| DifferenceHash::from_bits(turned([5; 4], n)));
        let hashes: Vec<_> = hashes.into_iter().enumerate().collect();
        let found: Vec<_> = near(&hashes, &|idx| idx).into_iter().map(|it| it.pictures).collect();
        // 0 and 2 are a bit apart; 1 is 2 bits from 2, and 3 from 0.
        assert_eq!(found, [[0, 2], [1, 2]]);
    }
}
