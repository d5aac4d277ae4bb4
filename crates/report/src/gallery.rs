//! Which images are shown: a bounded number of positions, so that the images are read afterwards.
//!
//! Of equal ones the first come first.

use std::{cmp::Ordering, collections::HashSet};

use base::task::Scope;

use crate::{
    collector::{Collected, Record, pair},
    contents::{PairCount, Shown},
};

/// How many images are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Top losses.
    pub top_losses: usize,
    /// Confused pairs.
    pub pairs: usize,
    /// Images of each side of a pair.
    pub of_pair: usize,
    /// Least certain ones.
    pub least_certain: usize,
    /// Likely label errors.
    pub labels: usize,
    /// Maps of right ones, and as many of wrong ones.
    pub maps: usize,
}

impl Limits {
    /// Returns the limits of each of `n` runs on one page.
    pub fn of(n: usize) -> Limits {
        let share = |most: usize| (most / n.max(1)).max(2);
        Limits {
            top_losses: share(24),
            pairs: share(6),
            of_pair: 3,
            least_certain: share(12),
            labels: share(24),
            maps: share(6),
        }
    }
}

/// Positions of images in [`Collected::records`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gallery {
    /// Those with the lowest probability of the true class.
    pub top_losses: Vec<usize>,
    /// The most confused pairs.
    pub pairs: Vec<GalleryPair>,
    /// Those with the lowest probability of the predicted class.
    pub least_certain: Vec<usize>,
    /// Right ones to explain.
    pub right: Vec<usize>,
    /// Wrong ones to explain.
    pub wrong: Vec<usize>,
}

/// A pair of confused classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GalleryPair {
    /// The confusion.
    pub pair: PairCount,
    /// Images that are confused, the most confident of each group first.
    pub wrong: Vec<usize>,
    /// Right images of the class that is predicted instead, the most confident of each group first.
    pub right: Vec<usize>,
}

impl Gallery {
    /// Returns the images to explain, right and wrong ones in turn, so that those that are made in a limited time are
    /// of both.
    pub fn explained(&self) -> Vec<usize> {
        let n = self.right.len().max(self.wrong.len());
        let both = |at: usize| [&self.right, &self.wrong].map(|it| it.get(at).copied());
        (0..n).flat_map(both).flatten().collect()
    }
}

impl Collected {
    /// Chooses the images.
    ///
    /// Of those to explain, the most confident of each predicted class come first, so that the classes differ.
    pub fn gallery(&self, limits: Limits) -> Gallery {
        let all = || 0..self.records.len();
        let wrong: Vec<usize> = all().filter(|&it| !self.records[it].is_correct()).collect();
        let right: Vec<usize> = all().filter(|&it| self.records[it].is_correct()).collect();
        let joint = self.report.joint();
        let pairs = joint.confusion.confusions().into_iter().take(limits.pairs).map(|of| {
            let (actual, predicted, _) = of;
            let is_wrong = |it: &&usize| {
                let it = &self.records[**it];
                (it.class, it.predicted) == (actual, predicted)
            };
            let is_right = |it: &&usize| self.records[**it].class == predicted;
            let wrong = wrong.iter().filter(is_wrong).copied();
            let right = right.iter().filter(is_right).copied();
            GalleryPair {
                pair: pair(joint, of),
                wrong: self.various(wrong.collect(), limits.of_pair, |it| it.group),
                right: self.various(right.collect(), limits.of_pair, |it| it.group),
            }
        });
        Gallery {
            pairs: pairs.collect(),
            top_losses: self.lowest(all().collect(), limits.top_losses, |it| it.of_actual),
            least_certain: self.lowest(all().collect(), limits.least_certain, |it| it.probability),
            right: self.various(right, limits.maps, |it| it.predicted),
            wrong: self.various(wrong, limits.maps, |it| it.predicted),
        }
    }

    /// Returns the `n` images with the lowest `key`, in its order.
    fn lowest(&self, mut of: Vec<usize>, n: usize, key: impl Fn(&Record) -> f64) -> Vec<usize> {
        let by = |&a: &usize, &b: &usize| -> Ordering {
            key(&self.records[a]).total_cmp(&key(&self.records[b])).then(a.cmp(&b))
        };
        if n > 0 && of.len() > n {
            of.select_nth_unstable_by(n - 1, by);
        }
        of.truncate(n);
        of.sort_unstable_by(by);
        of
    }

    /// Returns the `n` most confident images, first one of each `kind`.
    fn various(&self, of: Vec<usize>, n: usize, kind: impl Fn(&Record) -> usize) -> Vec<usize> {
        let n_all = of.len();
        let sorted = self.lowest(of, n_all, |it| -it.probability);
        let mut taken = HashSet::new();
        let is_first = |it: &usize| taken.insert(kind(&self.records[*it]));
        let (first, others): (Vec<usize>, Vec<usize>) = sorted.into_iter().partition(is_first);
        first.into_iter().chain(others).take(n).collect()
    }

    /// Returns an image as it is shown, without its thumbnail.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn shown(&self, at: usize, name: &str) -> Shown {
        let it = &self.records[at];
        let class = |class| self.task.class_name(class, Scope::Joint);
        Shown {
            name: name.to_owned(),
            actual: class(it.class),
            predicted: class(it.predicted),
            is_correct: it.is_correct(),
            probability: it.probability,
            probability_of_actual: it.of_actual,
            loss: (it.of_actual > 0.0).then(|| -it.of_actual.ln()),
            image: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};
    use metrics::Prediction;

    use super::Limits;
    use crate::{
        collector::{Collected, Collector},
        testing::{collected, two_factors},
    };

    /// Images of the class of the first number, with this probability of class a.
    fn of(images: &[(usize, f64)]) -> Collected {
        let task = Task::new(vec![Factor::new("class", &["a", "b"])]);
        let mut collector = Collector::new(&task);
        for (group, &(class, p)) in images.iter().enumerate() {
            let probabilities = &[p, 1.0 - p];
            let predicted = usize::from(p < 0.5);
            let (number, true_number) = (None, None);
            collector.add(&Prediction {
                probabilities,
                predicted,
                class,
                group,
                number,
                true_number,
            });
        }
        collector.finish()
    }

    #[test]
    fn images_are_chosen_by_their_probabilities() {
        let it = of(&[(0, 0.9), (0, 0.1), (0, 0.6), (1, 0.2), (1, 0.0), (0, 0.0), (1, 0.7)]);
        let limits =
            Limits { top_losses: 3, pairs: 1, of_pair: 1, least_certain: 2, labels: 0, maps: 2 };
        let gallery = it.gallery(limits);
        // The true class has 0, 0.1 and 0.3.
        assert_eq!(gallery.top_losses, [5, 1, 6]);
        assert_eq!(gallery.least_certain, [2, 6]);
        // Two images of a are predicted as b, of which the one with probability 1 is shown; of b the right one with 1.
        assert_eq!(gallery.pairs.len(), 1);
        assert_eq!((gallery.pairs[0].pair.n_images, gallery.pairs[0].pair.of_class), (2, 0.5));
        assert_eq!(
            (gallery.pairs[0].wrong.as_slice(), gallery.pairs[0].right.as_slice()),
            (&[5][..], &[4][..])
        );
        // One of each predicted class.
        assert_eq!((&gallery.right[..], &gallery.wrong[..]), (&[4, 0][..], &[5, 6][..]));
        // In turn, the others after the fewer.
        assert_eq!(gallery.explained(), [4, 5, 0, 6]);
        let fewer = super::Gallery { right: vec![4], ..gallery };
        assert_eq!(fewer.explained(), [4, 5, 6]);
        let shown = it.shown(5, "가,<b>.jpg");
        assert_eq!(
            (shown.name.as_str(), shown.loss, shown.is_correct),
            ("가,<b>.jpg", None, false)
        );
        assert_eq!(
            (shown.actual.as_str(), shown.predicted.as_str(), shown.probability),
            ("a", "b", 1.0)
        );
        assert!((it.shown(1, "").loss.unwrap() - 10.0_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn a_pair_shows_images_of_several_groups() {
        // All are equally certain: of group 5 the first comes first, and the other one last.
        let images = vec![(0, 1, 0), (1, 1, 5), (1, 1, 5), (1, 1, 6), (1, 1, 7)];
        let it = collected(&(two_factors().0, images));
        assert_eq!(it.gallery(Limits::of(1)).pairs[0].right, [1, 3, 4]);
        let of_pair = 4;
        let gallery = it.gallery(Limits { of_pair, ..Limits::of(1) });
        assert_eq!(gallery.pairs[0].right, [1, 3, 4, 2]);
    }

    #[test]
    fn no_images_and_few_images_are_no_error() {
        let none = of(&[]).gallery(Limits::of(1));
        assert_eq!(none, super::Gallery::default());
        let few = of(&[(0, 0.9)]).gallery(Limits::of(100));
        assert_eq!((few.top_losses, few.wrong), (vec![0], vec![]));
    }
}
