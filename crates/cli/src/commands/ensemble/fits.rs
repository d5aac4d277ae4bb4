//! The fits of an ensemble, one after the other: which of how many, and Ctrl-C between them.

use std::cell::Cell;

use ensemble::{CombineConfig, Fit, HeldOut, N_PARTS, leave_one_out, parts};
use metrics::Comparison;
use trainer::Callback;

use super::{
    nested::Nested,
    recipe::{Fitted, Recipe, Stage},
    scores::SEED,
};

/// What is shown while they run.
const FITTING: &str = "fitting";

/// What is fitted.
pub(super) struct Fits<'a> {
    /// On all images.
    pub(super) fitted: Fitted,
    /// On the others of each part.
    pub(super) nested: Nested<'a>,
    /// The ensemble without each member, side A, with that of all of them; empty for one member.
    pub(super) without: Vec<Comparison>,
}

impl<'a> Fits<'a> {
    /// Fits everything.
    ///
    /// # Errors
    /// A fit fails, there are too few groups, or Ctrl-C.
    pub(super) fn of(
        recipe: &Recipe,
        held_out: &'a HeldOut,
        callback: &dyn Callback,
    ) -> Result<Fits<'a>, String> {
        let (n, n_done) = (n_fits(recipe, held_out)?, Cell::new(0));
        callback.progress(FITTING, 0, n);
        let begin = || match callback.should_stop() {
            true => Err("stopped".to_owned()),
            false => Ok(()),
        };
        let end = || {
            n_done.set(n_done.get() + 1);
            callback.progress(FITTING, n_done.get(), n);
        };
        let fit = |images: &HeldOut| {
            begin()?;
            recipe.fit(images).inspect(|_| end())
        };
        let combine = |it: &CombineConfig, images: &HeldOut, how: &Fit| {
            begin()?;
            it.fit(images, how).inspect(|_| end())
        };
        let fitted = fit(held_out)?;
        let nested = Nested::of(recipe, held_out, fit)?;
        let without = match held_out.members.len() {
            1 => Vec::new(),
            _ => {
                let all = nested.predictions(Stage::Combined);
                leave_one_out(all, &recipe.combine, &recipe.fit, SEED, &combine)?
            }
        };
        Ok(Fits { fitted, nested, without })
    }
}

/// Returns the number of fits: on all images, and for each part of the nested predictions on the others, which are
/// fitted without each member as well.
fn n_fits(recipe: &Recipe, held_out: &HeldOut) -> Result<usize, String> {
    if !recipe.is_fitted() {
        return Ok(1);
    }
    let parts = parts(held_out, N_PARTS, SEED)?;
    let n_parts = parts.iter().max().map_or(0, |it| it + 1);
    let n_left_out = match held_out.members.len() {
        n if n > 1 && recipe.combine.get().is_fitted(&recipe.fit) => n,
        _ => 0,
    };
    Ok(1 + n_parts + n_left_out * n_parts)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use ensemble::Weights;
    use trainer::{Callback, EpochReport, StepReport};

    use super::Fits;
    use crate::commands::ensemble::{fixture, recipe::Recipe};

    /// Writes down the progress, and stops after some fits.
    struct Stop {
        after: usize,
        progress: RefCell<Vec<(usize, usize)>>,
    }

    impl Callback for Stop {
        fn progress(&self, _: &str, done: usize, total: usize) {
            self.progress.borrow_mut().push((done, total));
        }
        fn note(&self, _: &str) {}
        fn step(&self, _: &StepReport) {}
        fn epoch(&self, _: &EpochReport) {}
        fn should_stop(&self) -> bool {
            self.progress.borrow().len() > self.after
        }
    }

    fn progress(recipe: &Recipe, after: usize) -> (Result<usize, String>, Vec<(usize, usize)>) {
        let callback = Stop { after, progress: RefCell::default() };
        let held_out = fixture::held_out();
        let n = Fits::of(recipe, &held_out, &callback).map(|it| it.without.len());
        (n, callback.progress.into_inner())
    }

    #[test]
    fn every_fit_is_counted_and_the_last_is_the_total() {
        let recipe = fixture::recipe(Weights::Fit);
        // On all; of five parts; of five parts without each of two members.
        let (n, shown) = progress(&recipe, usize::MAX);
        assert_eq!((n, shown), (Ok(2), (0..=16).map(|it| (it, 16)).collect::<Vec<_>>()));
        // A calibration is not fitted without a member.
        let calibrated = Recipe { calibrate: "temperature", ..fixture::recipe(Weights::default()) };
        let (n, shown) = progress(&calibrated, usize::MAX);
        assert_eq!((n, shown.last()), (Ok(2), Some(&(6, 6))));
        let (n, shown) = progress(&fixture::recipe(Weights::default()), usize::MAX);
        assert_eq!((n, shown.last()), (Ok(2), Some(&(1, 1))));
    }

    #[test]
    fn nothing_is_fitted_after_ctrl_c() {
        for n_done in [0, 1, 4, 9] {
            let (n, shown) = progress(&fixture::recipe(Weights::Fit), n_done);
            assert_eq!(n, Err("stopped".to_owned()));
            // The first line is that nothing is done.
            assert_eq!(shown.len(), n_done + 1, "{shown:?}");
        }
    }
}
