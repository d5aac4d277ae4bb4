//! Why there is no run.

use data::{LoadError, PackError, SplitError};
use models::WeightsError;

/// Why there is no run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Settings that make no sense.
    #[error("{}", .0.join("\n"))]
    Settings(Vec<String>),
    /// People that cannot be split.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// An image that cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A pack of these images that cannot be used.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Published weights that cannot be read or used.
    #[error("`model.pretrained`: {0}")]
    Weights(#[from] WeightsError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

/// What is wrong with the setting at `path`.
pub(super) fn wrong(path: &str) -> impl Fn(String) -> PlanError {
    move |what| PlanError::Settings(vec![format!("at `{path}`: {what}")])
}
