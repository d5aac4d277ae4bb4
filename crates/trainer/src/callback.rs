//! Who looks on: what a run says while it goes, and whether it is asked to stop.
//!
//! A watch sees; it cannot change anything but the end.

use augment::Image;

use crate::{evaluation::MainScores, profile::Profile};

/// Looks on.
pub trait Callback {
    /// Something that takes a while: `what`, of which `done` of `total` is done.
    fn progress(&self, what: &str, done: usize, total: usize);

    /// Something that a person should know.
    fn note(&self, text: &str);

    /// A step is done.
    fn step(&self, report: &StepReport);

    /// An evaluation is done.
    fn epoch(&self, report: &EpochReport);

    /// The run has ended, and this is where its time went.
    fn profile(&self, _: &Profile) {}

    /// Images on a sheet, under a title, for those who track the run; none where nobody draws.
    fn sheet(&self, _title: &str, _: &[SampleImage]) -> Option<Image> {
        None
    }

    /// Whether to end after this step.
    fn asks_to_stop(&self) -> bool;
}

/// A step as it went.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: usize,
    /// Steps of the whole run.
    pub total: usize,
    /// Epochs done, with their fraction.
    pub epoch: f64,
    /// The batch's loss.
    pub loss: f64,
    /// The learning rate.
    pub lr: f64,
    /// Images in the batch.
    pub n_images: usize,
    /// The share of the time since the last evaluation that was spent waiting for images.
    pub waiting: f64,
}

/// An image and what is said of it.
#[derive(Clone, Debug)]
pub struct SampleImage {
    /// As the network sees it.
    pub image: Image,
    /// Its class.
    pub given: String,
    /// The class that it is taken for.
    pub answered: String,
}

/// An evaluation as it went.
#[derive(Clone, Debug)]
pub struct EpochReport {
    /// Steps done.
    pub step: usize,
    /// Epochs done.
    pub epoch: f64,
    /// The mean loss of the steps since the evaluation before.
    pub train_loss: f64,
    /// For each scope its name and scores: the joint classes first, then each factor.
    pub scores: Vec<(String, MainScores)>,
    /// What the best model is chosen by.
    pub score: f64,
    /// Whether this is the best so far.
    pub is_best: bool,
    /// Training images a second since the evaluation before.
    pub images_per_second: f64,
    /// The share of that time spent waiting for images.
    pub waiting: f64,
    /// Seconds that the training took since the evaluation before.
    pub train_seconds: f64,
    /// Seconds that this evaluation took.
    pub eval_seconds: f64,
}
