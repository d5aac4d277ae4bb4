//! How evenly folds divide the images of each class.
//!
//! ```text
//! deviation of fold f:  max over c of |n_fc - N_c / k|
//! ```
//!
//! with n_fc images of class c in fold f, N_c in all and k folds.

use std::collections::HashSet;

use super::Folds;
use crate::manifest::Manifest;

/// How evenly folds divide the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    /// The folds.
    pub folds: Vec<FoldBalance>,
    /// The classes that are in fewer groups than a repeat has folds, with the number of their groups: in some
    /// folds they are not held out.
    pub rare: Vec<(usize, usize)>,
}

/// What a fold holds out.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldBalance {
    /// The number of groups.
    pub n_groups: usize,
    /// The number of images.
    pub n_images: usize,
    /// The largest deviation of a class from an equal share of its images, in images.
    pub deviation: f64,
    /// The class that deviates most.
    pub class: usize,
}

impl Balance {
    /// Returns the balance of the folds of a manifest.
    pub fn of(folds: &Folds, manifest: &Manifest) -> Balance {
        let n_classes = manifest.task.n_classes();
        let mut found = Vec::with_capacity(folds.n());
        let mut groups = vec![HashSet::new(); n_classes];
        for repeat in 0..folds.n_repeats() {
            let range = folds.of_repeat(repeat);
            let mut of_fold = vec![HashSet::new(); range.len()];
            let mut counts = vec![vec![0_usize; n_classes]; range.len()];
            let mut all = vec![0_usize; n_classes];
            for (idx, it) in manifest.examples.iter().enumerate() {
                if let Some(fold) = folds.holding_out(manifest, repeat, idx) {
                    counts[fold - range.start][it.class] += 1;
                    of_fold[fold - range.start].insert(it.group);
                    all[it.class] += 1;
                    groups[it.class].insert(it.group);
                }
            }
            for (counts, groups) in counts.iter().zip(of_fold) {
                let mut it = FoldBalance {
                    n_groups: groups.len(),
                    n_images: counts.iter().sum(),
                    deviation: 0.0,
                    class: 0,
                };
                for (class, (&n, &all)) in counts.iter().zip(&all).enumerate() {
                    let deviation = (n as f64 - all as f64 / range.len() as f64).abs();
                    if deviation > it.deviation {
                        (it.deviation, it.class) = (deviation, class);
                    }
                }
                found.push(it);
            }
        }
        let n_folds = folds.of_repeat(0).len();
        let rare = groups.iter().map(HashSet::len).enumerate();
        let rare = rare.filter(|it| it.1 > 0 && it.1 < n_folds).collect();
        Balance { folds: found, rare }
    }

    /// Returns the fold with the largest deviation.
    pub fn worst(&self) -> usize {
        let of = |it: &usize| self.folds[*it].deviation;
        (0..self.folds.len()).rev().max_by(|a, b| of(a).total_cmp(&of(b))).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use base::{Seed, Task, task::Factor};

    use super::{super::SplitConfig, Balance};
    use crate::manifest::{Content, Example, Manifest, Use};

    /// A group for each list of classes, with an image of each.
    fn data(groups: &[&[usize]]) -> Manifest {
        let task = Task::new(vec![Factor::new("class", &["ant", "bee"])]);
        let example = |group: usize, idx: usize, class: usize| Example {
            name: format!("{group}/{idx}"),
            content: Content::Memory([].into()),
            group,
            class,
            numbers: Vec::new(),
            attributes: Vec::new(),
            usage: Use::Pool,
            weight: 1.0,
            hash: None,
        };
        let of_group = |(group, classes): (usize, &&[usize])| -> Vec<Example> {
            classes.iter().enumerate().map(|(idx, &class)| example(group, idx, class)).collect()
        };
        let examples = groups.iter().enumerate().flat_map(of_group).collect();
        let names = (0..groups.len()).map(|it| format!("group {it}")).collect();
        Manifest::new(task, names, examples)
    }

    #[test]
    fn deviations_and_rare_classes_are_counted() {
        // 4 ants and 2 bees in three folds: equal shares are 4/3 and 2/3.
        let manifest = data(&[&[0, 0], &[0, 1], &[0, 1]]);
        let split: SplitConfig = toml::from_str("kind = \"leave_one_group_out\"").unwrap();
        let folds = split.folds(&manifest, Seed(0)).unwrap();
        let balance = Balance::of(&folds, &manifest);
        let of = |it: usize| {
            let it = &balance.folds[it];
            (it.n_groups, it.n_images, (it.deviation * 3.0).round() as usize)
        };
        assert_eq!([of(0), of(1), of(2)], [(1, 2, 2), (1, 2, 1), (1, 2, 1)]);
        // Bees are in two groups of three folds.
        assert_eq!(balance.rare, [(1, 2)]);
        assert_eq!(balance.worst(), 0);
    }

    #[test]
    fn a_group_without_images_left_is_no_fold() {
        let mut manifest = data(&[&[0], &[1], &[0], &[1]]);
        manifest.examples.retain(|it| it.group != 1);
        let split: SplitConfig = toml::from_str("kind = \"leave_one_group_out\"").unwrap();
        let sides = split.sides(&manifest, Seed(0)).unwrap();
        let valid: Vec<&[usize]> = sides.iter().map(|it| it.valid.as_slice()).collect();
        assert_eq!(valid, [[0], [1], [2]]);
        let folds = split.folds(&manifest, Seed(0)).unwrap();
        assert_eq!((folds.n(), folds.n_repeats(), folds.of_repeat(0)), (3, 1, 0..3));
        assert_eq!(folds.holding_out(&manifest, 0, 2), Some(2));
    }
}
