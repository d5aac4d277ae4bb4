//! A share of the people, the same share of each stratum.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{Split, SplitError, check_ratio, shuffled_strata};

/// `split = { kind = "profile", ratio = 0.2 }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// The share of people held out.
    pub ratio: f64,
}

impl Default for Profile {
    /// The competition's.
    fn default() -> Profile {
        Profile { ratio: 0.2 }
    }
}

impl Split for Profile {
    fn held_out(
        &self,
        strata: &[Vec<usize>],
        rng: &mut Rng,
    ) -> Result<Vec<Vec<usize>>, SplitError> {
        check_ratio(self.ratio)?;
        let (mut held_out, mut n_seen) = (Vec::new(), 0);
        for group in shuffled_strata(strata, rng) {
            n_seen += group.len();
            // What rounding takes from one stratum it gives to the next, so that the whole is right.
            let n = (n_seen as f64 * self.ratio).round() as usize - held_out.len();
            held_out.extend(&group[..n.min(group.len())]);
        }
        held_out.sort_unstable();
        Ok(vec![held_out])
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{Profile, Split as _};

    #[test]
    fn every_stratum_gives_its_share() {
        // 100 people of stratum 0, 50 of 1 and 10 of 2.
        let strata: Vec<Vec<usize>> =
            (0..160).map(|it| vec![usize::from(it >= 100) + usize::from(it >= 150)]).collect();
        let folds = Profile { ratio: 0.2 }.held_out(&strata, &mut Seed(0).stream("split")).unwrap();
        let of = |stratum| folds[0].iter().filter(|&&it| strata[it] == [stratum]).count();
        assert_eq!([of(0), of(1), of(2)], [20, 10, 2]);
    }

    #[test]
    fn a_ratio_that_is_no_share_is_an_error() {
        for ratio in [0.0, 1.0, -0.1, f64::NAN] {
            assert!(Profile { ratio }.held_out(&[], &mut Seed(0).stream("split")).is_err());
        }
    }
}
