//! Precision, recall and F1 of each class, with intervals bootstrapped over groups.
//!
//! All classes of a scope are computed from the same pass over a resample: its cells (true class, predicted class)
//! of each group, weighted by how often the group is in it. A resample in which a quotient is undefined is left out of
//! its interval.

use std::collections::BTreeMap;

use base::task::Scope;
use metrics::{Bootstrapped, Interval, ScopeReport};

use crate::{
    collector::Collected,
    contents::{ClassRow, ClassTable, Estimate, MOST_CLASSES},
};

/// The counts of a class: correct, of it, and predicted as it.
type Counts = [f64; 3];

impl Collected {
    /// Returns the classes of each scope.
    pub fn classes(&self) -> Vec<ClassTable> {
        self.report.scopes.iter().map(|it| self.table(it)).collect()
    }

    fn table(&self, scope: &ScopeReport) -> ClassTable {
        let n_classes = scope.classes.len();
        let worst = scope.confusion.worst();
        let n_absent = n_classes - worst.len();
        let shown: Vec<usize> = match n_classes > MOST_CLASSES {
            true => worst.into_iter().take(MOST_CLASSES).collect(),
            false => (0..n_classes).collect(),
        };
        let cells = self.cells(scope.scope);
        let mut totals = vec![[0.0; 3]; n_classes];
        cells.iter().for_each(|it| it.add(1.0, &mut totals));
        let mut resampled: Vec<[Vec<f64>; 3]> = vec![Default::default(); shown.len()];
        let mut sums = vec![[0.0; 3]; n_classes];
        self.resamples.each(|times| {
            sums.fill([0.0; 3]);
            for it in &cells {
                it.add(times.get(it.group).copied().map_or(0.0, f64::from), &mut sums);
            }
            for (all, &class) in resampled.iter_mut().zip(&shown) {
                all.iter_mut().zip(scores(sums[class])).for_each(|(all, it)| all.push(it));
            }
        });
        let mut n_groups = vec![0; n_classes];
        let mut of: Vec<(usize, usize)> = cells.iter().map(|it| (it.actual, it.group)).collect();
        of.sort_unstable();
        of.dedup();
        of.iter().for_each(|it| n_groups[it.0] += 1);
        let row = |(&class, resampled): (&usize, [Vec<f64>; 3])| {
            let mut estimates = scores(totals[class]).into_iter().zip(resampled).map(|it| {
                let interval = Bootstrapped { value: it.0, resamples: it.1 }.interval();
                self.of_class(interval, n_groups[class])
            });
            let mut next = || estimates.next().unwrap_or_default();
            let [precision, recall, f1] = [next(), next(), next()];
            ClassRow {
                name: scope.classes[class].clone(),
                precision,
                recall,
                f1,
                n_images: scope.confusion.class(class).support,
                n_groups: n_groups[class],
            }
        };
        let rows = shown.iter().zip(resampled).map(row).collect();
        ClassTable { name: scope.name.clone(), rows, n_classes, n_absent }
    }

    /// Resamples with a single group of a class say nothing about other groups of it.
    fn of_class(&self, it: Interval, n_groups: usize) -> Estimate {
        if n_groups < 2 { Estimate::of(it.value) } else { self.estimate(it) }
    }

    /// Returns the images by group, true class and predicted class of a scope.
    fn cells(&self, scope: Scope) -> Vec<Cell> {
        let mut counts: BTreeMap<[usize; 3], usize> = BTreeMap::new();
        for it in &self.records {
            let [actual, predicted] =
                [it.class, it.predicted].map(|it| self.task.project(it, scope));
            *counts.entry([it.group, actual, predicted]).or_default() += 1;
        }
        let cell = |([group, actual, predicted], n): ([usize; 3], usize)| Cell {
            group,
            actual,
            predicted,
            n: n as f64,
        };
        counts.into_iter().map(cell).collect()
    }
}

/// The images of a group with a true and a predicted class.
struct Cell {
    group: usize,
    actual: usize,
    predicted: usize,
    n: f64,
}

impl Cell {
    fn add(&self, times: f64, sums: &mut [Counts]) {
        let n = times * self.n;
        if self.actual == self.predicted {
            sums[self.actual][0] += n;
        }
        sums[self.actual][1] += n;
        sums[self.predicted][2] += n;
    }
}

/// Returns precision, recall and F1; NaN where the denominator is 0.
fn scores([hits, actual, predicted]: Counts) -> [f64; 3] {
    let quotient = |of: f64, by: f64| if by == 0.0 { f64::NAN } else { of / by };
    [quotient(hits, predicted), quotient(hits, actual), quotient(2.0 * hits, actual + predicted)]
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};

    use crate::testing::{collected, two_factors};

    #[test]
    fn each_class_has_its_scores_with_intervals_over_groups() {
        let tables = collected(&two_factors()).classes();
        assert_eq!(tables.len(), 3);
        // Of the 4 images of class 0 two are right, and nothing else is predicted as it.
        let row = &tables[0].rows[0];
        assert_eq!((row.name.as_str(), row.n_images, row.n_groups), ("<script> s", 4, 2));
        assert_eq!(row.precision.value, Some(1.0));
        assert_eq!(row.recall.value, Some(0.5));
        assert!((row.f1.value.unwrap() - 2.0 / 3.0).abs() < 1e-12);
        // Both groups of the class have one of two right: so does every resample with one of them.
        assert_eq!((row.recall.low, row.recall.high), (Some(0.5), Some(0.5)));
        // Class 1 has no images, and one prediction: no recall.
        let row = &tables[0].rows[1];
        assert_eq!((row.precision.value, row.recall.value, row.n_images), (Some(0.0), None, 0));
        // One group has the images of class 2: no interval.
        let row = &tables[0].rows[2];
        assert_eq!((row.f1.value, row.f1.low, row.n_groups), (Some(1.0), None, 1));
    }

    #[test]
    fn of_many_classes_the_worst_are_shown() {
        let levels: Vec<String> = (0..1000).map(|it| format!("class {it}")).collect();
        let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
        let task = Task::new(vec![Factor::new("class", &levels)]);
        let images = (0..990).map(|it| (it, if it == 700 { 701 } else { it }, it % 50)).collect();
        let it = collected(&(task, images));
        let table = &it.classes()[0];
        assert_eq!((table.rows.len(), table.n_classes, table.n_absent), (40, 1000, 10));
        assert_eq!(table.rows[0].name, "class 700");
        let matrix = &it.confusions()[0];
        assert!(matrix.counts.is_empty());
        assert_eq!((matrix.pairs.len(), matrix.pairs[0].of_errors), (1, 1.0));
        assert_eq!(it.reliability()[0].classes.len(), 40);
    }
}
