//! Parts of equal size, each a fair sample of the strata; each is held out once.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{Split, SplitError, shuffled_strata};

/// `split = { kind = "stratified_kfold", n_folds = 5 }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StratifiedKfold {
    /// How many parts.
    pub n_folds: usize,
}

impl Default for StratifiedKfold {
    /// Everybody's.
    fn default() -> StratifiedKfold {
        StratifiedKfold { n_folds: 5 }
    }
}

impl Split for StratifiedKfold {
    fn held_out(
        &self,
        strata: &[Vec<usize>],
        rng: &mut Rng,
    ) -> Result<Vec<Vec<usize>>, SplitError> {
        let n_folds = self.n_folds;
        if n_folds < 2 || n_folds > strata.len() {
            let n = strata.len();
            return Err(SplitError(format!(
                "`n_folds` is from 2 to the {n} people, not {n_folds}"
            )));
        }
        let mut folds = vec![Vec::new(); n_folds];
        // Dealt out like cards, going on with the next fold from stratum to stratum.
        for (idx, person) in shuffled_strata(strata, rng).into_iter().flatten().enumerate() {
            folds[idx % n_folds].push(person);
        }
        folds.iter_mut().for_each(|it| it.sort_unstable());
        Ok(folds)
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{Split as _, StratifiedKfold};

    #[test]
    fn everybody_is_held_out_once_and_strata_are_spread() {
        let strata: Vec<Vec<usize>> = (0..103).map(|it| vec![usize::from(it % 10 == 0)]).collect();
        let split = StratifiedKfold { n_folds: 5 };
        let folds = split.held_out(&strata, &mut Seed(1).stream("split")).unwrap();
        let mut all = folds.concat();
        all.sort_unstable();
        assert_eq!(all, (0..103).collect::<Vec<_>>());
        for fold in &folds {
            let rare = fold.iter().filter(|&&it| strata[it] == [1]).count();
            assert!((20..=21).contains(&fold.len()) && (2..=3).contains(&rare), "{fold:?}");
        }
    }

    #[test]
    fn more_folds_than_people_are_an_error() {
        let strata = vec![vec![0]; 3];
        for n_folds in [0, 1, 4] {
            let split = StratifiedKfold { n_folds };
            assert!(split.held_out(&strata, &mut Seed(0).stream("split")).is_err());
        }
    }
}
