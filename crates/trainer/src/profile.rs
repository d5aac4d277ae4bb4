//! Where a run's time goes, verb by verb.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// What a run spends time on, in the order of a step. Images are seen on other threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Waiting for a batch.
    DataWait,
    /// Forward through the network.
    Forward,
    /// From its answers to a loss.
    Loss,
    /// Back to the gradients, and a step of the optimizer.
    Optimize,
    /// Writing checkpoints and bundles, as far as training waits for them.
    Save,
    /// Answering the images held out.
    Evaluate,
}

impl Activity {
    /// All of them.
    pub const ALL: [Activity; 6] = [
        Activity::DataWait,
        Activity::Forward,
        Activity::Loss,
        Activity::Optimize,
        Activity::Save,
        Activity::Evaluate,
    ];

    /// What it is called, and what it is.
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

/// The time that each verb took.
pub struct Profile {
    began: Instant,
    spent: [Cell<Duration>; Activity::ALL.len()],
    n_steps: Cell<usize>,
    seen: Cell<Duration>,
}

impl Default for Profile {
    fn default() -> Profile {
        Profile {
            began: Instant::now(),
            spent: Default::default(),
            n_steps: Cell::default(),
            seen: Cell::default(),
        }
    }
}

impl Profile {
    /// Does something, and notes how long it took.
    pub(crate) fn time<R>(&self, verb: Activity, work: impl FnOnce() -> R) -> R {
        let began = Instant::now();
        let result = work();
        let cell = &self.spent[verb as usize];
        cell.set(cell.get() + began.elapsed());
        result
    }

    /// A step is done.
    pub(crate) fn step(&self) {
        self.n_steps.set(self.n_steps.get() + 1);
    }

    /// Loaders were busy with images for so long.
    pub(crate) fn saw(&self, busy: Duration) {
        self.seen.set(self.seen.get() + busy);
    }

    /// Steps done.
    pub fn n_steps(&self) -> usize {
        self.n_steps.get()
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What a verb took.
    pub fn spent(&self, verb: Activity) -> Duration {
        self.spent[verb as usize].get()
    }

    /// What decoding and augmenting took, on the loaders' threads: of all of them together, and beside the
    /// rest.
    pub fn seen(&self) -> Duration {
        self.seen.get()
    }
}
