//! Rankings: for each class, all images in descending order of its probability.
//!
//! One class against the rest: an image of the class is a positive, any other a negative. Scores such as the
//! area under the ROC curve depend on how positives and negatives alternate in the order, and not on sums over
//! images. So the probabilities are kept until all are there (8 bytes each), and each class is then ranked
//! once (4 bytes for each image); a bootstrap resample only changes how often the images of a group count, and
//! is one pass over the ranks. Equal probabilities are one step of a ranking, as in scikit-learn.
//!
//! 20,000 images of 97 classes are 15 MiB, and 22 MiB while they are ranked; 1,000,000 of 97 classes 1.1 GiB.
//! 1,000,000 of 1,000 classes would be 11 GiB, and are refused ([`MOST`]).

use rayon::prelude::*;

use crate::Prediction;

/// A score that is a function of rankings: the mean over classes of an area under a curve that grows step by
/// step down the ranking. Classes whose area is NaN have none, and are left out.
pub trait Ranking: Sync {
    /// Returns the area that a step adds.
    ///
    /// - `above`: the images that are ranked above the step.
    /// - `step`: those of the step, whose order is unknown or does not matter: at least one.
    fn area(&self, above: Counts, step: Counts) -> f64;

    /// Returns the score of a class from the whole area; NaN if the class has none.
    fn of(&self, area: f64, all: Counts) -> f64;
}

/// Numbers of images.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Those of the class.
    pub positives: f64,
    /// The others.
    pub negatives: f64,
}

/// The number of resamples scored in one pass.
pub(crate) const LANES: usize = 8;

/// The largest number of probabilities that is ranked: 2.2 GiB while they are.
pub(crate) const MOST: usize = 200_000_000;

/// Returns why so many images and classes cannot be ranked, if so.
pub(crate) fn too_many(n_images: usize, n_classes: usize) -> Option<String> {
    (n_images.saturating_mul(n_classes) > MOST).then(|| {
        format!(
            "it ranks all images for every class, with at most {MOST} probabilities in memory, but {n_images} \
             images of {n_classes} classes are more: choose a metric that needs sums only, such as `log_loss` \
             or `balanced_accuracy`"
        )
    })
}

/// The images to rank.
pub(crate) struct Kept {
    n_classes: usize,
    /// `[image][class]`.
    probabilities: Vec<f64>,
    /// The true class of each image.
    classes: Vec<u32>,
}

/// The images in descending order of one class's probability.
///
/// An entry holds the position of the image's group, then a bit for a positive, then one for the end of a step.
/// Negatives between two steps with positives are a step of their own, whatever their probabilities: their
/// order matters to no score.
pub(crate) struct Ranks(Vec<u32>);

impl Kept {
    pub(crate) fn new(n_classes: usize) -> Kept {
        Kept { n_classes, probabilities: Vec::new(), classes: Vec::new() }
    }

    /// Adds an image.
    ///
    /// # Panics
    /// If the number of its class is 2³² or more, or it has not a probability for each class.
    pub(crate) fn add(&mut self, it: &Prediction<'_>) {
        assert_eq!(it.probabilities.len(), self.n_classes, "each class has a probability");
        self.probabilities.extend_from_slice(it.probabilities);
        self.classes.push(u32::try_from(it.class).expect("class numbers are below 2^32"));
    }

    /// Returns the score of all images.
    pub(crate) fn score(&self, ranking: &dyn Ranking) -> f64 {
        let one_group = vec![0; self.classes.len()];
        let of_class = |class| self.rank(class, &one_group).areas(ranking, &[[1; LANES]])[0];
        let all: Vec<f64> = (0..self.n_classes).into_par_iter().map(of_class).collect();
        mean(all.into_iter())
    }

    /// Ranks the images for each class.
    ///
    /// - `groups`: the position of each image's group.
    ///
    /// # Panics
    /// If there are 2³⁰ images or more.
    pub(crate) fn ranks(&self, groups: &[u32]) -> Vec<Ranks> {
        assert!(groups.len() < 1 << 30, "fewer than 2^30 images are ranked");
        (0..self.n_classes).into_par_iter().map(|class| self.rank(class, groups)).collect()
    }

    fn rank(&self, class: usize, groups: &[u32]) -> Ranks {
        let own = self.probabilities.iter().skip(class).step_by(self.n_classes);
        let mut order: Vec<(f64, u32, bool)> = own
            .zip(groups)
            .zip(&self.classes)
            .map(|((&p, &group), &of)| (p, group, of as usize == class))
            .collect();
        order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let mut ranks: Vec<u32> = Vec::with_capacity(order.len());
        for tied in order.chunk_by(|a, b| a.0 == b.0) {
            let has_positive = tied.iter().any(|it| it.2);
            if let Some(above) = ranks.last_mut().filter(|_| has_positive) {
                *above |= 1;
            }
            ranks.extend(tied.iter().map(|it| (it.1 << 2) | (u32::from(it.2) << 1)));
            if let Some(last) = ranks.last_mut().filter(|_| has_positive) {
                *last |= 1;
            }
        }
        if let Some(last) = ranks.last_mut() {
            *last |= 1;
        }
        Ranks(ranks)
    }
}

impl Ranks {
    /// Returns the score of the class in each of several resamples.
    ///
    /// - `times`: how often each group is in each resample.
    fn areas(&self, ranking: &dyn Ranking, times: &[[u8; LANES]]) -> [f64; LANES] {
        let mut areas = [0.0; LANES];
        let mut above = [Counts::default(); LANES];
        // Of negatives, then of positives. Sums of f64 need no check for overflow, so lanes add up at once.
        let mut step = [[0.0; LANES]; 2];
        for &it in &self.0 {
            let to = &mut step[((it >> 1) & 1) as usize];
            to.iter_mut().zip(times[(it >> 2) as usize]).for_each(|(to, n)| *to += f64::from(n));
            if it & 1 == 0 {
                continue;
            }
            for (lane, (area, above)) in areas.iter_mut().zip(&mut above).enumerate() {
                let [negatives, positives] = step.map(|it| it[lane]);
                if negatives + positives == 0.0 {
                    // None of these groups is in the resample.
                    continue;
                }
                *area += ranking.area(*above, Counts { positives, negatives });
                above.positives += positives;
                above.negatives += negatives;
            }
            step = [[0.0; LANES]; 2];
        }
        std::array::from_fn(|lane| ranking.of(areas[lane], above[lane]))
    }
}

/// Returns the scores of at most [`LANES`] resamples, each given by how often each group is in it.
///
/// - `ranks`: of each class.
pub(crate) fn scores(
    ranking: &dyn Ranking,
    ranks: &[Ranks],
    n_groups: usize,
    resamples: &[Vec<u8>],
) -> Vec<f64> {
    let count = |group: usize, lane: usize| resamples.get(lane).map_or(0, |it| it[group]);
    let times: Vec<[u8; LANES]> =
        (0..n_groups).map(|group| std::array::from_fn(|lane| count(group, lane))).collect();
    let of_classes: Vec<[f64; LANES]> = ranks.iter().map(|it| it.areas(ranking, &times)).collect();
    (0..resamples.len()).map(|lane| mean(of_classes.iter().map(|it| it[lane]))).collect()
}

/// The mean of the scores that are not NaN; NaN if all are.
fn mean(scores: impl Iterator<Item = f64>) -> f64 {
    let (n, sum) =
        scores.filter(|it| !it.is_nan()).fold((0.0, 0.0), |(n, sum), it| (n + 1.0, sum + it));
    sum / n
}

#[cfg(test)]
mod tests {
    use super::{Kept, MOST, too_many};
    use crate::Prediction;

    /// The entries of a class as (group, is positive, ends a step).
    fn entries(p: &[f64], classes: &[usize]) -> Vec<(u32, bool, bool)> {
        let mut kept = Kept::new(2);
        for (&p, &class) in p.iter().zip(classes) {
            kept.add(&Prediction {
                probabilities: &[1.0 - p, p],
                predicted: usize::from(p > 0.5),
                class,
                group: 0,
                number: None,
                true_number: None,
            });
        }
        let groups: Vec<u32> = (0..).take(p.len()).collect();
        let ranks = kept.ranks(&groups).remove(1).0;
        ranks.iter().map(|it| (it >> 2, (it >> 1) & 1 == 1, it & 1 == 1)).collect()
    }

    #[test]
    fn a_step_ends_around_ties_with_a_positive_and_at_the_end() {
        // In order: two negatives; a positive and a negative that tie; a positive; a negative.
        let p = [0.9, 0.3, 0.5, 0.8, 0.4, 0.5];
        let classes = [0, 0, 1, 0, 1, 0];
        let mut got = entries(&p, &classes);
        got[2..4].sort_unstable();
        let (n, p) = (false, true);
        let want =
            [(0, n, false), (3, n, true), (2, p, false), (5, n, true), (4, p, true), (1, n, true)];
        // Which of the two that tie comes first does not matter, only that the second ends the step.
        let is_same = |a: &(u32, bool, bool), b: &(u32, bool, bool)| (a.0, a.1) == (b.0, b.1);
        assert!(got.iter().zip(&want).all(|(a, b)| is_same(a, b)), "{got:?}");
        assert_eq!(got.iter().filter(|it| it.2).count(), 4, "{got:?}");
        assert!(entries(&[], &[]).is_empty());
        assert_eq!(entries(&[0.2], &[0]), [(0, n, true)]);
    }

    #[test]
    fn zeros_of_both_signs_tie() {
        let ends = entries(&[0.0, -0.0, 0.0], &[1, 0, 1]);
        assert_eq!(ends.iter().filter(|it| it.2).count(), 1, "{ends:?}");
    }

    #[test]
    fn too_many_images_and_classes_are_refused() {
        assert_eq!(too_many(20_000, 97), None);
        assert_eq!(too_many(MOST, 1), None);
        let message = too_many(1_000_000, 1000).unwrap();
        assert!(message.contains("1000000 images of 1000 classes"), "{message}");
        assert!(too_many(usize::MAX, 2).is_some());
    }
}
