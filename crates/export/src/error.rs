//! Why a bundle cannot be exported.

/// Why a bundle cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The bundle has something that the format cannot express; the message says what, and what to do.
    #[error("{0}")]
    Unfit(String),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}
