//! Why a run fails.

use data::LoadError;
use infer::{BundleError, PredictError};

use crate::{plan::PlanError, run::RunError};

/// Why a run failed. What was saved before is whole.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The settings, the data or the weights are at fault.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// An image could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The model could not answer.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// A file of the run could not be read or written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A bundle could not be read or written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The loss, a gradient or a weight is no number any more. No checkpoint is written then: weights
    /// that lead there may be bad already, and would take the place of good ones.
    #[error(
        "step {step}: {what}: lower `optim.lr`, clip gradients (`train.clip`) or warm up longer \
         (`train.warmup`), with `--allow-changes` where the run goes on{}",
        batch(images)
    )]
    NotFinite {
        /// The step, from 1.
        step: usize,
        /// What is not finite.
        what: String,
        /// The images of the batch; none where it is the weights.
        images: Vec<String>,
    },
    /// The settings are not what they were.
    #[error(
        "{}: this run began with other settings:\n  {}\nleave them as they were, or say \
         `--allow-changes` to resume with these",
        run.display(),
        changes.join("\n  ")
    )]
    OtherSettings {
        /// The run's folder.
        run: std::path::PathBuf,
        /// Where, what it was and what it is.
        changes: Vec<String>,
    },
    /// What was learnt is of another network or optimizer.
    #[error(
        "{}: what it has learnt does not fit the new settings ({reason}):\n  {}\nput back those of the \
         network and the optimizer, or begin a new run",
        run.display(),
        changes.join("\n  ")
    )]
    Misfit {
        /// The run's folder.
        run: std::path::PathBuf,
        /// Where it does not fit.
        reason: String,
        /// Where, what it was and what it is.
        changes: Vec<String>,
    },
    /// The run is to be shorter than it is.
    #[error(
        "at `train.total`: {done} steps are done, and the run is to have {total}: set more, or keep the \
         bundle that is in `best`"
    )]
    Over {
        /// Steps done.
        done: usize,
        /// Steps that it is to have.
        total: usize,
    },
    /// The machine is too small.
    #[error(
        "memory: this run needs about {}, and {} are free: {remedy} (or `run.check_memory = false`, at \
         your own risk)",
        size(*need),
        size(*free)
    )]
    Memory {
        /// Bytes that it needs.
        need: f64,
        /// Bytes that are free.
        free: f64,
        /// What to do.
        remedy: String,
    },
    /// The data is not what it was.
    #[error(
        "{}: the data is not what this run began with:\n  {}\nput it back, or say `--allow-changes` to \
         resume with this",
        run.display(),
        changes.join("\n  ")
    )]
    OtherData {
        /// The run's folder.
        run: std::path::PathBuf,
        /// What, how many images, and the first of them.
        changes: Vec<String>,
    },
    /// The data is not what it was, in a way that would make scores wrong.
    #[error(
        "{}: images are not on the sides that this run began with, so that what it was trained on would \
         be validated on:\n  {}\nput data and settings back, or begin a new run",
        run.display(),
        changes.join("\n  ")
    )]
    OtherSides {
        /// The run's folder.
        run: std::path::PathBuf,
        /// What, how many, and the first of them.
        changes: Vec<String>,
    },
    /// The data or the settings of a cross-validation are not what they were.
    #[error(
        "{}: the data or the settings are not what this cross-validation began with:\n  {}\nput them back, or begin a new one",
        run.display(),
        changes.join("\n  ")
    )]
    OtherFolds {
        /// The cross-validation's folder.
        run: std::path::PathBuf,
        /// What, how many, and the first of them.
        changes: Vec<String>,
    },
    /// There is nothing to begin from.
    #[error("{}: the run has no checkpoint yet: they are written on its way", .0.display())]
    NoCheckpoint(std::path::PathBuf),
    /// Some parameters take no part.
    #[error("these parameters get no gradient, a fault of the network's code: {}", .0.join(", "))]
    NoGradient(Vec<String>),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

impl FitError {
    /// Whether it was refused, before a step was taken.
    pub fn is_refusal(&self) -> bool {
        use FitError::{
            Memory, Misfit, NoGradient, OtherData, OtherFolds, OtherSettings, OtherSides, Over,
            Plan,
        };
        matches!(
            self,
            Plan(_)
                | Memory { .. }
                | OtherSettings { .. }
                | Misfit { .. }
                | Over { .. }
                | OtherData { .. }
                | OtherSides { .. }
                | OtherFolds { .. }
                | NoGradient(_)
        )
    }
}

/// The images of a batch, as the end of a sentence.
fn batch(images: &[String]) -> String {
    match images {
        [] => String::new(),
        _ => format!("; the batch's images are {}", images.join(", ")),
    }
}

/// Bytes as a person reads them.
pub(crate) fn size(bytes: f64) -> String {
    let mib = bytes / f64::from(1 << 20);
    match mib < 1024.0 {
        true => format!("{mib:.0} MiB"),
        false => format!("{:.1} GiB", mib / 1024.0),
    }
}
