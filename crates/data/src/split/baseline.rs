//! The draw of the competition's own code: as many people as the ratio says, *with* replacement.
//!
//! A person drawn twice is held out once, so that 1 - e^-ratio of the people are: 18.1 % at 0.2.
//! Not stratified. Kept to compare with what was published on it; use `profile`.
//!
//! Of n people of whom k have been drawn, the next draw is somebody new with probability 1 - k/n, and any
//! of them alike. So how many are held out is drawn that way, and who they are is those whose names have
//! the lowest hashes: the same law, and one person more moves but one or two.

use base::Seed;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{Candidate, Split, SplitError, check_ratio, strata::lot};

/// `split = { kind = "baseline", ratio = 0.2 }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Baseline {
    /// The number of draws, as a share of the people.
    pub ratio: f64,
}

impl Default for Baseline {
    /// The competition's.
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
        let n_drawn = (0..(n * self.ratio) as usize)
            .fold(0, |n_drawn, _| n_drawn + usize::from(rng.random::<f64>() >= n_drawn as f64 / n));
        let key = |&it: &usize| (lot(candidates[it].name, seed), candidates[it].name);
        let mut people: Vec<usize> = (0..candidates.len()).collect();
        people.sort_by_cached_key(key);
        people.truncate(n_drawn);
        people.sort_unstable();
        Ok(vec![people])
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{super::tests::crowd, Baseline, Candidate, Split as _};

    #[test]
    fn fewer_are_held_out_than_the_ratio_says() {
        let crowd = crowd((0..20_000).map(|_| vec![0]));
        let candidates: Vec<Candidate<'_>> = crowd.iter().map(Candidate::from).collect();
        let folds = Baseline { ratio: 0.2 }.held_out(&candidates, Seed(0)).unwrap();
        let share = folds[0].len() as f64 / 20_000.0;
        assert!((share - (1.0 - (-0.2f64).exp())).abs() < 0.005, "{share}");
    }
}
