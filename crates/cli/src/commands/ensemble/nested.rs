//! The nested predictions of a recipe: of each image by what was fitted on the other parts of the groups.

use ensemble::{HeldOut, N_PARTS, NestedFits, Predicted};

use super::{
    recipe::{Fitted, Recipe, Stage},
    scores::SEED,
};

/// The predictions of every stage of a recipe. Each part is fitted once for all stages.
pub(super) struct Nested<'a>(Vec<(Stage, Predicted<'a>)>);

impl<'a> Nested<'a> {
    /// Fits the recipe on all parts but one, and predicts that one, for each part.
    ///
    /// - `fit`: fits it on the images of these parts.
    ///
    /// # Errors
    /// A fit fails, or there is one group only.
    pub(super) fn of(
        recipe: &Recipe,
        held_out: &'a HeldOut,
        fit: impl Fn(&HeldOut) -> Result<Fitted, String>,
    ) -> Result<Nested<'a>, String> {
        let stages = recipe.stages();
        if !recipe.is_fitted() {
            let fitted = recipe.fit(held_out)?;
            let predicted = |stage| (stage, fitted.predict_all(held_out, stage));
            return Ok(Nested(stages.iter().map(|it| predicted(it.stage)).collect()));
        }
        let fits = NestedFits::new(held_out, N_PARTS, SEED, fit)?;
        let predicted = |stage| {
            let apply =
                |fitted: &Fitted, rows: &[&[f64]]| fitted.predict(&held_out.task, rows, stage);
            (stage, fits.predict(held_out, apply))
        };
        Ok(Nested(stages.iter().map(|it| predicted(it.stage)).collect()))
    }

    /// Returns the predictions of a stage.
    pub(super) fn predictions(&self, stage: Stage) -> &Predicted<'a> {
        let found = self.0.iter().find(|it| it.0 == stage);
        &found.expect("the stage is of the recipe").1
    }

    /// Returns the last probabilities that a decision is made of.
    pub(super) fn probabilities(&self) -> &Predicted<'a> {
        let found = self.0.iter().rev().find(|it| it.0 < Stage::Decided);
        &found.expect("every recipe combines").1
    }
}

#[cfg(test)]
mod tests {
    use ensemble::{CombineConfig, HeldOut, Predicted, Tune, Weights, nested_combination};

    use super::Nested;
    use crate::commands::ensemble::{
        fixture::{held_out, recipe},
        recipe::{Recipe, Stage},
        scores::SEED,
    };

    fn nested<'a>(recipe: &Recipe, held_out: &'a HeldOut) -> Result<Nested<'a>, String> {
        Nested::of(recipe, held_out, |it| recipe.fit(it))
    }

    #[test]
    fn every_stage_is_nested() {
        let held_out = held_out();
        let plain = recipe(Weights::Fit);
        let full =
            Recipe { calibrate: "temperature", tune: vec![Tune::Classes], ..recipe(Weights::Fit) };
        let it = nested(&full, &held_out).unwrap();
        let (combine, fit) = (&plain.combine, CombineConfig::fit);
        let want = nested_combination(&held_out, combine, &plain.fit, SEED, &fit).unwrap();
        assert_eq!(*it.predictions(Stage::Combined), want);
        assert_ne!(it.predictions(Stage::Calibrated).probabilities, want.probabilities);
        // A decision changes no probability.
        let decided = it.predictions(Stage::Decided);
        assert_eq!(decided.probabilities, it.predictions(Stage::Calibrated).probabilities);
        assert_eq!(it.probabilities(), it.predictions(Stage::Calibrated));
        assert_eq!(full.last(), Stage::Decided);
    }

    #[test]
    fn what_is_not_fitted_needs_no_parts() {
        let mut held_out = held_out();
        held_out.groups.fill(0);
        let mean = Predicted::combined(&held_out, &CombineConfig::default());
        let it = nested(&recipe(Weights::default()), &held_out).unwrap();
        assert_eq!(*it.predictions(Stage::Combined), mean);
        let err = nested(&recipe(Weights::Fit), &held_out).err().unwrap();
        assert!(err.contains("at least 2"), "{err}");
    }
}
