//! The sums of a metric person by person, from which scores of synthetic people follow.
//!
//! A person adds to few sums, however many classes there are, so that only these are kept.

use crate::{Metric, Prediction};

/// What each person adds to the sums of a metric: made as predictions come, in any order of people.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    added: Vec<Added>,
    /// How many of `added` are in order and merged.
    n_merged: usize,
}

#[derive(Clone, Copy, Debug)]
struct Added {
    person: u32,
    sum: u32,
    x: f64,
}

/// So many are put in order at once.
const UNMERGED: usize = 1 << 20;

impl Tally {
    /// One more image.
    ///
    /// # Panics
    /// A person or a sum from 2³² on.
    pub fn add(&mut self, metric: &dyn Metric, it: &Prediction<'_>) {
        let number =
            |it: usize| u32::try_from(it).expect("numbers of people and sums are below 2^32");
        let person = number(it.person);
        let n_before = self.added.len();
        let added = &mut self.added;
        metric.add(it, &mut |at, x| added.push(Added { person, sum: number(at), x }));
        if self.added.len() == n_before {
            // Who adds nothing is drawn all the same.
            self.added.push(Added { person, sum: 0, x: 0.0 });
        }
        if self.added.len() > 2 * self.n_merged + UNMERGED {
            self.merge();
        }
    }

    /// Adds up what a person has added to a sum, in the order of the images.
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

    /// All people, in the order of their numbers.
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
    /// Where each begins in `sums` and `adds`, and at last where all end.
    begins: Vec<usize>,
    sums: Vec<u32>,
    adds: Vec<f64>,
}

impl People {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.begins.len().saturating_sub(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of each what it adds, and to which sum.
    pub(crate) fn rows(&self) -> impl Iterator<Item = impl Iterator<Item = (usize, f64)>> {
        self.begins.windows(2).map(|it| {
            let own = it[0]..it[1];
            let sums = self.sums[own.clone()].iter().map(|&it| it as usize);
            sums.zip(self.adds[own].iter().copied())
        })
    }
}
