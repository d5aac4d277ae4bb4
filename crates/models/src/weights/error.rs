//! Why weights could not be read or used.

use std::path::PathBuf;

/// Why weights could not be read or used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be opened.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file opens, but its content cannot be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The tensors are of another architecture or variant.
    #[error("{0}")]
    DoNotFit(String),
    /// Values that are not finite, or negative variances.
    #[error(
        "these weights are unusable: use weights of an earlier step, or of another file{}",
        first_few(.0)
    )]
    NotFinite(Vec<String>),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

/// Lists problems, one per line: the first five, and the number of the others.
pub fn first_few(problems: &[String]) -> String {
    let shown = problems.iter().take(5).map(|it| format!("\n  {it}")).collect::<String>();
    match problems.len().saturating_sub(5) {
        0 => shown,
        more => format!("{shown}\n  and {more} more"),
    }
}
