//! The sums of a metric per person, from which the scores of bootstrap resamples are computed.
//!
//! A person adds to few sums, however many classes there are, so the rows are sparse.

use crate::{Metric, Prediction};

/// Accumulates what each person adds to the sums of a metric, image by image, in any order of people.
#[derive(Clone, Debug, Default)]
pub struct PersonSums {
    added: Vec<Added>,
    /// How many of `added` are sorted and merged.
    n_merged: usize,
}

#[derive(Clone, Copy, Debug)]
struct Added {
    person: u32,
    sum: u32,
    x: f64,
}

/// The number of unmerged entries from which they are merged.
const UNMERGED: usize = 1 << 20;

impl PersonSums {
    /// Adds the prediction for one image.
    ///
    /// # Panics
    /// If the number of a person or the index of a sum is 2³² or more.
    pub fn add(&mut self, metric: &dyn Metric, it: &Prediction<'_>) {
        let number =
            |it: usize| u32::try_from(it).expect("person numbers and sum indices are below 2^32");
        let person = number(it.person);
        let n_before = self.added.len();
        let added = &mut self.added;
        metric.add(it, &mut |at, x| added.push(Added { person, sum: number(at), x }));
        if self.added.len() == n_before {
            // A person who adds nothing is resampled like the others.
            self.added.push(Added { person, sum: 0, x: 0.0 });
        }
        if self.added.len() > 2 * self.n_merged + UNMERGED {
            self.merge();
        }
    }

    /// Sorts the entries and adds up those of the same person and sum, in the order of the images.
    fn merge(&mut self) {
        self.added.sort_by_key(|it| (it.person, it.sum));
        self.added.dedup_by(|next, kept| {
            let is_same = (next.person, next.sum) == (kept.person, kept.sum);
            if is_same {
                kept.x += next.x;
            }
            is_same
        });
        self.n_merged = self.added.len();
    }

    /// Returns all people, in the order of their numbers.
    pub fn people(mut self) -> People {
        self.merge();
        let mut people = People::default();
        let mut last = None;
        for Added { person, sum, x } in self.added {
            if last != Some(person) {
                people.begins.push(people.sums.len());
                last = Some(person);
            }
            people.sums.push(sum);
            people.adds.push(x);
        }
        people.begins.push(people.sums.len());
        people
    }
}

/// What each person adds to the sums of a metric, people in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct People {
    /// The offset of each person in `sums` and `adds`, and their length.
    begins: Vec<usize>,
    sums: Vec<u32>,
    adds: Vec<f64>,
}

impl People {
    /// The number of people.
    pub fn len(&self) -> usize {
        self.begins.len().saturating_sub(1)
    }

    /// Whether there are no people.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For each person, the indices of sums and the values added to them.
    pub(crate) fn rows(&self) -> impl Iterator<Item = impl Iterator<Item = (usize, f64)>> {
        self.begins.windows(2).map(|it| {
            let own = it[0]..it[1];
            let sums = self.sums[own.clone()].iter().map(|&it| it as usize);
            sums.zip(self.adds[own].iter().copied())
        })
    }
}
