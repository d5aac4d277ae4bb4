//! Where a run's numbers go while it goes: tables, TensorBoard, Weights & Biases, MLflow.
//!
//! To add a tracker, write its file, declare it below, and give it a line in [`TrackConfig`].
//! A tracker that fails never stops a run: [`Trackers`] says so once, as a note.

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
        /// `metrics.csv`: a row for each step.
        "csv" => Csv(csv::Csv),
        /// `metrics.jsonl`: an object for each step.
        "jsonl" => Jsonl(jsonl::Jsonl),
        /// `tensorboard/`: scalars, images and histograms, for `tensorboard --logdir runs`.
        "tensorboard" => TensorBoard(tensorboard::TensorBoard),
        /// `wandb/`: an offline run of Weights & Biases, for `wandb sync`.
        "wandb" => Wandb(wandb::Wandb),
        /// A run on an MLflow server.
        "mlflow" => Mlflow(mlflow::Mlflow),
    }
}

/// A place where numbers go, as a config names it.
pub trait Track {
    /// Begins, or goes on after `about.step` steps: what it had of later ones is forgotten.
    ///
    /// # Errors
    /// What keeps it from beginning.
    fn open(&self, about: &About<'_>) -> Result<Box<dyn Tracker>, TrackError>;

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String> {
        None
    }
}

/// What takes a run's numbers.
pub trait Tracker {
    /// Takes the numbers of a step, by name, each step once and in order.
    ///
    /// # Errors
    /// What keeps it from taking them. It is asked again all the same, with the next step.
    fn scalars(&mut self, step: usize, values: &[(&str, f64)]) -> Result<(), TrackError>;

    /// Takes an image of a step, before the step's numbers.
    ///
    /// # Errors
    /// As with numbers.
    fn image(&mut self, _step: usize, _name: &str, _: &Png) -> Result<(), TrackError> {
        Ok(())
    }

    /// Takes a distribution of a step, before the step's numbers.
    ///
    /// # Errors
    /// As with numbers.
    fn histogram(&mut self, _step: usize, _name: &str, _: &Histogram) -> Result<(), TrackError> {
        Ok(())
    }

    /// The run has ended; waits a few seconds at most.
    ///
    /// # Errors
    /// What has not come through.
    fn finish(&mut self, _: End) -> Result<(), TrackError> {
        Ok(())
    }

    /// Whether it takes images and histograms.
    fn sees(&self) -> bool {
        false
    }

    /// What is to be on disk before a checkpoint is: a resumed run goes on behind what it holds of the
    /// checkpoint's step.
    fn table(&self) -> Option<File> {
        None
    }
}

/// An image as a file.
#[derive(Clone, Debug)]
pub struct Png {
    /// The file.
    pub bytes: Vec<u8>,
    /// Pixels to the side and down.
    pub size: [u32; 2],
}

impl Png {
    /// An image as a file, without loss.
    pub fn of(image: &RgbImage) -> Png {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let written = image.write_to(&mut bytes, image::ImageFormat::Png);
        written.expect("memory takes every image");
        Png { bytes: bytes.into_inner(), size: image.dimensions().into() }
    }
}

/// What a tracker is told of the run.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// The run's folder.
    pub dir: &'a Path,
    /// What the run is called.
    pub name: &'a str,
    /// The cross-validation that it is a fold of.
    pub group: Option<&'a str>,
    /// Steps that are done.
    pub step: usize,
    /// The names of all numbers that will come, in order.
    pub columns: &'a [String],
    /// All settings.
    pub settings: &'a toml::Table,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is finished.
    Finished,
    /// It was asked to stop.
    Stopped,
    /// It failed.
    Failed,
}

/// Why a tracker does not take something.
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
    /// A server does not take it.
    #[error("{uri}: {reason}")]
    Server {
        /// Where it is.
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

/// What the libraries' own writers make.
#[cfg(test)]
fn golden() -> serde_json::Value {
    let text = include_str!("../../../tests/golden/tracking.json");
    serde_json::from_str(text).expect("a golden file is JSON")
}
