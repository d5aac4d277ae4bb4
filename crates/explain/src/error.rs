//! Why an image could not be explained.

use augment::PipelineError;

/// Why an image could not be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The bundle has no such member.
    #[error("there is no model {member}: the bundle has {n}, numbered from 0")]
    NoMember {
        /// The position asked for.
        member: usize,
        /// The number of members.
        n: usize,
    },
    /// The network has no stage of this name with a feature map.
    #[error("the network has no stage `{name}` with a feature map: expected one of: {known}")]
    NoStage {
        /// The name asked for.
        name: String,
        /// The names of the stages with a feature map.
        known: String,
    },
    /// The task has no such factor, class or level.
    #[error("{0}")]
    NoTarget(String),
    /// The image could not be read or transformed.
    #[error(transparent)]
    Image(#[from] PipelineError),
    /// The output of the network, or a gradient, is not finite.
    #[error(
        "{0} is not finite (NaN or infinite): the weights are damaged, or training has diverged"
    )]
    NotFinite(&'static str),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}
