//! The draw of the competition's own code: as many people as the ratio says, *with* replacement.
//!
//! A person drawn twice is held out once, so that 1 - e^-ratio of the people are: 18.1 % at 0.2.
//! Not stratified. Kept to compare with what was published on it; use `profile`.

use std::collections::BTreeSet;

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{Split, SplitError, check_ratio};

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
        strata: &[Vec<usize>],
        rng: &mut Rng,
    ) -> Result<Vec<Vec<usize>>, SplitError> {
        check_ratio(self.ratio)?;
        let n = strata.len();
        let n_draws = (n as f64 * self.ratio) as usize;
        let held_out: BTreeSet<usize> = (0..n_draws).map(|_| rng.random_range(0..n)).collect();
        Ok(vec![held_out.into_iter().collect()])
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{Baseline, Split as _};

    #[test]
    fn fewer_are_held_out_than_the_ratio_says() {
        let strata = vec![vec![0]; 20_000];
        let folds =
            Baseline { ratio: 0.2 }.held_out(&strata, &mut Seed(0).stream("split")).unwrap();
        let share = folds[0].len() as f64 / 20_000.0;
        assert!((share - (1.0 - (-0.2f64).exp())).abs() < 0.005, "{share}");
    }
}
