//! Holds out a share of the groups, the same share of each stratum.
//!
//! Of each stratum, the groups whose names have the lowest hashes are held out. Their number follows the
//! largest remainder method, level by level: round(n * ratio) of n groups, and of each gender, of each age
//! of a gender and so on the share rounded up or down. So adding one group changes the set of at most one
//! other, and of one further for each level of the strata.

use base::Seed;
use serde::{Deserialize, Serialize};

use super::{Candidate, Split, SplitError, check_ratio, strata::Strata};

/// `split = { kind = "profile", ratio = 0.2 }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// The share of groups held out.
    pub ratio: f64,
}

impl Default for Profile {
    /// The competition's default.
    fn default() -> Profile {
        Profile { ratio: 0.2 }
    }
}

impl Split for Profile {
    fn held_out(
        &self,
        candidates: &[Candidate<'_>],
        seed: Seed,
    ) -> Result<Vec<Vec<usize>>, SplitError> {
        check_ratio(self.ratio)?;
        let strata = Strata::new(candidates, seed);
        let ratio = (self.ratio * (1_u128 << BITS) as f64) as u128;
        let n = (strata.n as u128 * ratio + (1 << (BITS - 1))) >> BITS;
        let mut held_out = Vec::new();
        take(&strata, n as usize, ratio, &mut held_out);
        held_out.sort_unstable();
        Ok(vec![held_out])
    }
}

/// Shares are integer multiples of 1 / 2^64, so that rounded counts add up exactly.
const BITS: u32 = 64;

/// Holds out `n` groups of a part: its share rounded up or down.
fn take(strata: &Strata, n: usize, ratio: u128, held_out: &mut Vec<usize>) {
    if strata.parts.is_empty() {
        held_out.extend(&strata.groups[..n]);
        return;
    }
    let share = |it: &Strata| it.n as u128 * ratio;
    let mut ns: Vec<usize> = strata.parts.iter().map(|it| (share(it) >> BITS) as usize).collect();
    let mut by_remainder: Vec<usize> = (0..ns.len()).collect();
    by_remainder.sort_by_key(|&it| std::cmp::Reverse(share(&strata.parts[it]) as u64));
    let n_left = n - ns.iter().sum::<usize>();
    by_remainder[..n_left].iter().for_each(|&it| ns[it] += 1);
    for (part, n) in strata.parts.iter().zip(ns) {
        take(part, n, ratio, held_out);
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{super::tests::crowd, Candidate, Profile, Split as _};

    #[test]
    fn each_stratum_has_the_same_share() {
        // 100 groups of stratum 0, 50 of 1 and 10 of 2.
        let crowd = crowd((0..160).map(|it| vec![usize::from(it >= 100) + usize::from(it >= 150)]));
        let candidates: Vec<Candidate<'_>> = crowd.iter().map(Candidate::from).collect();
        let folds = Profile { ratio: 0.2 }.held_out(&candidates, Seed(0)).unwrap();
        let of = |stratum| folds[0].iter().filter(|&&it| crowd[it].stratum == [stratum]).count();
        assert_eq!([of(0), of(1), of(2)], [20, 10, 2]);
    }

    #[test]
    fn a_ratio_outside_0_to_1_is_an_error() {
        for ratio in [0.0, 1.0, -0.1, f64::NAN] {
            assert!(Profile { ratio }.held_out(&[], Seed(0)).is_err());
        }
    }
}
