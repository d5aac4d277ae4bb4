//! The arguments of `maskfit serve`.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
};

use super::values::number;

/// The addresses that a name stands for, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses(pub(crate) Vec<SocketAddr>);

/// The models, the address, and the limits.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Models: bundles, runs or cross-validations, or `latest`; `NAME=BUNDLE` names one [default name: its
    /// folder's]. The first is the default of requests.
    #[arg(required = true, value_name = "BUNDLE")]
    pub(crate) bundles: Vec<PathBuf>,
    /// Address to listen on, or a name and a port. One that other machines can reach needs a token or `--public`;
    /// port 0 means any.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = addresses)]
    pub(crate) listen: Addresses,
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

/// Parses an address, or a name with a port.
fn addresses(text: &str) -> Result<Addresses, String> {
    let wrong = |why: String| {
        format!(
            "{why}: expected an address and a port, such as `127.0.0.1:8080` or `localhost:8080`"
        )
    };
    let found: Vec<SocketAddr> =
        text.to_socket_addrs().map_err(|it| wrong(it.to_string()))?.collect();
    match found.is_empty() {
        true => Err(wrong("the name has no address".to_owned())),
        false => Ok(Addresses(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::addresses;

    #[test]
    fn a_name_stands_for_its_addresses() {
        let found = addresses("127.0.0.1:80").unwrap().0;
        assert_eq!(found, ["127.0.0.1:80".parse().unwrap()]);
        let found = addresses("localhost:80").unwrap().0;
        assert!(found.iter().all(|it| it.ip().is_loopback() && it.port() == 80), "{found:?}");
        for wrong in ["8080", "localhost", "127.0.0.1", "127.0.0.1:99999", ""] {
            assert!(addresses(wrong).unwrap_err().contains("`localhost:8080`"), "{wrong}");
        }
    }
}
