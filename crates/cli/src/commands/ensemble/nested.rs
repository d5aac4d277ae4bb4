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
    /// # Errors
    /// A part cannot be fitted without another, or there is one group only.
    pub(super) fn of(recipe: &Recipe, held_out: &'a HeldOut) -> Result<Nested<'a>, String> {
        let stages = recipe.stages();
        if !stages.iter().any(|it| it.is_fitted) {
            let fitted = recipe.fit(held_out)?;
            let predicted = |stage| (stage, fitted.predict_all(held_out, stage));
            return Ok(Nested(stages.iter().map(|it| predicted(it.stage)).collect()));
        }
        let fits = NestedFits::new(held_out, N_PARTS, SEED, |it| recipe.fit(it))?;
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
    use base::{Task, task::Factor};
    use ensemble::{By, CombineConfig, Fit, HeldOut, Predicted, Tune, Weights, nested_combination};

    use super::Nested;
    use crate::commands::ensemble::{
        recipe::{Recipe, Stage},
        scores::SEED,
    };

    /// Two members that are right about different images, of 12 groups.
    fn held_out() -> HeldOut {
        let n = 36;
        let classes: Vec<usize> = (0..n).map(|it| it * 7 % 11 % 2).collect();
        let p = |image: usize, member: usize| {
            let sure = 0.55 + 0.4 * ((image * (5 + member) % 13) as f64 / 13.0);
            let is_right = !usize::is_multiple_of(image + member, 3);
            let of_truth = if is_right { sure } else { 1.0 - sure };
            if classes[image] == 0 {
                [of_truth, 1.0 - of_truth]
            } else {
                [1.0 - of_truth, of_truth]
            }
        };
        HeldOut {
            task: Task::new(vec![Factor::new("class", &["a", "b"])]),
            members: (0..2).map(|m| (0..n).flat_map(|it| p(it, m)).collect()).collect(),
            groups: (0..n).map(|it| it / 3).collect(),
            folds: vec![0; n],
            classes,
        }
    }

    fn recipe(weights: Weights) -> Recipe {
        Recipe {
            combine: CombineConfig::default(),
            fit: Fit { weights, by: By::LogLoss },
            calibrate: "none",
            tune: Vec::new(),
        }
    }

    #[test]
    fn every_stage_is_nested() {
        let held_out = held_out();
        let plain = recipe(Weights::Fit);
        let full =
            Recipe { calibrate: "temperature", tune: vec![Tune::Classes], ..recipe(Weights::Fit) };
        let it = Nested::of(&full, &held_out).unwrap();
        let want = nested_combination(&held_out, &plain.combine, &plain.fit, SEED).unwrap();
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
        let it = Nested::of(&recipe(Weights::default()), &held_out).unwrap();
        assert_eq!(*it.predictions(Stage::Combined), mean);
        let err = Nested::of(&recipe(Weights::Fit), &held_out).err().unwrap();
        assert!(err.contains("at least 2"), "{err}");
    }
}
