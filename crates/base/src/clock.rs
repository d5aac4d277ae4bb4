//! Where a run is: the only time that losses, schedules and augmentations know.

use serde::{Deserialize, Serialize};

/// A moment of a run, counted in optimizer steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Steps done before this one, from 0.
    pub step: usize,
    /// Steps of the whole run, at least 1.
    pub total: usize,
    /// Steps of one pass over the training set, at least 1.
    pub steps_per_epoch: usize,
}

impl Clock {
    /// Epochs done, with their fraction.
    pub fn epoch(&self) -> f64 {
        self.step as f64 / self.steps_per_epoch as f64
    }

    /// The epoch that this step belongs to, from 0.
    pub fn epoch_idx(&self) -> usize {
        self.step / self.steps_per_epoch
    }

    /// The share of the run that is done, from 0 towards 1.
    pub fn progress(&self) -> f64 {
        self.step as f64 / self.total as f64
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn counts_in_three_units() {
        let clock = Clock { step: 25, total: 100, steps_per_epoch: 10 };
        assert_eq!((clock.epoch(), clock.epoch_idx(), clock.progress()), (2.5, 2, 0.25));
    }
}
