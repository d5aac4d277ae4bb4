//! Scores by group: of the images with each value of an attribute that the data keeps for reports, and of each level
//! of a factor.
//!
//! Scores and their intervals are those of `metrics::AttributeSums`: macro F1 is over the classes that occur among the
//! images of the group. The largest gap of accuracy is tested by
//! permutation: the values are shuffled, and p is the share of permutations whose largest gap is at least as large,
//! (1 + n) / (1 + N). Since the largest gap of each permutation is taken, the choice of the two values is accounted
//! for. What is shuffled is what is exchangeable if the value does not matter: where every group has one value, such as
//! a person's gender, the values of groups; otherwise, as with the mask, the values of images within each group, so
//! that groups are their own controls (paired).
//!
//! Good, "Permutation, Parametric and Bootstrap Tests of Hypotheses", 2005; (1 + n) / (1 + N): Phipson and Smyth, 2010.

use std::collections::HashMap;

use base::{Seed, task::Scope};
use metrics::{AttributeReport, AttributeSums, Prediction, ValueReport};
use rand::seq::SliceRandom as _;

use crate::{
    collector::{Collected, SEED},
    contents::{AttributeScores, Estimate, FactorError, GapTest, ValueScores},
};

/// The number of permutations.
const N_PERMUTATIONS: usize = 1000;
/// The largest number of shuffled values in all permutations: of more images there are fewer permutations, at least
/// [`FEWEST`].
const MOST_SHUFFLED: usize = 200_000_000;
const FEWEST: usize = 200;

/// An attribute of the images.
#[derive(Clone, Debug, PartialEq)]
pub struct AttributeOf {
    /// Its name.
    pub name: String,
    /// Its different values.
    pub values: Vec<String>,
    /// The position of each image's value, in the order of [`Collected::records`].
    pub of_images: Vec<u32>,
}

/// An image in a permutation: the row of its value, and whether it is predicted correctly.
type Tested = (usize, bool);

impl Collected {
    /// Returns the scores by each attribute, and by each factor of a task of several; those with a single value are
    /// left out.
    pub fn by_attribute(&self, attributes: &[AttributeOf]) -> Vec<AttributeScores> {
        let factors = match self.task.factors.len() {
            0 | 1 => Vec::new(),
            n => (0..n).map(|it| self.factor(it)).collect(),
        };
        let is_known = |it: &&AttributeOf| factors.iter().all(|factor| factor.name != it.name);
        let own = attributes.iter().filter(is_known).map(|it| (it, false));
        let all = own.chain(factors.iter().map(|it| (it, true)));
        let scores = all.filter_map(|(it, is_factor)| self.of_attribute(it, is_factor));
        scores.filter(|it| it.values.len() > 1).collect()
    }

    /// Returns the names of the attributes that have one value in all images, so that there is nothing to compare.
    pub fn of_one_value(&self, attributes: &[AttributeOf]) -> Vec<String> {
        let has_one = |it: &&AttributeOf| {
            let first = it.of_images.first();
            first.is_some() && it.of_images.iter().all(|value| Some(value) == first)
        };
        attributes.iter().filter(has_one).map(|it| it.name.clone()).collect()
    }

    /// Returns the true levels of a factor as an attribute.
    fn factor(&self, idx: usize) -> AttributeOf {
        let factor = &self.task.factors[idx];
        let level = |class| self.task.project(class, Scope::Factor(idx)) as u32;
        AttributeOf {
            name: factor.name.clone(),
            values: factor.levels.clone(),
            of_images: self.records.iter().map(|it| level(it.class)).collect(),
        }
    }

    /// Returns the scores by an attribute; `None` if it has not a value for each image.
    fn of_attribute(&self, of: &AttributeOf, is_factor: bool) -> Option<AttributeScores> {
        let is_whole = of.of_images.len() == self.records.len()
            && of.of_images.iter().all(|&it| (it as usize) < of.values.len());
        if !is_whole {
            return None;
        }
        let named = [(of.name.as_str(), of.values.as_slice())];
        let positions = || of.of_images.iter().map(std::slice::from_ref);
        let mut sums = AttributeSums::new(&self.task, &named, positions());
        for (it, values) in self.records.iter().zip(positions()) {
            sums.add(
                values,
                &Prediction {
                    probabilities: &[],
                    predicted: it.predicted,
                    class: it.class,
                    group: it.group,
                    number: None,
                    true_number: None,
                },
            );
        }
        let report = sums.report(SEED).pop()?;
        let rows = self.rows(of, &report);
        let values = report.values.iter().enumerate().map(|(row, it)| ValueScores {
            value: it.value.clone(),
            n_values: it.n_values,
            n_images: it.n_images,
            n_groups: it.n_groups,
            macro_f1: it.macro_f1.into(),
            error_rate: error_rate(it),
            factor_errors: self.factor_errors(&rows, row),
        });
        let values = values.collect();
        let gap = report.gap.as_ref().map(|gap| {
            let (p, test) = self.test(&report, &rows);
            GapTest {
                lowest: gap.lowest.clone(),
                highest: gap.highest.clone(),
                difference: gap.difference.into(),
                p: Some(p),
                test,
            }
        });
        Some(AttributeScores { name: of.name.clone(), is_factor, values, gap })
    }

    /// Returns the row of each image in the report of an attribute.
    fn rows(&self, of: &AttributeOf, report: &AttributeReport) -> Vec<usize> {
        let row_of: HashMap<&str, usize> = report
            .values
            .iter()
            .enumerate()
            .filter_map(|(row, it)| Some((it.value.as_deref()?, row)))
            .collect();
        // All others together are the last.
        let others = report.values.len().saturating_sub(1);
        let row = |value: &String| row_of.get(value.as_str()).copied().unwrap_or(others);
        let rows: Vec<usize> = of.values.iter().map(row).collect();
        of.of_images.iter().map(|&it| rows[it as usize]).collect()
    }

    /// Returns the error rate of each factor over the images of a row.
    fn factor_errors(&self, rows: &[usize], row: usize) -> Vec<FactorError> {
        let factors = &self.task.factors;
        if factors.len() < 2 {
            return Vec::new();
        }
        let (mut n, mut n_wrong) = (0_usize, vec![0_usize; factors.len()]);
        for (it, _) in self.records.iter().zip(rows).filter(|it| *it.1 == row) {
            n += 1;
            let [actual, predicted] = [it.class, it.predicted].map(|it| self.task.levels_of(it));
            let levels = actual.into_iter().zip(predicted);
            n_wrong.iter_mut().zip(levels).for_each(|(n, it)| *n += usize::from(it.0 != it.1));
        }
        let error = |(factor, n_wrong): (&base::task::Factor, usize)| FactorError {
            factor: factor.name.clone(),
            error_rate: (n > 0).then(|| n_wrong as f64 / n as f64),
        };
        factors.iter().zip(n_wrong).map(error).collect()
    }

    /// Tests the largest gap by permutation: returns p, and the test in words.
    fn test(&self, report: &AttributeReport, rows: &[usize]) -> (f64, String) {
        // Those that have an interval.
        let is_tested: Vec<bool> =
            report.values.iter().map(|it| it.value.is_some() && it.n_groups > 1).collect();
        let mut groups: Vec<Vec<Tested>> = Vec::new();
        for (it, &row) in self.records.iter().zip(rows) {
            if groups.len() <= it.group {
                groups.resize(it.group + 1, Vec::new());
            }
            groups[it.group].push((row, it.is_correct()));
        }
        let have_one_value =
            groups.iter().all(|it| it.windows(2).all(|pair| pair[0].0 == pair[1].0));
        let n_shuffled = if have_one_value { groups.len() } else { rows.len() };
        let n = (MOST_SHUFFLED / n_shuffled.max(1)).clamp(FEWEST, N_PERMUTATIONS);
        let seed = Seed(SEED.0 ^ base::rng::fnv1a(report.name.as_bytes()));
        let unit = self.task.unit;
        let (p, what) = match have_one_value {
            true => (across(&groups, &is_tested, n, seed), format!("over {}", unit.many())),
            false => (within(&groups, &is_tested, n, seed), format!("within each {}", unit.one())),
        };
        (p, format!("permutation of the values {what}, {n} times"))
    }
}

fn error_rate(it: &ValueReport) -> Estimate {
    let accuracy: Estimate = it.accuracy.into();
    let error = |it: Option<f64>| it.map(|it| 1.0 - it);
    Estimate { value: error(accuracy.value), low: error(accuracy.high), high: error(accuracy.low) }
}

/// The correct images and all images of each value.
struct Sums(Vec<[f64; 2]>);

impl Sums {
    fn new(n: usize) -> Sums {
        Sums(vec![[0.0; 2]; n])
    }

    fn add(&mut self, row: usize, n_correct: f64, n: f64) {
        if let Some(it) = self.0.get_mut(row) {
            *it = [it[0] + n_correct, it[1] + n];
        }
    }

    /// Returns the largest difference of accuracy between tested values.
    fn gap(&self, is_tested: &[bool]) -> f64 {
        let known = self.0.iter().zip(is_tested).filter(|(it, tested)| **tested && it[1] > 0.0);
        let accuracies = known.map(|it| it.0[0] / it.0[1]);
        let (low, high) = accuracies.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| {
            (f64::min(low, it), f64::max(high, it))
        });
        high - low
    }
}

/// Tolerates the rounding of quotients: equal gaps are equally large.
const EPS: f64 = 1e-12;

/// Permutes the values of groups, which have one each.
fn across(groups: &[Vec<Tested>], is_tested: &[bool], n: usize, seed: Seed) -> f64 {
    let groups: Vec<&Vec<Tested>> = groups.iter().filter(|it| !it.is_empty()).collect();
    let mut rows: Vec<usize> = groups.iter().map(|it| it[0].0).collect();
    let counts: Vec<[f64; 2]> = groups
        .iter()
        .map(|it| [it.iter().filter(|it| it.1).count() as f64, it.len() as f64])
        .collect();
    let gap = |rows: &[usize]| {
        let mut sums = Sums::new(is_tested.len());
        rows.iter().zip(&counts).for_each(|(&row, it)| sums.add(row, it[0], it[1]));
        sums.gap(is_tested)
    };
    let observed = gap(&rows);
    let mut rng = seed.stream("permutation");
    let mut n_as_large = 0;
    for _ in 0..n {
        rows.shuffle(&mut rng);
        n_as_large += usize::from(gap(&rows) >= observed - EPS);
    }
    (1 + n_as_large) as f64 / (1 + n) as f64
}

/// Permutes the values of images within each group.
fn within(groups: &[Vec<Tested>], is_tested: &[bool], n: usize, seed: Seed) -> f64 {
    let mut rows: Vec<Vec<usize>> =
        groups.iter().map(|it| it.iter().map(|it| it.0).collect()).collect();
    let gap = |rows: &[Vec<usize>]| {
        let mut sums = Sums::new(is_tested.len());
        for (rows, images) in rows.iter().zip(groups) {
            for (&row, image) in rows.iter().zip(images) {
                sums.add(row, f64::from(image.1), 1.0);
            }
        }
        sums.gap(is_tested)
    };
    let observed = gap(&rows);
    let mut rng = seed.stream("permutation");
    let mut n_as_large = 0;
    for _ in 0..n {
        rows.iter_mut().for_each(|it| it.shuffle(&mut rng));
        n_as_large += usize::from(gap(&rows) >= observed - EPS);
    }
    (1 + n_as_large) as f64 / (1 + n) as f64
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};

    use super::AttributeOf;
    use crate::{
        contents::AttributeScores,
        testing::{Image, collected, two_factors},
    };

    fn one_factor(images: Vec<Image>, of_images: Vec<u32>) -> AttributeScores {
        let task = Task::new(vec![Factor::new("class", &["a", "b"])]);
        let values = vec!["<b>".to_owned(), "여성, 30".to_owned()];
        let attribute = AttributeOf { name: "site".to_owned(), values, of_images };
        collected(&(task, images)).by_attribute(&[attribute]).remove(0)
    }

    #[test]
    fn error_rates_of_values_and_factors_are_shares_of_images() {
        let it = collected(&two_factors()).by_attribute(&[]);
        let names: Vec<&str> = it.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["mask", "size"]);
        let [script, other] = [&it[0].values[0], &it[0].values[1]];
        assert!(it[0].is_factor);
        assert_eq!(
            (script.value.as_deref(), script.n_images, script.n_groups),
            (Some("<script>"), 4, 2)
        );
        assert_eq!(script.error_rate.value, Some(0.5));
        let rates: Vec<f64> = script.factor_errors.iter().filter_map(|it| it.error_rate).collect();
        assert_eq!(rates, [0.25, 0.5]);
        assert_eq!((other.error_rate.value, other.error_rate.low), (Some(0.0), None));
        // Classes 0 and 1 are `<script>`, and only class 0 occurs: 2 of its 4 images are right, and none is predicted
        // as it wrongly.
        assert!((script.macro_f1.value.unwrap() - 2.0 / 3.0).abs() < 1e-12, "{script:?}");
        assert_eq!(other.macro_f1.value, Some(1.0));
        // One value alone has an interval: there is no gap to test.
        assert_eq!(it[0].gap, None);
    }

    #[test]
    fn a_gap_between_groups_is_tested_over_groups() {
        // Site 0: 4 groups of one right image; site 1: 4 groups of one wrong image. Only 2 of the 70 ways to choose
        // four groups have a gap of 1.
        let images = (0..8).map(|it| (0, usize::from(it > 3), it)).collect();
        let it = one_factor(images, vec![0, 0, 0, 0, 1, 1, 1, 1]);
        let gap = it.gap.unwrap();
        assert_eq!((gap.lowest.as_str(), gap.highest.as_str()), ("여성, 30", "<b>"));
        assert_eq!(gap.difference.value, Some(1.0));
        let p = gap.p.unwrap();
        assert!((p - 2.0 / 70.0).abs() < 0.02, "{p}");
        assert_eq!(gap.test, "permutation of the values over groups, 1000 times");
    }

    #[test]
    fn a_gap_within_groups_is_tested_within_groups() {
        // Each of 6 groups has an image of each site, and that of site 1 is wrong: 2 of the 64 permutations have a
        // gap of 1.
        let images = (0..12).map(|it| (0, it % 2, it / 2)).collect();
        let it = one_factor(images, (0..12).map(|it| it % 2).collect());
        let gap = it.gap.unwrap();
        let p = gap.p.unwrap();
        assert!((p - 2.0 / 64.0).abs() < 0.02, "{p}");
        assert_eq!(gap.test, "permutation of the values within each group, 1000 times");
        // Without a difference every permutation is as large.
        let images = (0..12).map(|it| (0, 0, it / 2)).collect();
        let it = one_factor(images, (0..12).map(|it| it % 2).collect());
        assert_eq!(it.gap.unwrap().p, Some(1.0));
    }

    #[test]
    fn an_attribute_that_does_not_cover_the_images_is_left_out() {
        let task = Task::new(vec![Factor::new("class", &["a", "b"])]);
        let it = collected(&(task, vec![(0, 0, 0), (1, 1, 1)]));
        let attribute = |of_images: Vec<u32>| AttributeOf {
            name: "site".to_owned(),
            values: vec!["a".to_owned(), "b".to_owned()],
            of_images,
        };
        assert!(it.by_attribute(&[attribute(vec![0])]).is_empty());
        assert!(it.by_attribute(&[attribute(vec![0, 2])]).is_empty());
        // One value is the whole set.
        assert!(it.by_attribute(&[attribute(vec![0, 0])]).is_empty());
        let all = [attribute(vec![0, 1]), attribute(vec![1, 1])];
        assert!(it.of_one_value(&all[..1]).is_empty());
        assert_eq!(it.of_one_value(&all), ["site"]);
        assert_eq!(it.by_attribute(&[attribute(vec![0, 1])]).len(), 1);
    }
}
