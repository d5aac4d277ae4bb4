//! How a run ended, and its results.

use metrics::Report;

use crate::{all_data::Estimate, ran_on::RanOn, report::section};

/// How a run ended.
pub enum Ended {
    /// It is finished.
    Finished(Box<Outcome>),
    /// It was stopped, and can be resumed.
    Stopped {
        /// Steps done.
        step: usize,
    },
}

/// The results of a finished run.
pub struct Outcome {
    /// Steps done.
    pub steps: usize,
    /// Steps done when the best bundle was saved.
    pub best_step: usize,
    /// What the steps ran on, in order: more than one entry if the run was resumed on another device.
    pub ran_on: Vec<RanOn>,
    /// Whether the model was trained on the validation set too, so that its scores there are meaningless.
    pub trained_on_valid: bool,
    /// What estimates the scores of a run that was trained on all the data after a cross-validation.
    pub estimate: Option<Estimate>,
    /// The scores of the best bundle on the validation set; optimistically biased: selected on this set.
    pub valid: Report,
    /// The scores of the best bundle on the test set, where the source has one.
    pub test: Option<Report>,
}

impl Outcome {
    /// Formats the scores as a `report.toml`.
    pub(crate) fn to_toml(&self) -> String {
        let mut text = format!("best_step = {}\nsteps = {}\n", self.best_step, self.steps);
        text += &RanOn::to_toml(&self.ran_on);
        if self.trained_on_valid {
            text += "# The model was trained on these images too: its scores in [valid] mean nothing.\n";
            text += "trained_on_valid = true\n";
        }
        if let Some(it) = &self.estimate {
            let it = toml::to_string(it).expect("an estimate is TOML");
            text += &format!(
                "\n# What estimates its scores: those of out-of-fold predictions.\n[estimate]\n{it}"
            );
        }
        for (name, report) in [("valid", Some(&self.valid)), ("test", self.test.as_ref())] {
            text.extend(report.map(|it| section(name, it)));
        }
        text
    }
}
