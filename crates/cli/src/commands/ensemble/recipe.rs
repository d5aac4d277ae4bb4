//! What is fitted on held-out predictions, in this order: the combination, the calibration, the decision. Each is
//! fitted on what the ones before it give.

use base::Task;
use ensemble::{CalibrationConfig, CombineConfig, Decision, Fit, HeldOut, Predicted, Tune};

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
        let part = |stage, name, is_fitted| Part { stage, name, is_fitted };
        let is_fitted = self.combine.get().is_fitted(&self.fit);
        let mut stages =
            vec![part(Stage::Combined, self.combine.kind().replace('_', " "), is_fitted)];
        if self.calibrate != "none" {
            stages.push(part(Stage::Calibrated, self.calibrate.to_owned(), true));
        }
        if !self.tune.is_empty() {
            let name = match self.tune.as_slice() {
                [Tune::Thresholds] => "thresholds",
                [Tune::Classes] => "classes",
                _ => "decision",
            };
            stages.push(part(Stage::Decided, name.to_owned(), true));
        }
        stages
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
