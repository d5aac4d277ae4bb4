//! The sampling of the competition's baseline code: ratio · n groups, *with* replacement.
//!
//! A group sampled twice is held out once, so that 1 - e^-ratio of the groups are held out: 18.1 % at 0.2.
//! Not stratified. Kept for comparison with published results; use `profile` instead.
//!
//! After k different groups of n have been sampled, the next sample is a new group with probability
//! 1 - k/n, each with the same probability. So the number of groups held out is sampled that way, and the
//! groups are those whose names have the lowest hashes: the same distribution, and adding one group
//! changes the set of only one or two.

use base::Seed;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{Candidate, Split, SplitError, check_ratio, strata::lot};

/// `split = { kind = "baseline", ratio = 0.2 }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Baseline {
    /// The number of samples, as a share of the groups.
    pub ratio: f64,
}

impl Default for Baseline {
    /// The competition's default.
    fn default() -> Baseline {
        Baseline { ratio: 0.2 }
    }
}

impl Split for Baseline {
    fn held_out(
        &self,
        candidates: &[Candidate<'_>],
        seed: Seed,
    ) -> Result<Vec<Vec<usize>>, SplitError> {
        check_ratio(self.ratio)?;
        let n = candidates.len() as f64;
        let rng = &mut seed.stream("split");
        let n_held_out = (0..(n * self.ratio) as usize)
            .fold(0, |k, _| k + usize::from(rng.random::<f64>() >= k as f64 / n));
        let key = |&it: &usize| (lot(candidates[it].name, seed), candidates[it].name);
        let mut groups: Vec<usize> = (0..candidates.len()).collect();
        groups.sort_by_cached_key(key);
        groups.truncate(n_held_out);
        groups.sort_unstable();
        Ok(vec![groups])
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{super::tests::crowd, Baseline, Candidate, Split as _};

    #[test]
    fn fewer_groups_are_held_out_than_the_ratio() {
        let crowd = crowd((0..20_000).map(|_| vec![0]));
        let candidates: Vec<Candidate<'_>> = crowd.iter().map(Candidate::from).collect();
        let folds = Baseline { ratio: 0.2 }.held_out(&candidates, Seed(0)).unwrap();
        let share = folds[0].len() as f64 / 20_000.0;
        assert!((share - (1.0 - (-0.2f64).exp())).abs() < 0.005, "{share}");
    }
}
