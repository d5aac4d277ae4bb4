//! What the images of each group add to a metric, from which the scores of bootstrap resamples are computed.
//!
//! To sums a group adds few numbers, however many classes there are, so the rows are sparse. A ranking has the
//! group of each image.

use crate::{
    Metric, Prediction, Ranking, Sums,
    ranking::{self, LANES, Ranks},
    running_metric::{RunningMetric, State},
};

/// Accumulates a score and what each group adds to it, image by image, in any order of groups.
pub struct GroupSums<'a> {
    total: RunningMetric<'a>,
    /// Of sums: what groups add.
    added: Vec<Added>,
    /// How many of `added` are sorted and merged.
    n_merged: usize,
    /// Of a ranking: the group of each image.
    groups: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Added {
    group: u32,
    sum: u32,
    x: f64,
}

/// The number of unmerged entries from which they are merged.
const UNMERGED: usize = 1 << 20;

impl<'a> GroupSums<'a> {
    /// Creates a group_sums of no images.
    pub fn new(metric: &'a dyn Metric, n_classes: usize) -> GroupSums<'a> {
        let total = RunningMetric::new(metric, n_classes);
        GroupSums { total, added: Vec::new(), n_merged: 0, groups: Vec::new() }
    }

    /// Adds the prediction for one image.
    ///
    /// # Panics
    /// If the number of a group or the index of a sum is 2³² or more.
    pub fn add(&mut self, it: &Prediction<'_>) {
        let number =
            |it: usize| u32::try_from(it).expect("group numbers and sum indices are below 2^32");
        let group = number(it.group);
        self.total.add(it);
        match self.total.state() {
            State::Sums(of, _) => {
                let (n_before, added) = (self.added.len(), &mut self.added);
                of.add(it, &mut |at, x| added.push(Added { group, sum: number(at), x }));
                if self.added.len() == n_before {
                    // A group that adds nothing is resampled like the others.
                    self.added.push(Added { group, sum: 0, x: 0.0 });
                }
                if self.added.len() > 2 * self.n_merged + UNMERGED {
                    self.merge();
                }
            }
            State::Ranking(..) => self.groups.push(group),
        }
    }

    /// Sorts the entries and adds up those of the same group and sum, in the order of the images.
    fn merge(&mut self) {
        self.added.sort_by_key(|it| (it.group, it.sum));
        self.added.dedup_by(|next, kept| {
            let is_same = (next.group, next.sum) == (kept.group, kept.sum);
            if is_same {
                kept.x += next.x;
            }
            is_same
        });
        self.n_merged = self.added.len();
    }

    /// Returns the score with all groups, in the order of their numbers.
    pub fn groups(mut self) -> Groups<'a> {
        self.merge();
        let value = self.total.score();
        match self.total.into_state() {
            State::Sums(of, sums) => {
                let rows = Rows::of(self.added);
                Groups {
                    value,
                    n_groups: rows.begins.len() - 1,
                    of: Of::Sums(of, sums.len(), rows),
                }
            }
            State::Ranking(of, kept) => {
                let mut all = self.groups.clone();
                all.sort_unstable();
                all.dedup();
                let position = |it: u32| all.partition_point(|&other| other < it) as u32;
                self.groups.iter_mut().for_each(|it| *it = position(*it));
                let ranks = kept.ranks(&self.groups);
                Groups { value, n_groups: all.len(), of: Of::Ranking(of, ranks) }
            }
        }
    }
}

/// A score, and what each group adds to it, groups in the order of their numbers.
pub struct Groups<'a> {
    /// The score; NaN if it has none.
    pub value: f64,
    n_groups: usize,
    of: Of<'a>,
}

enum Of<'a> {
    /// With the number of sums.
    Sums(&'a dyn Sums, usize, Rows),
    /// With the ranks of each class.
    Ranking(&'a dyn Ranking, Vec<Ranks>),
}

impl Groups<'_> {
    /// The number of groups.
    pub fn len(&self) -> usize {
        self.n_groups
    }

    /// Whether there are no groups.
    pub fn is_empty(&self) -> bool {
        self.n_groups == 0
    }

    /// Returns the scores of at most [`LANES`] resamples, each given by how often each group is in it.
    pub(crate) fn scores(&self, resamples: &[Vec<u8>]) -> Vec<f64> {
        match &self.of {
            // Without a score of all groups there is none of some.
            _ if self.value.is_nan() => vec![f64::NAN; resamples.len()],
            Of::Sums(of, n_sums, rows) => rows.scores(*of, *n_sums, resamples),
            Of::Ranking(of, ranks) => ranking::scores(*of, ranks, self.n_groups, resamples),
        }
    }
}

/// What each group adds to sums.
struct Rows {
    /// The offset of each group in `sums` and `adds`, and their length.
    begins: Vec<usize>,
    sums: Vec<u32>,
    adds: Vec<f64>,
}

impl Rows {
    /// - `added`: sorted and merged.
    fn of(added: Vec<Added>) -> Rows {
        let mut rows = Rows { begins: Vec::new(), sums: Vec::new(), adds: Vec::new() };
        let mut last = None;
        for Added { group, sum, x } in added {
            if last != Some(group) {
                rows.begins.push(rows.sums.len());
                last = Some(group);
            }
            rows.sums.push(sum);
            rows.adds.push(x);
        }
        rows.begins.push(rows.sums.len());
        rows
    }

    fn scores(&self, of: &dyn Sums, n_sums: usize, resamples: &[Vec<u8>]) -> Vec<f64> {
        let n_groups = self.begins.len() - 1;
        let nobody = vec![0; n_groups];
        let each: [&[u8]; LANES] =
            std::array::from_fn(|it| resamples.get(it).unwrap_or(&nobody).as_slice());
        let mut sums = vec![[0.0; LANES]; n_sums];
        for group in 0..n_groups {
            let times = each.map(|it| f64::from(it[group]));
            for at in self.begins[group]..self.begins[group + 1] {
                let (to, x) = (&mut sums[self.sums[at] as usize], self.adds[at]);
                to.iter_mut().zip(times).for_each(|(sum, n)| *sum += n * x);
            }
        }
        let score = |lane: usize| of.of(&sums.iter().map(|it| it[lane]).collect::<Vec<f64>>());
        (0..resamples.len()).map(score).collect()
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{GroupSums, Of};
    use crate::{Absent, MacroF1, Prediction, Resamples, mae::Mae};

    fn prediction(class: usize, predicted: usize, group: usize) -> Prediction<'static> {
        let probabilities = &[];
        Prediction { probabilities, predicted, class, group, number: None, true_number: None }
    }

    #[test]
    fn a_group_that_adds_nothing_is_resampled_too() {
        // One of two groups has a number: a quarter of the resamples lack that group.
        let mut group_sums = GroupSums::new(&Mae {}, 2);
        let known =
            Prediction { number: Some(30.0), true_number: Some(31.0), ..prediction(0, 0, 0) };
        group_sums.add(&known);
        group_sums.add(&Prediction { number: Some(30.0), ..prediction(0, 0, 1) });
        let groups = group_sums.groups();
        assert_eq!((groups.len(), groups.value), (2, 1.0));
        let it = Resamples::new(2, 1000, Seed(0)).scores(&[groups]).remove(0);
        let n_without = it.resamples.iter().filter(|it| it.is_nan()).count();
        assert!((150..350).contains(&n_without), "{n_without}");
        // They have no score, and the interval is that of the others.
        assert_eq!((it.interval().low, it.interval().high), (1.0, 1.0));
    }

    #[test]
    fn a_thousand_classes_and_many_groups_have_few_sums() {
        const N: usize = 100_000;
        let mut group_sums = GroupSums::new(&MacroF1 { absent: Absent::Skip }, 1000);
        for image in 0..N {
            let predicted = if image % 3 == 0 { 0 } else { image % 1000 };
            group_sums.add(&prediction(image % 1000, predicted, image));
        }
        let groups = group_sums.groups();
        assert_eq!(groups.len(), N);
        let Of::Sums(_, _, rows) = &groups.of else { unreachable!() };
        assert!(rows.adds.len() <= 2 * N);
        let it = Resamples::new(N, 16, Seed(0)).scores(&[groups]).remove(0);
        assert!(it.resamples.iter().all(|it| (it - 0.66).abs() < 0.2), "{it:?}");
    }
}
