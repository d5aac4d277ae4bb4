//! Scores of predictions for the held-out images, with intervals over groups that are all of the same resamples, and
//! paired differences between them.

use base::Seed;
use ensemble::{By, HeldOut, Predicted};
use metrics::{
    Bootstrapped, ExpectedCalibrationError, Interval, LogLoss, MacroF1, Metric, N_RESAMPLES,
    Resamples, compare,
};

/// The seed of everything random: the resamples, and the parts of nested estimates.
pub(super) const SEED: Seed = Seed(0);

/// Scores predictions for the same held-out images.
pub(super) struct Scorer(Resamples);

/// The scores of predictions for all images.
#[derive(Clone, Debug)]
pub(super) struct Scores {
    pub(super) macro_f1: Bootstrapped,
    pub(super) log_loss: Bootstrapped,
    /// The expected calibration error.
    pub(super) ece: Bootstrapped,
}

impl Scorer {
    pub(super) fn new(held_out: &HeldOut) -> Scorer {
        let n_groups = held_out.groups.iter().max().map_or(0, |it| it + 1);
        Scorer(Resamples::new(n_groups, N_RESAMPLES, SEED))
    }

    /// Returns the scores of one prediction for each image.
    pub(super) fn scores(&self, predicted: &Predicted<'_>) -> Scores {
        let metrics: [&dyn Metric; 3] =
            [&MacroF1::DEFAULT, &LogLoss::DEFAULT, &ExpectedCalibrationError::DEFAULT];
        let mut all = self.0.scores(&metrics.map(|it| predicted.groups(it))).into_iter();
        let mut next = || all.next().expect("there is a score for each metric");
        Scores { macro_f1: next(), log_loss: next(), ece: next() }
    }
}

impl Scores {
    /// Returns the score by one of the two metrics.
    pub(super) fn by(&self, by: By) -> &Bootstrapped {
        match by {
            By::MacroF1 => &self.macro_f1,
            By::LogLoss => &self.log_loss,
        }
    }

    /// Returns how much these scores are above others, with an interval on the same resamples.
    pub(super) fn gain_over(&self, other: &Scores, by: By) -> Interval {
        compare(by.metric(), other.by(by), self.by(by)).difference
    }
}
