//! The arguments of `maskfit serve`.

use std::{net::SocketAddr, path::PathBuf};

use super::values::number;

/// The models, the address, and the limits.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Models: bundles, runs or cross-validations, or `latest`; `NAME=BUNDLE` names one [default name: its
    /// folder's]. The first is the default of requests.
    #[arg(required = true, value_name = "BUNDLE")]
    pub(crate) bundles: Vec<PathBuf>,
    /// Address to listen on. One that other machines can reach needs a token or `--public`; port 0 means any.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Serve everyone who reaches the address, without a token.
    #[arg(long)]
    pub(crate) public: bool,
    /// File with the token that clients must send [default: the variable MASKFIT_TOKEN, if it is set].
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Maximum number of images per forward pass.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = number)]
    pub(crate) batch_size: usize,
    /// Maximum time in milliseconds that an image waits for others, to be predicted with them.
    #[arg(long, value_name = "MS", default_value_t = 5)]
    pub(crate) max_wait: u64,
    /// Maximum number of images of a model that are accepted and not predicted yet; further requests get the
    /// status 429.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = number)]
    pub(crate) queue: usize,
    /// Number of threads that decode images [default: one per core].
    #[arg(long, value_name = "N", value_parser = number)]
    pub(crate) num_workers: Option<usize>,
    /// Maximum size of a request's body in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = number)]
    pub(crate) max_body: usize,
    /// Maximum number of pixels of an image; a bundle may allow fewer.
    #[arg(long, value_name = "N", default_value_t = 50_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_pixels: u64,
    /// Maximum number of images per request.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = number)]
    pub(crate) max_images: usize,
    /// Maximum number of seconds for a request to arrive, and as many for its predictions.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = number)]
    pub(crate) timeout: usize,
    /// Maximum number of connections; more wait until one is closed.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = number)]
    pub(crate) max_connections: usize,
}
