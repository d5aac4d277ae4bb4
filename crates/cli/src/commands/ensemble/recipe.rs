//! What is fitted on held-out predictions, in this order: the combination, the calibration, the decision. Each is
//! fitted on what the ones before it give.

use base::Task;
use ensemble::{
    By, CalibrationConfig, CombineConfig, Decision, Fit, HeldOut, Predicted, Tune, Weights,
};

/// What is to be fitted.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) combine: CombineConfig,
    pub(super) fit: Fit,
    /// The kind of the calibration.
    pub(super) calibrate: &'static str,
    pub(super) tune: Vec<Tune>,
}

/// What was fitted.
#[derive(Clone, Debug, Default)]
pub(super) struct Fitted {
    pub(super) combine: CombineConfig,
    pub(super) calibration: CalibrationConfig,
    pub(super) decision: Decision,
}

/// How much of a recipe is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Combined,
    Calibrated,
    Decided,
}

/// A stage of a recipe.
pub(super) struct Part {
    pub(super) stage: Stage,
    /// What is done in it.
    pub(super) name: String,
    /// Whether that depends on the held-out predictions.
    pub(super) is_fitted: bool,
    /// The score that it is to improve.
    pub(super) by: By,
    /// The options that ask for it, for a text.
    pub(super) options: String,
}

impl Recipe {
    /// Fits it.
    ///
    /// # Errors
    /// The settings do not apply to these members.
    pub(super) fn fit(&self, held_out: &HeldOut) -> Result<Fitted, String> {
        let combine = self.combine.fit(held_out, &self.fit)?;
        let combined = held_out.map(|rows| combine.get().combine(rows));
        let calibration = CalibrationConfig::fit(self.calibrate, &combined)?;
        let decision = match self.tune.is_empty() {
            true => Decision::default(),
            false => Decision::fit(&self.tune, &calibration.calibrate(&combined)),
        };
        Ok(Fitted { combine, calibration, decision })
    }

    /// Returns the stages, from the first on.
    pub(super) fn stages(&self) -> Vec<Part> {
        let mut stages = vec![Part {
            stage: Stage::Combined,
            name: self.combine.kind().replace('_', " "),
            is_fitted: self.combine.get().is_fitted(&self.fit),
            by: self.fit.by,
            options: self.options_of_combine(),
        }];
        if self.calibrate != "none" {
            stages.push(Part {
                stage: Stage::Calibrated,
                name: self.calibrate.to_owned(),
                is_fitted: true,
                by: By::LogLoss,
                options: "`--calibrate`".to_owned(),
            });
        }
        if !self.tune.is_empty() {
            let name = match self.tune.as_slice() {
                [Tune::Thresholds] => "thresholds",
                [Tune::Classes] => "classes",
                _ => "decision",
            };
            stages.push(Part {
                stage: Stage::Decided,
                name: name.to_owned(),
                is_fitted: true,
                by: By::MacroF1,
                options: "`--tune`".to_owned(),
            });
        }
        stages
    }

    /// Whether anything depends on the held-out predictions.
    pub(super) fn is_fitted(&self) -> bool {
        self.stages().iter().any(|it| it.is_fitted)
    }

    /// Returns the options that make the combination another than the mean.
    fn options_of_combine(&self) -> String {
        // Weights may be those of a table.
        let of_table = Weights::Given(self.combine.get().weights().unwrap_or_default().to_vec());
        let is_table = of_table != Weights::default();
        let named = [
            ("`--combine`", is_table || self.combine.kind() != "soft_vote"),
            ("`--weights`", self.fit.weights != Weights::default() && self.fit.weights != of_table),
        ];
        named.iter().filter(|it| it.1).map(|it| it.0).collect::<Vec<_>>().join(" and ")
    }

    /// Returns the last stage.
    pub(super) fn last(&self) -> Stage {
        self.stages().last().map_or(Stage::Combined, |it| it.stage)
    }
}

impl Fitted {
    /// Returns the probabilities and the predicted class of an image, up to a stage.
    ///
    /// - `rows`: the probabilities by each member.
    pub(super) fn predict(&self, task: &Task, rows: &[&[f64]], until: Stage) -> (Vec<f64>, usize) {
        let mut probabilities = self.combine.get().combine(rows);
        if until >= Stage::Calibrated {
            probabilities = self.calibration.get().apply(&probabilities);
        }
        let decision = if until >= Stage::Decided { &self.decision } else { &Decision::default() };
        let predicted = decision.decide(task, &probabilities);
        (probabilities, predicted)
    }

    /// Returns the predictions for all images, up to a stage.
    pub(super) fn predict_all<'a>(&self, held_out: &'a HeldOut, until: Stage) -> Predicted<'a> {
        Predicted::new(held_out, |rows| self.predict(&held_out.task, rows, until))
    }
}

#[cfg(test)]
mod tests {
    use ensemble::{CombineConfig, SoftVote, Weights};

    use super::Recipe;
    use crate::commands::ensemble::fixture::recipe;

    #[test]
    fn the_options_are_those_that_change_the_mean() {
        let options = |combine: CombineConfig, weights: Weights| {
            Recipe { combine, ..recipe(weights) }.stages().swap_remove(0).options
        };
        let [mean, stack] = ["soft_vote", "stack"].map(|it| CombineConfig::of_kind(it).unwrap());
        assert_eq!(options(mean.clone(), Weights::default()), "");
        assert_eq!(options(mean, Weights::Fit), "`--weights`");
        assert_eq!(options(stack, Weights::default()), "`--combine`");
        let hard = CombineConfig::of_kind("hard_vote").unwrap();
        assert_eq!(options(hard, Weights::Greedy), "`--combine` and `--weights`");
        // The command takes the weights of a table over.
        let table = CombineConfig::SoftVote(SoftVote { weights: vec![1.0, 2.0] });
        assert_eq!(options(table, Weights::Given(vec![1.0, 2.0])), "`--combine`");
    }
}
