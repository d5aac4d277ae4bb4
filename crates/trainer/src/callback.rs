//! Callbacks: what a run reports while it trains, and whether to stop it.
//!
//! A callback only observes; it can change nothing except to stop the run early. It ignores what it does not implement.

use augment::Image;

use crate::{evaluation::MainScores, profile::Profile};

/// Receives the events of a run.
pub trait Callback {
    /// Called during a long operation `what`, of which `done` of `total` is done.
    fn progress(&self, _what: &str, _done: usize, _total: usize) {}

    /// Called with a message for the user.
    fn note(&self, _text: &str) {}

    /// Called after each step.
    fn step(&self, _: &StepReport) {}

    /// Called after each evaluation.
    fn epoch(&self, _: &EpochReport) {}

    /// Called at the end of the run, with the time spent on each activity.
    fn profile(&self, _: &Profile) {}

    /// Renders images as a contact sheet with a title, for the trackers; `None` where there is no renderer.
    fn sheet(&self, _title: &str, _: &[SampleImage]) -> Option<Image> {
        None
    }

    /// Returns whether to stop after this step.
    fn should_stop(&self) -> bool {
        false
    }

    /// Finds out whether another process has taken the run over, so that nothing more may be logged for it.
    fn is_taken_over(&self) -> bool {
        false
    }
}

/// The results of a step.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// Steps done, including this one.
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
    /// Data wait: the share of the time since the last evaluation spent waiting for images.
    pub data_wait: f64,
}

/// An image with its label and prediction.
#[derive(Clone, Debug)]
pub struct SampleImage {
    /// The image as the network receives it.
    pub image: Image,
    /// Its label.
    pub label: String,
    /// The predicted class.
    pub predicted: String,
}

/// The results of an evaluation.
#[derive(Clone, Debug)]
pub struct EpochReport {
    /// Steps done.
    pub step: usize,
    /// Epochs done.
    pub epoch: f64,
    /// The mean loss of the steps since the previous evaluation.
    pub train_loss: f64,
    /// The name and scores of each scope: the joint classes first, then each factor.
    pub scores: Vec<(String, MainScores)>,
    /// The kind of the metric that selects the best model.
    pub metric: &'static str,
    /// The score that selects the best model.
    pub score: f64,
    /// Whether this is the best so far.
    pub is_best: bool,
    /// Whether the model is trained on the validation set too, so that its scores are meaningless.
    pub trained_on_valid: bool,
    /// Training images per second since the previous evaluation.
    pub images_per_second: f64,
    /// Data wait: the share of that time spent waiting for images.
    pub data_wait: f64,
    /// Seconds of training since the previous evaluation.
    pub train_seconds: f64,
    /// Seconds of this evaluation.
    pub eval_seconds: f64,
}
