//! Where a run's time goes, verb by verb.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// What a run spends time on, in the order of a step. Images are seen on other threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Waiting for a batch.
    Gather,
    /// Forward through the network.
    Think,
    /// From its answers to a loss.
    Criterion,
    /// Back to the gradients, and a step of the optimizer.
    Learn,
    /// Writing checkpoints and bundles, as far as training waits for them.
    Keep,
    /// Answering the images held out.
    Answer,
}

impl Verb {
    /// All of them.
    pub const ALL: [Verb; 6] =
        [Verb::Gather, Verb::Think, Verb::Criterion, Verb::Learn, Verb::Keep, Verb::Answer];

    /// What it is called, and what it is.
    pub fn describe(self) -> (&'static str, &'static str) {
        match self {
            Verb::Gather => ("gather", "waiting for images"),
            Verb::Think => ("think", "forward through the network"),
            Verb::Criterion => ("judge", "losses"),
            Verb::Learn => ("learn", "gradients and the optimizer"),
            Verb::Keep => ("keep", "checkpoints and bundles"),
            Verb::Answer => ("answer", "evaluations"),
        }
    }
}

/// The time that each verb took.
pub struct Profile {
    began: Instant,
    spent: [Cell<Duration>; Verb::ALL.len()],
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
    pub(crate) fn time<R>(&self, verb: Verb, work: impl FnOnce() -> R) -> R {
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
    pub fn spent(&self, verb: Verb) -> Duration {
        self.spent[verb as usize].get()
    }

    /// What decoding and augmenting took, on the loaders' threads: of all of them together, and beside the
    /// rest.
    pub fn seen(&self) -> Duration {
        self.seen.get()
    }
}
