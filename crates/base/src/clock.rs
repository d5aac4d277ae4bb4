//! The position within a run: the only notion of time that losses, schedules and augmentations have.

use serde::{Deserialize, Serialize};

/// A point in time of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// Optimizer steps completed before this one, from 0.
    pub step: usize,
    /// Optimizer steps of the whole run, at least 1.
    pub total: usize,
    /// Epochs completed, fractional. Epochs differ in length if the sampler makes them so.
    pub epoch: f64,
}

/// Larger than the rounding error of a quotient of integers, and smaller than one step of any epoch.
pub(crate) const ROUNDING: f64 = 1e-9;

impl Clock {
    /// The epoch that this step belongs to, from 0.
    pub fn epoch_idx(&self) -> usize {
        (self.epoch + ROUNDING) as usize
    }

    /// The completed fraction of the run, from 0 towards 1.
    pub fn progress(&self) -> f64 {
        self.step as f64 / self.total as f64
    }

    /// The same point in time, counted from `start`; before `start`, the beginning of the run.
    pub fn since(&self, start: &Clock) -> Clock {
        Clock {
            step: self.step.saturating_sub(start.step),
            total: self.total.saturating_sub(start.step).max(1),
            epoch: (self.epoch - start.epoch).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn counts_in_three_units() {
        let clock = Clock { step: 25, total: 100, epoch: 2.5 };
        assert_eq!((clock.epoch_idx(), clock.progress()), (2, 0.25));
    }

    #[test]
    fn since_counts_from_another_start() {
        let at = |step| Clock { step, total: 100, epoch: step as f64 / 10.0 };
        assert_eq!(at(25).since(&at(5)), Clock { step: 20, total: 95, epoch: 2.0 });
        assert_eq!(at(3).since(&at(5)), Clock { step: 0, total: 95, epoch: 0.0 });
        // 4.3 - 1.3 is a little less than 3, and 0.3 - 0.1 than 0.2.
        for (start, step) in [(13, 43), (1, 11), (3, 93)] {
            assert_eq!(at(step).since(&at(start)).epoch_idx(), (step - start) / 10);
        }
    }
}
