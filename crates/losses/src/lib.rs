//! How wrong is a prediction? One file an answer.
//!
//! A loss is bound once to the task and the class counts, and then judges batch after batch.
//! To add one, write its file, declare it below, and give it a line in [`LossConfig`].
//! The zoo tests find it there, and check its gradient, its shapes and its extremes.

mod cross_entropy;
mod penalty;
mod targets;

use base::{Clock, Task};
use candle::Result;
use ops::Output;

pub use penalty::Penalty;
pub use targets::{Counts, Labels, Targets};

base::choice! {
    /// The `[loss]` section of a config.
    pub enum LossConfig: dyn LossKind {
        /// Cross-entropy between the predicted and the target distribution, summed over the questions of
        /// a head; of numbers the squared error.
        "cross_entropy" => CrossEntropy(cross_entropy::CrossEntropy),
    }
}

/// A loss's config, which knows how to bind it.
pub trait LossKind {
    /// The loss for a task and the class counts of its training set.
    fn bind(&self, task: &Task, counts: &Counts) -> Box<dyn Loss>;
}

/// A penalty for the distance between what a network says and what it should have said.
pub trait Loss {
    /// Judges one batch.
    ///
    /// - `outputs`: for each question `[n, number]`, any real numbers, of the meaning that their
    ///   form says. A loss that judges classes alone asks for [`Output::logits`].
    /// - `targets`: for each scope `[n, class]`, each row a distribution. Hard labels come as one-hot
    ///   rows, so that mixing and soft labels are not special cases.
    fn judge(&self, outputs: &[Output], targets: &Targets, clock: &Clock) -> Result<Penalty>;
}
