//! Why a run fails.

use base::names::listed;
use data::LoadError;
use infer::{BundleError, PredictError};

use crate::{plan::PlanError, run::RunError};

/// Why a run failed. What was saved before remains intact.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The settings, the data or the weights are invalid.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// An image could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The model could not predict.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// A file of the run could not be read or written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A bundle could not be read or written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The loss, a gradient or a weight is not finite (NaN or infinite). No checkpoint is written then: the
    /// weights that led there may be bad already, and would replace good ones.
    #[error(
        "step {step}: {what}: lower `optim.lr`, clip gradients (`train.clip`) or warm up longer \
         (`train.warmup`), and resume with `--allow-changes`{}",
        batch(images)
    )]
    NotFinite {
        /// The step, from 1.
        step: usize,
        /// What is not finite.
        what: String,
        /// The images of the batch; empty where a weight is not finite.
        images: Vec<String>,
    },
    /// The settings have changed since the run started.
    #[error(
        "{}: this run started with different settings:\n  {}\nrestore them, or pass `--allow-changes` to \
         resume with the new ones",
        run.display(),
        changes.join("\n  ")
    )]
    OtherSettings {
        /// The run's folder.
        run: std::path::PathBuf,
        /// The setting, its old value and its new one.
        changes: Vec<String>,
    },
    /// The trained state belongs to another network or optimizer.
    #[error(
        "{}: the trained state does not fit the new settings ({reason}):\n  {}\nrestore those of the \
         network and the optimizer, or start a new run",
        run.display(),
        changes.join("\n  ")
    )]
    Misfit {
        /// The run's folder.
        run: std::path::PathBuf,
        /// Where it does not fit.
        reason: String,
        /// The setting, its old value and its new one.
        changes: Vec<String>,
    },
    /// The run is already longer than its new length.
    #[error(
        "at `train.total`: {done} steps are done, but the run is set to {total}: set more, or use the \
         bundle in `best`"
    )]
    Over {
        /// Steps done.
        done: usize,
        /// Steps that are set.
        total: usize,
    },
    /// The run is in another phase than its steps are, according to the new settings.
    #[error(
        "at `phase`: {step} steps are done and phase {phase} has begun, but with the new settings these steps \
         are not in that phase: restore the lengths of the phases up to this one, or start a new run"
    )]
    OtherPhases {
        /// Steps done.
        step: usize,
        /// The phase, from 1.
        phase: usize,
    },
    /// The machine or the card does not have enough memory.
    #[error(
        "{of}: this run needs about {}, but only {} is free: {remedy} (or set `run.check_memory = false` at \
         your own risk)",
        size(*need),
        size(*free)
    )]
    Memory {
        /// Which memory: that of the machine, or of a card.
        of: String,
        /// Bytes that it needs.
        need: f64,
        /// Bytes that are free.
        free: f64,
        /// What to change.
        remedy: String,
    },
    /// The data has changed since the run started.
    #[error(
        "{}: the data is not what this run started with:\n  {}\nrestore it, or pass `--allow-changes` to \
         resume with the new data",
        run.display(),
        changes.join("\n  ")
    )]
    OtherData {
        /// The run's folder.
        run: std::path::PathBuf,
        /// The kind of each change, the number of images, and the first of them.
        changes: Vec<String>,
    },
    /// Images have changed sides, which would make scores wrong.
    #[error(
        "{}: images have moved between the training and validation sets since this run started, so it \
         would be validated on images that it was trained on:\n  {}\nrestore data and settings, or start a new run",
        run.display(),
        changes.join("\n  ")
    )]
    OtherSides {
        /// The run's folder.
        run: std::path::PathBuf,
        /// The kind of each change, the number of images, and the first of them.
        changes: Vec<String>,
    },
    /// The data or the settings of a cross-validation have changed since it started.
    #[error(
        "{}: the data or the settings are not what this cross-validation started with:\n  {}\nrestore them, or start a new one",
        run.display(),
        changes.join("\n  ")
    )]
    OtherFolds {
        /// The cross-validation's folder.
        run: std::path::PathBuf,
        /// The kind of each change, the number of images, and the first of them.
        changes: Vec<String>,
    },
    /// Folds of a cross-validation are not finished.
    #[error(
        "{}: {} not finished: train {} with `kfold run`, then join",
        run.display(),
        folds(missing),
        if missing.len() == 1 { "it" } else { "them" }
    )]
    Unfinished {
        /// The cross-validation's folder.
        run: std::path::PathBuf,
        /// The folds, from 0.
        missing: Vec<usize>,
    },
    /// The run has no checkpoint to start from.
    #[error("{}: the run has no checkpoint yet: checkpoints are saved during training", .0.display())]
    NoCheckpoint(std::path::PathBuf),
    /// Some parameters get no gradient.
    #[error("these parameters get no gradient, a bug in the network's code: {}", .0.join(", "))]
    NoGradient(Vec<String>),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

impl FitError {
    /// Returns whether the run was refused before a step was taken.
    pub fn is_refusal(&self) -> bool {
        use FitError::{
            Memory, Misfit, NoGradient, OtherData, OtherFolds, OtherPhases, OtherSettings,
            OtherSides, Over, Plan, Unfinished,
        };
        matches!(
            self,
            Plan(_)
                | Memory { .. }
                | OtherSettings { .. }
                | Misfit { .. }
                | Over { .. }
                | OtherPhases { .. }
                | OtherData { .. }
                | OtherSides { .. }
                | OtherFolds { .. }
                | Unfinished { .. }
                | NoGradient(_)
        )
    }
}

/// Formats folds as the subject of a sentence: `fold 3 is`, `folds 0, 3 are`.
fn folds(folds: &[usize]) -> String {
    match folds {
        [one] => format!("fold {one} is"),
        _ => format!("folds {} are", listed(folds)),
    }
}

/// Formats the images of a batch as the end of a message.
fn batch(images: &[String]) -> String {
    match images {
        [] => String::new(),
        _ => format!("; the batch's images are {}", images.join(", ")),
    }
}

/// Formats a number of bytes.
pub(crate) fn size(bytes: f64) -> String {
    let mib = bytes / f64::from(1 << 20);
    match mib < 1024.0 {
        true => format!("{mib:.0} MiB"),
        false => format!("{:.1} GiB", mib / 1024.0),
    }
}
