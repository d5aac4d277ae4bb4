//! Every group is a fold of its own, as in scikit-learn's `LeaveOneGroupOut`.
//!
//! Fold k holds out the k-th group by name, so that there are as many trainings as groups: for few groups, such
//! as the hospitals or cameras that images come from.

use base::Seed;
use serde::{Deserialize, Serialize};

use super::{Candidate, Split, SplitError, check_n_folds};

/// `split = { kind = "leave_one_group_out" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaveOneGroupOut {}

impl Split for LeaveOneGroupOut {
    fn held_out(
        &self,
        candidates: &[Candidate<'_>],
        _: Seed,
    ) -> Result<Vec<Vec<usize>>, SplitError> {
        let n = candidates.len();
        if n < 2 {
            return Err(SplitError(format!(
                "leaving a group out takes at least 2 groups, not {n}"
            )));
        }
        check_n_folds(n)?;
        let mut groups: Vec<usize> = (0..n).collect();
        groups.sort_by_key(|&it| candidates[it].name);
        Ok(groups.into_iter().map(|it| vec![it]).collect())
    }

    fn is_cross_validation(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{super::Candidate, LeaveOneGroupOut, Split as _};

    #[test]
    fn each_group_is_a_fold_in_the_order_of_names() {
        let candidate = |name| Candidate { name, stratum: &[0], counts: &[] };
        let candidates = ["c", "a", "b"].map(candidate);
        let folds = LeaveOneGroupOut {}.held_out(&candidates, Seed(0)).unwrap();
        assert_eq!(folds, [[1], [2], [0]]);
        assert!(LeaveOneGroupOut {}.held_out(&candidates[..1], Seed(0)).is_err());
    }
}
