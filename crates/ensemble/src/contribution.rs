//! What each member adds to an ensemble, and how alike their errors are.

use base::Seed;
use metrics::{Comparison, argmax};
use rayon::prelude::*;

use crate::{CombineConfig, Fit, HeldOut, N_PARTS, NestedFits, Predicted};

/// Returns the predictions of a combination for groups that it was not fitted on: nested if anything is fitted.
///
/// - `seed`: of the parts.
/// - `fit`: [`CombineConfig::fit`], around which the caller may count the fits, and stop between them.
///
/// # Errors
/// The fit fails, or there are fewer than 2 groups.
pub fn nested_combination<'a>(
    held_out: &'a HeldOut,
    combine: &CombineConfig,
    how: &Fit,
    seed: Seed,
    fit: &impl Fn(&CombineConfig, &HeldOut, &Fit) -> Result<CombineConfig, String>,
) -> Result<Predicted<'a>, String> {
    if !combine.get().is_fitted(how) {
        return Ok(Predicted::combined(held_out, &combine.fit(held_out, how)?));
    }
    let fit = |part: &HeldOut| fit(combine, part, how);
    let apply = |fitted: &CombineConfig, rows: &[&[f64]]| {
        let probabilities = fitted.get().combine(rows);
        let predicted = argmax(&probabilities);
        (probabilities, predicted)
    };
    Ok(NestedFits::new(held_out, N_PARTS, seed, fit)?.predict(held_out, apply))
}

/// Compares the ensemble without each member, side A, with that of all of them, side B, by the score that is
/// fitted.
///
/// Both are [nested](nested_combination): on the images that it is fitted on, even a useless member adds something.
///
/// - `all`: the nested combination of all members.
/// - `fit`: as there.
///
/// # Errors
/// There are fewer than 2 members, or a fit fails.
pub fn leave_one_out(
    all: &Predicted<'_>,
    combine: &CombineConfig,
    how: &Fit,
    seed: Seed,
    fit: &impl Fn(&CombineConfig, &HeldOut, &Fit) -> Result<CombineConfig, String>,
) -> Result<Vec<Comparison>, String> {
    let held_out = all.held_out;
    if held_out.members.len() < 2 {
        return Err("what a member adds is measured with at least 2 members".to_owned());
    }
    let without = |member: usize| {
        let others = held_out.without(member);
        let rest = nested_combination(&others, combine, &how.without(member), seed, fit)?;
        Ok(rest.compare(all, how.by.metric(), seed))
    };
    (0..held_out.members.len()).map(without).collect()
}

/// Returns the correlation of errors of every two members, `[member][member]`: Pearson's, of whether the most
/// probable class is wrong. NaN for a member without errors, or without correct predictions.
pub fn error_correlation(held_out: &HeldOut) -> Vec<Vec<f64>> {
    let n_images = held_out.n_images();
    let is_wrong = |member: usize| -> Vec<bool> {
        let wrong = |image| argmax(held_out.row(member, image)) != held_out.classes[image];
        (0..n_images).into_par_iter().map(wrong).collect()
    };
    let wrong: Vec<Vec<bool>> = (0..held_out.members.len()).map(is_wrong).collect();
    let share = |count: usize| count as f64 / n_images as f64;
    let rate = |it: &Vec<bool>| share(it.iter().filter(|it| **it).count());
    let rates: Vec<f64> = wrong.iter().map(rate).collect();
    let correlation = |a: usize, b: usize| {
        let both = share(wrong[a].iter().zip(&wrong[b]).filter(|(a, b)| **a && **b).count());
        let variance = |it: usize| rates[it] * (1.0 - rates[it]);
        (both - rates[a] * rates[b]) / (variance(a) * variance(b)).sqrt()
    };
    let n = wrong.len();
    (0..n).map(|a| (0..n).map(|b| correlation(a, b)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use base::{Seed, Task, task::Factor};
    use metrics::Comparison;
    use testkit::{check_close_slices, numbers};

    use super::{error_correlation, nested_combination};
    use crate::{By, CombineConfig, Fit, HeldOut, Predicted, Weights};

    /// A good member, the same with other noise, and one that knows nothing.
    fn held_out(n: usize) -> HeldOut {
        let classes: Vec<usize> = (0..n).map(|it| it * it % 7 % 3).collect();
        let member = |(idx, lift): (usize, f64)| {
            let noise = numbers(&format!("contribution {idx}"), n * 3);
            let row = |image: usize| {
                let of = |class: usize| {
                    (2.0 * noise[image * 3 + class] + lift * f64::from(class == classes[image]))
                        .exp()
                };
                let row: Vec<f64> = (0..3).map(of).collect();
                let sum: f64 = row.iter().sum();
                row.into_iter().map(move |it| it / sum)
            };
            (0..n).flat_map(row).collect()
        };
        HeldOut {
            task: Task::new(vec![Factor::new("class", &["a", "b", "c"])]),
            members: [1.5, 1.5, 0.0].into_iter().enumerate().map(member).collect(),
            groups: (0..n).map(|it| it / 2).collect(),
            folds: vec![0; n],
            classes,
        }
    }

    /// A soft vote without each member.
    fn leave_one_out(held_out: &HeldOut, how: &Fit) -> Result<Vec<Comparison>, String> {
        let (vote, fit) = (CombineConfig::default(), CombineConfig::fit);
        let all = nested_combination(held_out, &vote, how, Seed(0), &fit)?;
        super::leave_one_out(&all, &vote, how, Seed(0), &fit)
    }

    #[test]
    fn a_good_member_adds_and_a_useless_one_does_not() {
        let held_out = held_out(600);
        let how = Fit { weights: Weights::Fit, by: By::LogLoss };
        let it = leave_one_out(&held_out, &how).unwrap();
        assert_eq!(it.len(), 3);
        // A lower loss is better: the difference is negative for the first two.
        assert!(it[0].difference.high < 0.0 && it[1].difference.high < 0.0, "{it:?}");
        assert!(it[2].difference.value.abs() < 0.2 * it[0].difference.value.abs(), "{it:?}");
        // With equal weights it does harm.
        let equal = Fit { by: By::LogLoss, ..Fit::default() };
        let it = leave_one_out(&held_out, &equal).unwrap();
        assert!(it[2].difference.low > 0.0, "{it:?}");
    }

    #[test]
    fn what_is_not_fitted_is_not_nested() {
        let held_out = held_out(60);
        let vote = CombineConfig::default();
        let plain = Predicted::combined(&held_out, &vote);
        let refuse = |_: &CombineConfig, _: &HeldOut, _: &Fit| Err("fitted".to_owned());
        let got = nested_combination(&held_out, &vote, &Fit::default(), Seed(0), &refuse);
        assert_eq!(got, Ok(plain));
    }

    #[test]
    fn given_weights_lose_that_of_the_member_left_out() {
        let held_out = held_out(60);
        let weights = Weights::Given(vec![1.0, 2.0, 3.0]);
        let how = Fit { weights, by: By::MacroF1 };
        assert_eq!(how.without(1).weights, Weights::Given(vec![1.0, 3.0]));
        assert_eq!(leave_one_out(&held_out, &how).map(|it| it.len()), Ok(3));
    }

    #[test]
    fn one_member_has_nothing_to_be_left_out_of() {
        let held_out = held_out(10).without(2).without(1);
        assert!(leave_one_out(&held_out, &Fit::default()).is_err());
    }

    #[test]
    fn every_fit_can_be_counted_and_refused() {
        let (held_out, vote) = (held_out(60), CombineConfig::default());
        let how = Fit { weights: Weights::Fit, by: By::LogLoss };
        let all = nested_combination(&held_out, &vote, &how, Seed(0), &CombineConfig::fit).unwrap();
        let n_fits = Cell::new(0);
        let fit = |most: usize| {
            n_fits.set(0);
            let fit = |it: &CombineConfig, part: &HeldOut, how: &Fit| {
                n_fits.set(n_fits.get() + 1);
                if n_fits.get() > most { Err("stopped".to_owned()) } else { it.fit(part, how) }
            };
            super::leave_one_out(&all, &vote, &how, Seed(0), &fit).map(|it| it.len())
        };
        // Five parts without each of three members.
        assert_eq!((fit(usize::MAX), n_fits.get()), (Ok(3), 15));
        assert_eq!((fit(7), n_fits.get()), (Err("stopped".to_owned()), 8));
    }

    #[test]
    fn errors_of_members_are_correlated() {
        // Wrong are images 0 and 1; 0 and 2; none. Both of the first two: 1/4 - 1/2 · 1/2 = 0.
        let right = |wrong: &[usize]| {
            (0..4)
                .flat_map(|it| if wrong.contains(&it) { [0.2, 0.8] } else { [0.8, 0.2] })
                .collect()
        };
        let held_out = HeldOut {
            task: Task::new(vec![Factor::new("class", &["a", "b"])]),
            classes: vec![0; 4],
            groups: vec![0; 4],
            folds: vec![0; 4],
            members: vec![right(&[0, 1]), right(&[0, 2]), right(&[]), right(&[0, 1, 2])],
        };
        let it = error_correlation(&held_out);
        check_close_slices(&it[0][..2], &[1.0, 0.0], 1e-12);
        assert!(it[0][2].is_nan() && it[2][2].is_nan());
        // 1/2 - 1/2 · 3/4 = 1/8 over √(1/4 · 3/16) = √3 / 8.
        assert!((it[0][3] - 1.0 / 3.0_f64.sqrt()).abs() < 1e-12, "{it:?}");
        assert_eq!(it[3][0], it[0][3]);
    }
}
