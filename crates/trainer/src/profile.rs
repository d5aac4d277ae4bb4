//! The time that a run spends on each activity.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// An activity of a run, in the order of a step. Images are loaded and augmented on other threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Waiting for a batch.
    DataWait,
    /// The forward pass of the network.
    Forward,
    /// Computing the loss of its outputs.
    Loss,
    /// The backward pass and the optimizer step.
    Optimize,
    /// Saving checkpoints and bundles, as far as training waits for it.
    Save,
    /// Predicting the validation set.
    Evaluate,
}

impl Activity {
    /// All activities.
    pub const ALL: [Activity; 6] = [
        Activity::DataWait,
        Activity::Forward,
        Activity::Loss,
        Activity::Optimize,
        Activity::Save,
        Activity::Evaluate,
    ];

    /// Returns its name and a short description.
    pub fn describe(self) -> (&'static str, &'static str) {
        match self {
            Activity::DataWait => ("data wait", "waiting for batches"),
            Activity::Forward => ("forward", "the network"),
            Activity::Loss => ("loss", "the criterion"),
            Activity::Optimize => ("backward", "gradients and the optimizer step"),
            Activity::Save => ("save", "checkpoints and bundles"),
            Activity::Evaluate => ("evaluate", "the validation set"),
        }
    }
}

/// The time spent on each activity.
pub struct Profile {
    began: Instant,
    spent: [Cell<Duration>; Activity::ALL.len()],
    n_steps: Cell<usize>,
    loading: Cell<Duration>,
}

impl Default for Profile {
    fn default() -> Profile {
        Profile {
            began: Instant::now(),
            spent: Default::default(),
            n_steps: Cell::default(),
            loading: Cell::default(),
        }
    }
}

impl Profile {
    /// Runs `work` and adds its duration to an activity.
    pub(crate) fn time<R>(&self, activity: Activity, work: impl FnOnce() -> R) -> R {
        let began = Instant::now();
        let result = work();
        let cell = &self.spent[activity as usize];
        cell.set(cell.get() + began.elapsed());
        result
    }

    /// Counts a step.
    pub(crate) fn step(&self) {
        self.n_steps.set(self.n_steps.get() + 1);
    }

    /// Adds time that the loader threads spent on images.
    pub(crate) fn add_loading(&self, busy: Duration) {
        self.loading.set(self.loading.get() + busy);
    }

    /// Returns the number of steps.
    pub fn n_steps(&self) -> usize {
        self.n_steps.get()
    }

    /// Returns the time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Returns the time spent on an activity.
    pub fn spent(&self, activity: Activity) -> Duration {
        self.spent[activity as usize].get()
    }

    /// Returns the time spent on decoding and augmenting, summed over the loader threads; it runs in parallel
    /// with the other activities.
    pub fn loading(&self) -> Duration {
        self.loading.get()
    }
}
