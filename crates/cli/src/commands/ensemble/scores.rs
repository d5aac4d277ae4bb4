//! Scores of predictions for the held-out images, with intervals over groups that are all of the same resamples, and
//! paired differences between them.

use base::Seed;
use ensemble::{By, HeldOut, Predicted};
use metrics::{
    Bootstrapped, Comparison, ExpectedCalibrationError, Interval, LogLoss, MacroF1, Metric,
    N_RESAMPLES, Resamples, compare,
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

    /// Returns how much better these scores are than others, with an interval on the same resamples.
    pub(super) fn gain_over(&self, other: &Scores, by: By) -> Interval {
        gain(&compare(by.metric(), other.by(by), self.by(by)), by)
    }

    /// Returns how much less the expected calibration error is than that of others; positive is better.
    pub(super) fn less_ece_than(&self, other: &Scores) -> Interval {
        let it = compare(&ExpectedCalibrationError::DEFAULT, &other.ece, &self.ece);
        negated(it.difference)
    }
}

/// Returns how much better side B is: positive is better, also where less is better.
pub(super) fn gain(it: &Comparison, by: By) -> Interval {
    match by.metric().more_is_better() {
        true => it.difference,
        false => negated(it.difference),
    }
}

fn negated(Interval { value, low, high }: Interval) -> Interval {
    // A difference of 0 has no sign.
    Interval { value: 0.0 - value, low: 0.0 - high, high: 0.0 - low }
}

#[cfg(test)]
mod tests {
    use ensemble::By;
    use metrics::Bootstrapped;

    use super::Scores;

    #[test]
    fn a_positive_gain_is_better_by_every_score() {
        let scores = |value: f64, resamples: [f64; 2]| {
            let it = Bootstrapped { value, resamples: resamples.to_vec() };
            Scores { macro_f1: it.clone(), log_loss: it.clone(), ece: it }
        };
        let (less, more) = (scores(0.25, [0.25, 0.25]), scores(0.5, [0.5, 1.0]));
        let f1 = more.gain_over(&less, By::MacroF1);
        let loss = more.gain_over(&less, By::LogLoss);
        assert_eq!(f1.value, 0.25);
        assert!(f1.low > 0.2 && f1.high > 0.7, "{f1:?}");
        assert_eq!((loss.value, loss.low, loss.high), (-f1.value, -f1.high, -f1.low));
        assert!(less.gain_over(&less, By::LogLoss).value.is_sign_positive());
    }
}
