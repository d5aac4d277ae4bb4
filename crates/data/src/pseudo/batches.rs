//! The pseudo-labelled images of an epoch: how many there are, and where.
//!
//! Of a batch of B images at most floor(share·B) are pseudo-labelled, each image at most once in an epoch. An epoch
//! is the sampler's images and as many pseudo-labelled ones as there are, or as fit. Which ones is random; they are
//! spread evenly over the batches, and over the rows of a batch at random. The sampler's own order stays the same.

use base::Rng;
use rand::{Rng as _, seq::SliceRandom as _};

use crate::Manifest;

/// The pseudo-labelled images that are added to the batches of a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PseudoImages {
    n: usize,
    /// The maximum share of a batch.
    share: f64,
}

impl PseudoImages {
    /// Returns those among the images that a phase is trained on.
    ///
    /// - `share`: at most of a batch.
    ///
    /// # Errors
    /// A share of a batch that is less than an image.
    pub fn of(
        share: f64,
        manifest: &Manifest,
        images: &[usize],
        batch_size: usize,
    ) -> Result<PseudoImages, String> {
        let n = images.iter().filter(|&&it| manifest.pseudo.contains(it)).count();
        let these = PseudoImages { n, share };
        if n > 0 && these.most_in(batch_size) == 0 {
            return Err(format!(
                "a `share` of {share} of a batch of {batch_size} is less than an image: raise it, or \
                 `train.batch_size`"
            ));
        }
        Ok(these)
    }

    /// Returns their number.
    pub fn n(self) -> usize {
        self.n
    }

    /// Returns the maximum number in a batch.
    fn most_in(self, batch_size: usize) -> usize {
        // A share such as 0.3 of 10 is not rounded down to 2.
        (self.share * batch_size as f64 + 1e-9).floor() as usize
    }

    /// Returns the maximum number in the first batches of an epoch.
    ///
    /// - `n`: the images of these batches.
    fn most(self, n: usize, batch_size: usize) -> usize {
        n / batch_size * self.most_in(batch_size) + self.most_in(n % batch_size)
    }

    /// Returns the number in an epoch.
    ///
    /// - `n_sampled`: the images of the sampler.
    pub fn n_in(self, n_sampled: usize, batch_size: usize) -> usize {
        if self.n == 0 {
            return 0;
        }
        // Of the sum, at most a share: the number that follows from the sampled images is an upper limit.
        let limit = (self.share / (1.0 - self.share) * n_sampled as f64).ceil();
        let mut n = self.n.min(limit as usize);
        loop {
            match self.most(n_sampled + n, batch_size) {
                most if most >= n => return n,
                most => n = most,
            }
        }
    }

    /// Adds them to the order of an epoch.
    ///
    /// - `order`: the images of the sampler.
    /// - `first`: the position of the first pseudo-labelled image; the others follow.
    pub fn add_to(
        self,
        order: Vec<usize>,
        first: usize,
        batch_size: usize,
        rng: &mut Rng,
    ) -> Vec<usize> {
        let n = self.n_in(order.len(), batch_size);
        if n == 0 {
            return order;
        }
        let total = order.len() + n;
        let mut chosen: Vec<usize> = (first..first + self.n).collect();
        let mut chosen = chosen.partial_shuffle(rng, n).0.iter().copied();
        let (mut sampled, mut all) = (order.into_iter(), Vec::with_capacity(total));
        // The share of the epoch's places for them that is used.
        let used = |until: usize| {
            let most = self.most(total, batch_size);
            (n as u128 * self.most(until, batch_size) as u128 / most as u128) as usize
        };
        for begin in (0..total).step_by(batch_size) {
            let end = total.min(begin + batch_size);
            let n_chosen = used(end) - used(begin);
            let mut batch: Vec<usize> = sampled.by_ref().take(end - begin - n_chosen).collect();
            for it in chosen.by_ref().take(n_chosen) {
                batch.insert(rng.random_range(0..=batch.len()), it);
            }
            all.extend(batch);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::PseudoImages;

    #[test]
    fn each_batch_has_at_most_the_share() {
        for share in [0.05, 0.3, 0.5, 0.9] {
            for batch_size in [20, 32, 7] {
                for (n_sampled, n) in [(1, 3), (100, 5), (101, 1000), (64, 27), (500, 83)] {
                    let these = PseudoImages { n, share };
                    let rng = &mut Seed(1).stream("pseudo/0");
                    let order: Vec<usize> = (0..n_sampled).rev().collect();
                    let all = these.add_to(order.clone(), 10_000, batch_size, rng);
                    let is_added = |it: &usize| *it >= 10_000;
                    for batch in all.chunks(batch_size) {
                        let n_added = batch.iter().filter(|it| is_added(it)).count();
                        assert!(n_added as f64 <= share * batch.len() as f64 + 1e-9, "{batch:?}");
                    }
                    let (mut added, sampled): (Vec<usize>, Vec<usize>) =
                        all.iter().copied().partition(is_added);
                    assert_eq!(sampled, order);
                    assert_eq!(added.len(), these.n_in(n_sampled, batch_size));
                    added.sort_unstable();
                    added.dedup();
                    assert_eq!(all.len(), n_sampled + added.len(), "each once");
                    assert!(added.iter().all(|it| *it < 10_000 + n));
                }
            }
        }
    }

    #[test]
    fn an_epoch_has_as_many_as_there_are_or_as_fit() {
        let n_in =
            |n, share, n_sampled, batch_size| PseudoImages { n, share }.n_in(n_sampled, batch_size);
        // 3 of 10 images of each batch: 70 sampled images fill 10 batches with 30 of them.
        assert_eq!(n_in(1000, 0.3, 70, 10), 30);
        assert_eq!(n_in(12, 0.3, 70, 10), 12);
        assert_eq!(n_in(0, 0.3, 70, 10), 0);
        // Half of a batch of 3 is one image, and half of the last batch, of one image, is none: 4 sampled images
        // and 2 of these are two batches.
        assert_eq!(n_in(1000, 0.5, 4, 3), 2);
        assert_eq!(n_in(1000, 0.5, 1, 3), 1);
        assert_eq!(n_in(1000, 0.3, 1, 10), 0);
        // Spread evenly: one in each of four batches of 10.
        let order = (0..36).collect();
        let all =
            PseudoImages { n: 4, share: 0.3 }.add_to(order, 100, 10, &mut Seed(0).stream("a"));
        let counts: Vec<usize> =
            all.chunks(10).map(|it| it.iter().filter(|it| **it >= 100).count()).collect();
        assert_eq!(counts, [1, 1, 1, 1]);
    }
}
