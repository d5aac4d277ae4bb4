//! Why a bundle could not be read or written.

use std::{io, path::PathBuf};

use base::config::ConfigError;
use models::WeightsError;

/// Why a bundle could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder is not a bundle.
    #[error("{}: this is not a bundle: name the folder of a `bundle.toml`, or a run", path.display())]
    NoBundle {
        /// The folder.
        path: PathBuf,
    },
    /// `bundle.toml` is not valid.
    #[error("{}: {reason}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The settings in `bundle.toml` have other names or types.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// The weights cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The weights do not fit the network of the description.
    #[error("{}: {source}", path.display())]
    OtherWeights {
        /// The file.
        path: PathBuf,
        /// The difference.
        source: WeightsError,
    },
    /// The weights are not those that were saved.
    #[error(
        "{}: {reason}: the file is damaged, or of another bundle: copy the bundle again, or make it anew with \
         `maskfit train` or `maskfit ensemble`",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How that shows.
        reason: String,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}
