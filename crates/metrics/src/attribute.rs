//! Scores by attribute: of the images with each value of a column that is kept for reports.
//!
//! They are scores over the joint classes. Macro F1 is the mean F1 over the classes that occur among the images with
//! the value: a level of a factor excludes the classes of its other levels, which would count as 0 as soon as one is
//! predicted. A class that does not occur in a resample is left out of that one too.
//!
//! The intervals of a value are bootstrapped over the groups that have images with it; a value with a single group has
//! none.
//!
//! Two values usually have different groups, so their resamples are not paired, unlike those of two models: the
//! difference of two values is that of independent resamples. Where the same groups have images with both values,
//! the interval is wider than that of paired resamples would be.
//!
//! The interval of the largest gap is that of two given values: it does not account for the choice of these two
//! among all.

use std::cmp::Reverse;

use base::{Seed, Task, rng::fnv1a};

use crate::{
    Basis, Bootstrapped, GroupSums, Interval, Metric, N_RESAMPLES, Prediction, Resamples, Sums,
    accuracy::Accuracy, quotient, weighted_f1::WeightedF1,
};

/// The number of values with scores of their own: the most frequent ones.
const N_VALUES: usize = 10;

/// Scores by the values of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct AttributeReport {
    /// The attribute's name.
    pub name: String,
    /// The ten most frequent values, in the order of the attribute's values, then all others together.
    pub values: Vec<ValueReport>,
    /// The largest gap of accuracy; `None` without two values that have intervals.
    pub gap: Option<Gap>,
}

/// Scores of the images with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueReport {
    /// The value; `None` for all others together.
    pub value: Option<String>,
    /// The number of values: 1, or how many the others are.
    pub n_values: usize,
    /// The number of images.
    pub n_images: usize,
    /// The number of groups with such images.
    pub n_groups: usize,
    /// Macro F1 over the classes that occur; the limits of its interval are NaN with a single group.
    pub macro_f1: Interval,
    /// Accuracy; the limits of its interval are NaN with a single group.
    pub accuracy: Interval,
}

/// The two values whose accuracies differ most.
#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    /// The value with the lowest accuracy.
    pub lowest: String,
    /// The value with the highest accuracy.
    pub highest: String,
    /// The difference, 0 or more.
    pub difference: Interval,
}

/// Macro F1 over the classes that occur.
struct OccurringF1;

impl Sums for OccurringF1 {
    /// Those of weighted F1: for each class its true positives, its images, and how often it is predicted.
    fn n_sums(&self, n_classes: usize) -> usize {
        WeightedF1 {}.n_sums(n_classes)
    }

    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64)) {
        WeightedF1 {}.add(it, add);
    }

    fn of(&self, sums: &[f64]) -> f64 {
        let occurs = |it: &&[f64]| it[1] > 0.0;
        let scores = sums.chunks(3).filter(occurs).map(|it| quotient(2.0 * it[0], it[1] + it[2]));
        let (n, sum) = scores.fold((0.0, 0.0), |(n, sum), it| (n + 1.0, sum + it));
        quotient(sum, n)
    }
}

impl Metric for OccurringF1 {
    fn basis(&self) -> Basis<'_> {
        Basis::Sums(self)
    }

    fn more_is_better(&self) -> bool {
        true
    }
}

/// Accumulates predictions for the scores by attribute.
pub struct AttributeSums(Vec<OfAttribute>);

/// The sums of an attribute.
struct OfAttribute {
    name: String,
    /// For each value its position in `rows`.
    row_of: Vec<usize>,
    rows: Vec<Row>,
}

/// The sums of a value, or of all others together.
struct Row {
    value: Option<String>,
    n_values: usize,
    n_images: usize,
    macro_f1: GroupSums<'static>,
    accuracy: GroupSums<'static>,
}

impl AttributeSums {
    /// Creates sums of no images.
    ///
    /// - `attributes`: the name and the values of each attribute.
    /// - `images`: for each image that will be added, the position of its value of each attribute: the most
    ///   frequent values are known before the first is added.
    ///
    /// # Panics
    /// If an attribute has no value at a position.
    pub fn new<'a>(
        task: &Task,
        attributes: &[(&str, &[String])],
        images: impl Iterator<Item = &'a [u32]>,
    ) -> AttributeSums {
        let mut counts: Vec<Vec<usize>> = attributes.iter().map(|it| vec![0; it.1.len()]).collect();
        for values in images {
            counts.iter_mut().zip(values).for_each(|(n, &value)| n[value as usize] += 1);
        }
        let n_classes = task.n_classes();
        let of = attributes.iter().zip(&counts);
        AttributeSums(
            of.map(|((name, all), counts)| OfAttribute::new(name, all, counts, n_classes))
                .collect(),
        )
    }

    /// Adds the prediction for one image.
    ///
    /// - `values`: the position of its value of each attribute.
    pub fn add(&mut self, values: &[u32], it: &Prediction<'_>) {
        for (of, &value) in self.0.iter_mut().zip(values) {
            // A value that was not counted has no row.
            let row = of.row_of.get(value as usize).copied();
            let Some(row) = row.and_then(|at| of.rows.get_mut(at)) else { continue };
            row.n_images += 1;
            row.macro_f1.add(it);
            row.accuracy.add(it);
        }
    }

    /// Returns the scores; `seed` seeds the bootstrap of the intervals.
    pub fn report(self, seed: Seed) -> Vec<AttributeReport> {
        self.0.into_iter().map(|it| it.report(seed)).collect()
    }
}

impl OfAttribute {
    /// - `counts`: the number of images with each value.
    fn new(name: &str, values: &[String], counts: &[usize], n_classes: usize) -> OfAttribute {
        let mut shown: Vec<usize> = (0..values.len()).filter(|&it| counts[it] > 0).collect();
        // Of equally frequent ones the first.
        shown.sort_by_key(|&it| Reverse(counts[it]));
        let others = shown.split_off(shown.len().min(N_VALUES));
        shown.sort_unstable();
        let row = |value: Option<usize>, n_values: usize| Row {
            value: value.map(|it| values[it].clone()),
            n_values,
            n_images: 0,
            macro_f1: GroupSums::new(&OccurringF1, n_classes),
            accuracy: GroupSums::new(&Accuracy {}, n_classes),
        };
        let mut row_of = vec![usize::MAX; values.len()];
        shown.iter().enumerate().for_each(|(row, &value)| row_of[value] = row);
        others.iter().for_each(|&value| row_of[value] = N_VALUES);
        let mut rows: Vec<Row> = shown.iter().map(|&it| row(Some(it), 1)).collect();
        rows.extend((!others.is_empty()).then(|| row(None, others.len())));
        OfAttribute { name: name.to_owned(), row_of, rows }
    }

    fn report(self, seed: Seed) -> AttributeReport {
        let (mut values, mut accuracies) = (Vec::new(), Vec::new());
        for Row { value, n_values, n_images, macro_f1, accuracy } in self.rows {
            let scores = [macro_f1.groups(), accuracy.groups()];
            let n_groups = scores[0].len();
            let [macro_f1, accuracy] = match n_groups {
                // All resamples of one group are the same.
                0 | 1 => {
                    scores.map(|it| Interval { value: it.value, low: f64::NAN, high: f64::NAN })
                }
                _ => {
                    // Independent of those of other values, which may have as many groups.
                    let name = format!("{}/{}", self.name, value.as_deref().unwrap_or_default());
                    let own = Seed(seed.0 ^ fnv1a(name.as_bytes()));
                    let resamples = Resamples::new(n_groups, N_RESAMPLES, own);
                    let mut bootstrapped = resamples.scores(&scores);
                    let intervals = [0, 1].map(|it: usize| bootstrapped[it].interval());
                    accuracies.extend(value.clone().zip(bootstrapped.pop()));
                    intervals
                }
            };
            values.push(ValueReport { value, n_values, n_images, n_groups, macro_f1, accuracy });
        }
        AttributeReport { name: self.name, values, gap: gap(&accuracies) }
    }
}

/// Returns the largest gap between values, if there are two.
fn gap(accuracies: &[(String, Bootstrapped)]) -> Option<Gap> {
    let known = || accuracies.iter().filter(|it| !it.1.value.is_nan());
    // Of equal ones the first and the last, which are two values even if all are equal.
    let lowest = known().min_by(|a, b| a.1.value.total_cmp(&b.1.value))?;
    let highest = known().max_by(|a, b| a.1.value.total_cmp(&b.1.value))?;
    if lowest.0 == highest.0 {
        return None;
    }
    let pairs = lowest.1.resamples.iter().zip(&highest.1.resamples);
    let difference = Bootstrapped {
        value: highest.1.value - lowest.1.value,
        resamples: pairs.map(|(low, high)| high - low).collect(),
    };
    Some(Gap {
        lowest: lowest.0.clone(),
        highest: highest.0.clone(),
        difference: difference.interval(),
    })
}

#[cfg(test)]
mod tests {
    use base::{Seed, Task, task::Factor};

    use super::{AttributeReport, AttributeSums};
    use crate::Prediction;

    /// An image: its class, its predicted class, its group and its value.
    type Image = (usize, usize, usize, u32);

    fn report(values: &[&str], images: &[Image]) -> AttributeReport {
        let task = Task::new(vec![Factor::new("class", &["a", "b"])]);
        let names: Vec<String> = values.iter().map(|&it| it.to_owned()).collect();
        let positions: Vec<[u32; 1]> = images.iter().map(|it| [it.3]).collect();
        let positions = positions.iter().map(<[u32; 1]>::as_slice);
        let mut sums = AttributeSums::new(&task, &[("site", &names)], positions);
        for &(class, predicted, group, value) in images {
            let probabilities = &[];
            let it = Prediction {
                probabilities,
                predicted,
                class,
                group,
                number: None,
                true_number: None,
            };
            sums.add(&[value], &it);
        }
        sums.report(Seed(0)).remove(0)
    }

    fn is_close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    /// Site A: group 0 has 2 of 2 right, group 1 has 1 of 2. Site B: group 2 has 1 of 2, group 3 has 0 of 2.
    const TWO_SITES: [Image; 8] = [
        (0, 0, 0, 0),
        (1, 1, 0, 0),
        (0, 0, 1, 0),
        (1, 0, 1, 0),
        (0, 0, 2, 1),
        (1, 0, 2, 1),
        (0, 1, 3, 1),
        (1, 0, 3, 1),
    ];

    #[test]
    fn each_value_is_scored_by_itself() {
        let it = report(&["A", "B", "nowhere"], &TWO_SITES);
        // No image of this set is from nowhere.
        assert_eq!((it.name.as_str(), it.values.len()), ("site", 2));
        let [a, b] = [&it.values[0], &it.values[1]];
        assert_eq!((a.value.as_deref(), a.n_values, a.n_images, a.n_groups), (Some("A"), 1, 4, 2));
        assert_eq!((b.value.as_deref(), b.n_values, b.n_images, b.n_groups), (Some("B"), 1, 4, 2));
        // F1 of A: 4/5 and 2/3; of B: 2/5 and 0.
        assert!(is_close(a.macro_f1.value, 11.0 / 15.0) && is_close(b.macro_f1.value, 0.2));
        // A quarter of the resamples are one group twice, another quarter the other.
        let limits = |it: crate::Interval| (it.value, it.low, it.high);
        assert_eq!(limits(a.accuracy), (0.75, 0.5, 1.0));
        assert_eq!(limits(b.accuracy), (0.25, 0.0, 0.5));
        // The resamples of A and B are independent: with the same ones the difference would always be 0.5.
        let gap = it.gap.unwrap();
        assert_eq!((gap.lowest.as_str(), gap.highest.as_str()), ("B", "A"));
        assert_eq!(limits(gap.difference), (0.5, 0.0, 1.0));
    }

    #[test]
    fn macro_f1_is_over_the_classes_that_occur_with_a_value() {
        // All images of site A are of class a, and 2 of 3 are right: F1 is 2 * 2 / (3 + 2), and b has none.
        let images = [(0, 0, 0, 0), (0, 0, 0, 0), (0, 1, 1, 0), (1, 1, 2, 1), (1, 1, 3, 1)];
        let it = report(&["A", "B"], &images);
        assert!(is_close(it.values[0].macro_f1.value, 0.8), "{:?}", it.values[0]);
        assert_eq!(it.values[1].macro_f1.value, 1.0);
        // Resamples: group 0 twice has an F1 of 1, group 1 twice of 0.
        assert_eq!((it.values[0].macro_f1.low, it.values[0].macro_f1.high), (0.0, 1.0));
    }

    #[test]
    fn a_value_with_one_group_has_no_interval_and_no_gap() {
        let mut images = TWO_SITES.to_vec();
        // A third site, which is always right; an image without a site.
        images.extend([(0, 0, 4, 2), (1, 1, 4, 2), (1, 0, 5, 3)]);
        let it = report(&["A", "B", "C", ""], &images);
        let [c, empty] = [&it.values[2], &it.values[3]];
        assert_eq!((c.n_groups, c.accuracy.value, c.macro_f1.value), (1, 1.0, 1.0));
        assert!([c.accuracy.low, c.accuracy.high, c.macro_f1.low].iter().all(|it| it.is_nan()));
        assert_eq!((empty.value.as_deref(), empty.n_images), (Some(""), 1));
        assert_eq!(it.gap.unwrap().highest, "A");
    }

    #[test]
    fn one_value_or_none_has_no_gap() {
        let it = report(&["A"], &TWO_SITES[..4]);
        assert_eq!((it.values.len(), it.gap), (1, None));
        let it = report(&[], &[]);
        assert_eq!((it.values.len(), it.gap), (0, None));
        let it = report(&["A"], &[]);
        assert_eq!((it.values.len(), it.gap), (0, None));
        // Two values of equal accuracy have a gap of 0.
        let equal = [(0, 0, 0, 0), (0, 0, 1, 0), (0, 0, 2, 1), (0, 0, 3, 1)];
        let gap = report(&["A", "B"], &equal).gap.unwrap();
        assert_eq!((gap.lowest.as_str(), gap.highest.as_str()), ("A", "B"));
        assert_eq!((gap.difference.value, gap.difference.low), (0.0, 0.0));
    }

    #[test]
    fn of_a_thousand_values_the_ten_most_frequent_are_scored() {
        let names: Vec<String> = (0..1000).map(|it| format!("{it:03}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // Each value has an image; ten have two, of two groups.
        let value = |it: usize| if it < 1000 { it } else { 100 * (it - 1000) + 7 };
        let images: Vec<Image> =
            (0..1010).map(|it| (it % 2, it % 2, it, value(it) as u32)).collect();
        let it = report(&names, &images);
        assert_eq!(it.values.len(), 11);
        for (row, at) in it.values[..10].iter().zip(0..) {
            assert_eq!(row.value.as_deref(), Some(format!("{:03}", 100 * at + 7).as_str()));
            assert_eq!((row.n_images, row.n_groups), (2, 2));
        }
        let others = &it.values[10];
        assert_eq!((others.value.as_deref(), others.n_values), (None, 990));
        assert_eq!((others.n_images, others.n_groups, others.accuracy.value), (990, 990, 1.0));
        assert_eq!(it.gap.unwrap().difference.value, 0.0);
    }
}
