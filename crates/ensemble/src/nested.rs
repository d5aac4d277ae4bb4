//! The nested estimate of a fit: what it is worth on groups that it was not fitted on.
//!
//! Groups are split into parts. For each part the fit is made anew on all other parts, and applied to this one; the
//! predictions of all parts together are scored. The parts are the folds where there are 2 to 20 of them and none
//! shares a group with another; else the groups are shuffled and dealt in turn.
//!
//! The members stay as they are: those of a fold trained on the other folds, whose held-out predictions the fit
//! uses. That is usual for stacks, and what is left of it is small; only members trained anew for every part would
//! be without it.

use base::Seed;
use rand::seq::SliceRandom as _;

use crate::{HeldOut, Predicted};

/// The number of parts where there are no folds.
pub const N_PARTS: usize = 5;

/// The largest number of folds that are parts.
const MOST_FOLDS: usize = 20;

/// What is fitted on all parts but one, for each part.
pub struct NestedFits<T>(Vec<(Vec<usize>, T)>);

impl<T: Sync> NestedFits<T> {
    /// Fits each.
    ///
    /// - `n_parts`: the number of parts where there are no folds.
    /// - `seed`: of the parts.
    /// - `fit`: what is fitted on the images it is given.
    ///
    /// # Errors
    /// There are fewer than 2 groups, or a fit fails.
    pub fn new(
        held_out: &HeldOut,
        n_parts: usize,
        seed: Seed,
        fit: impl Fn(&HeldOut) -> Result<T, String>,
    ) -> Result<NestedFits<T>, String> {
        let part_of = parts(held_out, n_parts, seed)?;
        let n_parts = part_of.iter().max().map_or(0, |it| it + 1);
        let of_part = |part: usize| {
            let (own, others): (Vec<usize>, Vec<usize>) =
                (0..held_out.n_images()).partition(|&it| part_of[it] == part);
            Ok((own, fit(&held_out.subset(&others))?))
        };
        (0..n_parts).map(of_part).collect::<Result<_, String>>().map(NestedFits)
    }

    /// Returns predictions for all images, each by the fit on the other parts.
    ///
    /// - `held_out`: what was fitted on.
    /// - `apply`: the probabilities and the predicted class of an image, given those of each member.
    pub fn predict<'a>(
        &self,
        held_out: &'a HeldOut,
        apply: impl Fn(&T, &[&[f64]]) -> (Vec<f64>, usize) + Sync,
    ) -> Predicted<'a> {
        let mut predicted = Predicted::none(held_out);
        for (own, fitted) in &self.0 {
            predicted.fill(own, &|rows: &[&[f64]]| apply(fitted, rows));
        }
        predicted
    }
}

/// Returns the part of each image, numbered from 0; every part has images.
///
/// # Errors
/// There are fewer than 2 groups.
pub fn parts(held_out: &HeldOut, n_parts: usize, seed: Seed) -> Result<Vec<usize>, String> {
    let mut groups = held_out.groups.clone();
    groups.sort_unstable();
    groups.dedup();
    if groups.len() < 2 {
        let unit = held_out.task.unit;
        return Err(format!(
            "the nested estimate takes held-out images of at least 2 {}, and there is {}",
            unit.many(),
            unit.count(groups.len())
        ));
    }
    let place = |numbers: &[usize], it: usize| numbers.partition_point(|&other| other < it);
    let places: Vec<usize> = held_out.groups.iter().map(|&it| place(&groups, it)).collect();
    let mut folds = held_out.folds.clone();
    folds.sort_unstable();
    folds.dedup();
    let mut fold_of = vec![None; groups.len()];
    let mut is_whole =
        |(&group, &fold): (&usize, &usize)| *fold_of[group].get_or_insert(fold) == fold;
    if (2..=MOST_FOLDS).contains(&folds.len())
        && places.iter().zip(&held_out.folds).all(&mut is_whole)
    {
        return Ok(held_out.folds.iter().map(|&it| place(&folds, it)).collect());
    }
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.shuffle(&mut seed.stream("ensemble/nested"));
    let n_parts = n_parts.clamp(2, groups.len());
    let mut part = vec![0; groups.len()];
    order.iter().enumerate().for_each(|(idx, &group)| part[group] = idx % n_parts);
    Ok(places.into_iter().map(|it| part[it]).collect())
}

#[cfg(test)]
mod tests {
    use base::{Seed, Task, task::Factor};

    use super::{NestedFits, parts};
    use crate::HeldOut;

    fn held_out(groups: &[usize], folds: &[usize]) -> HeldOut {
        let n = groups.len();
        HeldOut {
            task: Task::new(vec![Factor::new("class", &["a", "b"])]),
            classes: (0..n).map(|it| it % 2).collect(),
            groups: groups.to_vec(),
            folds: folds.to_vec(),
            members: vec![vec![0.5; 2 * n]],
        }
    }

    #[test]
    fn folds_are_the_parts_unless_they_share_a_group() {
        let groups = [5, 5, 7, 9];
        assert_eq!(parts(&held_out(&groups, &[3, 3, 1, 1]), 5, Seed(0)), Ok(vec![1, 1, 0, 0]));
        let shared = parts(&held_out(&groups, &[0, 1, 1, 1]), 2, Seed(0)).unwrap();
        assert_eq!(shared[0], shared[1]);
    }

    #[test]
    fn groups_stay_whole_and_parts_are_even() {
        let groups: Vec<usize> = (0..60).map(|it| it * 7 % 30 * 11).collect();
        let it = held_out(&groups, &[0; 60]);
        let parts = parts(&it, 5, Seed(1)).unwrap();
        for part in 0..5 {
            assert_eq!(parts.iter().filter(|it| **it == part).count(), 12);
        }
        for (a, part) in groups.iter().zip(&parts) {
            assert!(groups.iter().zip(&parts).all(|(b, other)| a != b || part == other));
        }
        assert_ne!(parts, super::parts(&it, 5, Seed(2)).unwrap());
    }

    #[test]
    fn a_fit_is_never_applied_to_the_groups_it_was_fitted_on() {
        // What is fitted is the list of groups, kept in the only number that a row has.
        let mut it = held_out(&[0, 0, 1, 2, 3, 3, 4, 5], &[0; 8]);
        for (image, group) in it.groups.clone().into_iter().enumerate() {
            it.members[0][2 * image] = group as f64;
        }
        let fit = |part: &HeldOut| Ok(part.groups.clone());
        let apply = |fitted: &Vec<usize>, rows: &[&[f64]]| {
            let is_leaked = fitted.contains(&(rows[0][0] as usize));
            (rows[0].to_vec(), usize::from(is_leaked))
        };
        let got = NestedFits::new(&it, 3, Seed(0), fit).unwrap().predict(&it, apply);
        assert_eq!(got.predicted, [0; 8]);
        assert_eq!(got.probabilities, it.members[0]);
    }

    #[test]
    fn one_group_has_no_nested_estimate() {
        let err = parts(&held_out(&[4, 4], &[0, 1]), 5, Seed(0)).unwrap_err();
        assert!(err.contains("at least 2 groups, and there is 1 group"), "{err}");
        assert!(parts(&held_out(&[], &[]), 5, Seed(0)).is_err());
    }

    #[test]
    fn an_error_of_a_fit_is_passed_on() {
        let fit = |_: &HeldOut| Err::<(), String>("no".to_owned());
        assert_eq!(
            NestedFits::new(&held_out(&[0, 1], &[0; 2]), 2, Seed(0), fit).err(),
            Some("no".to_owned())
        );
    }
}
