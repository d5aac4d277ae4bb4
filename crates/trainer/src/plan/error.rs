//! Why a run cannot be planned.

use data::{LoadError, PackError, SplitError};
use models::WeightsError;

use crate::{continued::EarlierError, phase::PhaseSection};

/// Why a run cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Invalid settings, one message per line.
    #[error("{}", .0.join("\n"))]
    Settings(Vec<String>),
    /// The groups cannot be split.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// An image cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A pack of these images cannot be used.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Published weights cannot be read or used.
    #[error("`model.pretrained`: {0}")]
    Weights(#[from] WeightsError),
    /// The bundle to continue from cannot be read or used.
    #[error("`model.pretrained`: {0}")]
    Earlier(Box<EarlierError>),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

impl PlanError {
    /// Adds to messages on settings which phase they are of.
    ///
    /// - `phase`: its position and its section; `None` where the run is one phase.
    pub(super) fn in_phase(self, phase: Option<(usize, &PhaseSection)>) -> PlanError {
        match (self, phase) {
            (PlanError::Settings(all), Some((idx, phase))) => {
                PlanError::Settings(all.iter().map(|it| phase.located(idx, it)).collect())
            }
            (other, _) => other,
        }
    }
}

/// Returns the error of the setting at `path`, from a message.
pub(crate) fn wrong(path: &str) -> impl Fn(String) -> PlanError {
    move |what| PlanError::Settings(vec![format!("at `{path}`: {what}")])
}

impl From<EarlierError> for PlanError {
    fn from(err: EarlierError) -> PlanError {
        PlanError::Earlier(Box::new(err))
    }
}
