//! Experiment trackers: where a run's metrics are logged. CSV and JSON Lines, TensorBoard, Weights &
//! Biases, MLflow.
//!
//! To add a tracker, write its file, declare it below, and give it a line in [`TrackConfig`].
//! A tracker that fails never stops a run: [`Trackers`] reports the failure once, as a note.

mod checksum;
mod csv;
mod histogram;
mod jsonl;
mod mlflow;
mod protobuf;
mod tensorboard;
mod trackers;
mod wandb;

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use image::RgbImage;

pub use histogram::Histogram;
pub use trackers::Trackers;

base::choice! {
    /// An entry of a config's `track`.
    pub enum TrackConfig: dyn Track {
        /// Logs metrics to `metrics.csv`, one row per step.
        "csv" => Csv(csv::Csv),
        /// Logs metrics to `metrics.jsonl`, one JSON object per step.
        "jsonl" => Jsonl(jsonl::Jsonl),
        /// Logs scalars, images and histograms as TensorBoard event files in `tensorboard/`: view them
        /// with `tensorboard --logdir runs`.
        "tensorboard" => TensorBoard(tensorboard::TensorBoard),
        /// Logs an offline Weights & Biases run to `wandb/`: upload it with `wandb sync`.
        "wandb" => Wandb(wandb::Wandb),
        /// Logs metrics and parameters to a run on an MLflow tracking server.
        "mlflow" => Mlflow(mlflow::Mlflow),
    }
}

/// The settings of a tracker, from which it is opened.
pub trait Track {
    /// Opens the tracker for a new run, or resumes it after `about.step` steps: values logged for later
    /// steps are discarded.
    ///
    /// # Errors
    /// Why the tracker cannot be opened.
    fn open(&self, about: &About<'_>) -> Result<Box<dyn Tracker>, TrackError>;

    /// Returns what is wrong with the settings, if anything.
    fn problem(&self) -> Option<String> {
        None
    }
}

/// An open tracker: logs the metrics of a run.
pub trait Tracker {
    /// Logs the scalars of a step, by name. Called once per step, in order.
    ///
    /// # Errors
    /// Why they cannot be logged. The method is still called for the next step.
    fn scalars(&mut self, step: usize, values: &[(&str, f64)]) -> Result<(), TrackError>;

    /// Logs an image of a step, before the step's scalars.
    ///
    /// # Errors
    /// As [`Tracker::scalars`].
    fn image(&mut self, _step: usize, _name: &str, _: &Png) -> Result<(), TrackError> {
        Ok(())
    }

    /// Logs a histogram of a step, before the step's scalars.
    ///
    /// # Errors
    /// As [`Tracker::scalars`].
    fn histogram(&mut self, _step: usize, _name: &str, _: &Histogram) -> Result<(), TrackError> {
        Ok(())
    }

    /// Ends the run; waits a few seconds at most.
    ///
    /// # Errors
    /// What could not be logged.
    fn finish(&mut self, _: End) -> Result<(), TrackError> {
        Ok(())
    }

    /// Returns whether the tracker logs images and histograms.
    fn logs_images(&self) -> bool {
        false
    }

    /// Returns the file to sync to disk before a checkpoint is written: a resumed run appends to what the
    /// file holds up to the checkpoint's step.
    fn table(&self) -> Option<File> {
        None
    }
}

/// An image encoded as PNG.
#[derive(Clone, Debug)]
pub struct Png {
    /// The encoded bytes.
    pub bytes: Vec<u8>,
    /// `[width, height]` in pixels.
    pub size: [u32; 2],
}

impl Png {
    /// Encodes an image as PNG, which is lossless.
    pub fn of(image: &RgbImage) -> Png {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let written = image.write_to(&mut bytes, image::ImageFormat::Png);
        written.expect("encoding a PNG into memory cannot fail");
        Png { bytes: bytes.into_inner(), size: image.dimensions().into() }
    }
}

/// The run that a tracker logs.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// The run's folder.
    pub dir: &'a Path,
    /// The run's name.
    pub name: &'a str,
    /// The cross-validation that the run is a fold of.
    pub group: Option<&'a str>,
    /// The number of completed steps.
    pub step: usize,
    /// The names of all scalars that will be logged, in order.
    pub columns: &'a [String],
    /// All settings.
    pub settings: &'a toml::Table,
    /// Tags that describe the settings, for trackers that have tags.
    pub tags: &'a [String],
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All steps are done.
    Finished,
    /// It was interrupted.
    Stopped,
    /// An error ended it.
    Failed,
}

/// Why a tracker could not log something.
#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A request to a server failed.
    #[error("{uri}: {reason}")]
    Server {
        /// The server's address.
        uri: String,
        /// Why.
        reason: String,
    },
}

/// Adds the path to an I/O error.
fn at(path: &Path) -> impl FnOnce(std::io::Error) -> TrackError {
    let path = path.to_owned();
    move |source| TrackError::Io { path, source }
}

/// The time since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The golden file: output of the libraries' own writers.
#[cfg(test)]
fn golden() -> serde_json::Value {
    let text = include_str!("../../../tests/golden/tracking.json");
    serde_json::from_str(text).expect("a golden file is JSON")
}
