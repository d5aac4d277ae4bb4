//! Confidence intervals of scores: the cluster bootstrap over groups.
//!
//! Errors on images of one group are correlated, so groups are resampled with replacement, each with all
//! their images; the interval contains 95 % of the scores of the resamples.
//!
//! Two sides are compared on the same resamples (paired): groups that are hard for one are hard for the other,
//! so the interval of the difference is narrower than that of either score. "B is better with probability p"
//! is the share of resamples in which it is; ties count half.
//!
//! A resample may have no score (NaN), such as the mean error of a number that none of its images has: it is left
//! out.
//!
//! Efron, "Bootstrap Methods", 1979: the percentile interval, over clusters.

use base::{Rng, Seed};
use rand::Rng as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Metric, group_sums::Groups, ranking::LANES};

/// The number of bootstrap resamples for intervals.
pub const N_RESAMPLES: usize = 1000;

/// A score with its 95 % bootstrap confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The score itself.
    pub value: f64,
    /// The 2.5 % quantile of the resamples' scores.
    pub low: f64,
    /// The 97.5 % quantile of the resamples' scores.
    pub high: f64,
}

/// Two sides compared on the same bootstrap resamples of groups.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The score of A.
    pub a: Interval,
    /// The score of B.
    pub b: Interval,
    /// The score of B minus that of A.
    pub difference: Interval,
    /// The share of resamples in which B is better; NaN if none has both scores.
    pub b_is_better: f64,
}

/// A score, and the score of each bootstrap resample of the groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Bootstrapped {
    /// The score.
    pub value: f64,
    /// The score of each resample.
    pub resamples: Vec<f64>,
}

impl Bootstrapped {
    /// Returns the score and the range of 95 % of the resamples' scores; without resamples, a range of width
    /// 0; NaN if no resample has a score.
    pub fn interval(&self) -> Interval {
        self.shifted_interval(0.0)
    }

    /// Returns the error and the range of 95 % of the resamples' errors, shifted so that their mean is the error,
    /// and at least 0.
    ///
    /// For an error that resampling raises, such as that of calibration: a resample has fewer distinct images, and
    /// so larger gaps between confidence and accuracy. The range might otherwise not contain the error.
    pub fn centred_interval(&self) -> Interval {
        let errors = self.resamples.iter().copied().filter(|it| !it.is_nan());
        let Interval { value, low, high } = self.shifted_interval(self.value - mean(errors));
        Interval { value, low: low.max(0.0), high }
    }

    fn shifted_interval(&self, shift: f64) -> Interval {
        let value = self.value;
        if self.resamples.is_empty() {
            return Interval { value, low: value, high: value };
        }
        let mut scores: Vec<f64> =
            self.resamples.iter().copied().filter(|it| !it.is_nan()).collect();
        if scores.is_empty() {
            return Interval { value, low: f64::NAN, high: f64::NAN };
        }
        scores.sort_by(f64::total_cmp);
        let at = |share: f64| scores[((scores.len() - 1) as f64 * share).round() as usize] + shift;
        Interval { value, low: at(0.025), high: at(0.975) }
    }

    /// Returns the mean of several runs' scores on the same resamples.
    ///
    /// # Panics
    /// If there is no run, or the runs have different numbers of resamples.
    pub fn mean(runs: &[Bootstrapped]) -> Bootstrapped {
        let n_resamples = runs[0].resamples.len();
        assert!(
            runs.iter().all(|it| it.resamples.len() == n_resamples),
            "runs have different numbers of resamples"
        );
        Bootstrapped {
            value: mean(runs.iter().map(|it| it.value)),
            resamples: (0..n_resamples)
                .map(|draw| mean(runs.iter().map(|it| it.resamples[draw])))
                .collect(),
        }
    }
}

/// Compares two sides on the same resamples.
pub fn compare(metric: &dyn Metric, a: &Bootstrapped, b: &Bootstrapped) -> Comparison {
    let better = |a: f64, b: f64| match (metric.improves(b, a), metric.improves(a, b)) {
        _ if a.is_nan() || b.is_nan() => f64::NAN,
        (true, _) => 1.0,
        (_, true) => 0.0,
        _ => 0.5,
    };
    let pairs = || a.resamples.iter().zip(&b.resamples);
    let difference =
        Bootstrapped { value: b.value - a.value, resamples: pairs().map(|(a, b)| b - a).collect() };
    Comparison {
        a: a.interval(),
        b: b.interval(),
        difference: difference.interval(),
        b_is_better: match a.resamples.is_empty() {
            true => better(a.value, b.value),
            false => mean(pairs().map(|(&a, &b)| better(a, b)).filter(|it| !it.is_nan())),
        },
    }
}

/// Bootstrap resamples of groups: as many groups as there are, sampled with replacement.
///
/// A resample is the count of each group, a byte each (a count of 256 has a probability below 1e-500). All
/// come sequentially from one random stream, so they do not depend on the number of threads. If they are
/// small enough, they are kept and reused for many runs; otherwise they are sampled anew for every run.
pub struct Resamples {
    n_groups: usize,
    n_resamples: usize,
    seed: Seed,
    kept: Vec<Vec<u8>>,
}

/// The largest total size of resamples, in bytes, that is kept.
const KEPT: usize = 256 << 20;

impl Resamples {
    /// Creates `n_resamples` resamples of `n_groups` groups.
    pub fn new(n_groups: usize, n_resamples: usize, seed: Seed) -> Resamples {
        let mut resamples = Resamples { n_groups, n_resamples, seed, kept: Vec::new() };
        if n_groups.saturating_mul(n_resamples) <= KEPT {
            let mut rng = seed.stream("bootstrap");
            resamples.kept = (0..n_resamples).map(|_| draw(n_groups, &mut rng)).collect();
        }
        resamples
    }

    /// Calls `each` with every resample in order: how often each group is in it. For scores that are no
    /// [`crate::Metric`], paired with those of [`Resamples::scores`].
    pub fn each(&self, mut each: impl FnMut(&[u8])) {
        if self.kept.len() == self.n_resamples {
            return self.kept.iter().for_each(|it| each(it));
        }
        let mut rng = self.seed.stream("bootstrap");
        (0..self.n_resamples).for_each(|_| each(&draw(self.n_groups, &mut rng)));
    }

    /// Returns each score with those of all resamples. All must be of the same groups.
    ///
    /// # Panics
    /// If the number of groups is not `n_groups`.
    pub fn scores(&self, of: &[Groups<'_>]) -> Vec<Bootstrapped> {
        assert!(
            of.iter().all(|it| it.len() == self.n_groups),
            "the number of groups differs from that of the resamples"
        );
        let with_room = |it: &Groups<'_>| Bootstrapped {
            value: it.value,
            resamples: Vec::with_capacity(self.n_resamples),
        };
        let mut scores: Vec<Bootstrapped> = of.iter().map(with_room).collect();
        let mut take = |blocks: &[Vec<Vec<f64>>]| {
            for block in blocks {
                scores.iter_mut().zip(block).for_each(|(all, own)| all.resamples.extend(own));
            }
        };
        let of_blocks = |resamples: &[Vec<u8>]| -> Vec<Vec<Vec<f64>>> {
            let of_block = |block: &[Vec<u8>]| of.iter().map(|it| it.scores(block)).collect();
            resamples.par_chunks(LANES).map(of_block).collect()
        };
        if self.kept.len() == self.n_resamples {
            take(&of_blocks(&self.kept));
            return scores;
        }
        // While some are scored, the next are sampled.
        let mut rng = self.seed.stream("bootstrap");
        let n_at_once = LANES * rayon::current_num_threads();
        let mut n_left = self.n_resamples;
        let mut next = || -> Vec<Vec<u8>> {
            let n = n_left.min(n_at_once);
            n_left -= n;
            (0..n).map(|_| draw(self.n_groups, &mut rng)).collect()
        };
        let mut current = next();
        while !current.is_empty() {
            let (blocks, following) = rayon::join(|| of_blocks(&current), &mut next);
            take(&blocks);
            current = following;
        }
        scores
    }
}

/// Returns how often each of `n` groups is in the next resample.
fn draw(n: usize, rng: &mut Rng) -> Vec<u8> {
    let mut times = vec![0; n];
    (0..n).for_each(|_| times[rng.random_range(0..n)] += 1);
    times
}

fn mean(scores: impl Iterator<Item = f64>) -> f64 {
    let (n, sum) = scores.fold((0.0, 0.0), |(n, sum), it| (n + 1.0, sum + it));
    sum / n
}

#[cfg(test)]
mod tests;
