//! Why a server cannot start.

use std::io;

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The settings are wrong.
    #[error("{0}")]
    Options(String),
    /// A model cannot be opened.
    #[error("model `{name}`: {reason}")]
    Model {
        /// The name of the model.
        name: String,
        /// The reason.
        reason: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addresses}: {source}: choose another address with `--listen`")]
    Listen {
        /// The address, or those that were tried.
        addresses: String,
        /// The reason.
        source: io::Error,
    },
    /// The threads of the server cannot be started.
    #[error("cannot start the threads of the server: {0}")]
    Threads(io::Error),
}
