//! What is served, where, to whom, and the limits.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    thread,
    time::Duration,
};

use base::task::Unit;

use crate::token::Token;

/// The settings of a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// The addresses to listen on: the first that is free, such as of those that a name stands for. Port 0 means any
    /// free port.
    pub listen: Vec<SocketAddr>,
    /// The models; the first is the default. Each needs a name of its own.
    pub models: Vec<Source>,
    /// The token that clients need, if they need one.
    pub token: Option<Token>,
    /// Whether an address that other machines reach is fine without a token.
    pub is_public: bool,
    /// How images are batched.
    pub batching: Batching,
    /// What a client may ask for.
    pub limits: Limits,
    /// How often the files of the bundles are looked at.
    pub poll: Duration,
    /// How long connections without a request stay open after a stop: a client that is about to send its next
    /// request on one still gets its response.
    pub linger: Duration,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The name in URLs: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The folders of its bundles: one, or those of an ensemble, such as a cross-validation's.
    pub dirs: Vec<PathBuf>,
}

/// Dynamic batching: images of several requests are predicted together.
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    /// The maximum number of images per forward pass; fewer where each image has several views.
    pub batch_size: usize,
    /// The maximum time that an image waits for others. It does not wait where no other is being decoded.
    pub max_wait: Duration,
    /// The maximum number of images of a model that are accepted and not predicted yet.
    pub queue: usize,
    /// The number of threads that decode images, for all models.
    pub num_workers: usize,
}

/// The limits on requests.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The size of a request's body, in bytes.
    pub max_body: usize,
    /// The size of all bodies in memory, in bytes.
    pub max_memory: usize,
    /// The number of pixels of an image; a bundle may allow fewer.
    pub max_pixels: u64,
    /// The number of images per request.
    pub max_images: usize,
    /// The time for a request's header to arrive, for its body to arrive, for its predictions, and for each write
    /// of the response. A connection without a request is closed after it.
    pub timeout: Duration,
    /// The number of connections; more wait until one is closed.
    pub max_connections: usize,
}

impl Default for Batching {
    fn default() -> Batching {
        let num_workers = thread::available_parallelism().map_or(1, usize::from);
        Batching { batch_size: 32, max_wait: Duration::from_millis(5), queue: 256, num_workers }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_body: 32 << 20,
            max_memory: 512 << 20,
            max_pixels: 50_000_000,
            max_images: 64,
            timeout: Duration::from_secs(30),
            max_connections: 512,
        }
    }
}

impl Options {
    /// Returns the settings with their defaults: on port 8080 of the loopback address, without a token.
    pub fn new(models: Vec<Source>) -> Options {
        Options {
            listen: vec![(Ipv4Addr::LOCALHOST, 8080).into()],
            models,
            token: None,
            is_public: false,
            batching: Batching::default(),
            limits: Limits::default(),
            poll: Duration::from_secs(1),
            linger: Duration::from_secs(1),
        }
    }

    /// Returns what is wrong with the settings, if anything.
    pub fn problem(&self) -> Option<String> {
        let (Batching { queue, .. }, Limits { max_images, max_body, max_memory, .. }) =
            (self.batching, self.limits);
        let mut names = HashSet::new();
        let twice = self.models.iter().find(|it| !names.insert(it.name.as_str()));
        let is_guarded = self.is_public || self.token.is_some();
        let open = self.listen.iter().find(|it| !is_guarded && !it.ip().is_loopback());
        if self.models.is_empty() {
            return Some("no bundle is named".to_owned());
        }
        if let Some(Source { name, .. }) = twice {
            return Some(format!(
                "two bundles have the name `{name}`: name one of them differently, `NAME=PATH`"
            ));
        }
        if let Some(problem) = self.models.iter().find_map(Source::problem) {
            return Some(problem);
        }
        if self.listen.is_empty() {
            return Some("there is no address to listen on: name one with `--listen`".to_owned());
        }
        if let Some(address) = open {
            return Some(format!(
                "{address}: other machines can reach this address: require a token (`--token-file FILE`, or the \
                 variable MASKFIT_TOKEN), or serve everyone with `--public`"
            ));
        }
        if max_images > queue {
            return Some(format!(
                "a request may have {} (`--max-images`), but the queue has room for {queue} \
                 (`--queue`): raise one or lower the other",
                Unit::Image.count(max_images)
            ));
        }
        (max_body > max_memory).then(|| {
            format!(
                "a body may have {max_body} bytes (`--max-body`), but all bodies together {max_memory}: allow more \
                 for all, or less for one"
            )
        })
    }
}

impl Source {
    fn problem(&self) -> Option<String> {
        let is_fine = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.');
        let is_name = !self.name.is_empty() && self.name.chars().all(is_fine);
        (!is_name).then(|| {
            format!(
                "a model's name is part of URLs, and has only letters, digits, `-`, `_` and `.`, unlike `{}`: name \
                 it, `NAME=PATH`",
                self.name
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Options, Source};
    use crate::token::Token;

    fn options(names: &[&str]) -> Options {
        let source = |name: &&str| Source { name: (*name).to_owned(), dirs: Vec::new() };
        Options::new(names.iter().map(source).collect())
    }

    #[test]
    fn only_loopback_is_served_without_a_token_unless_asked_for() {
        let mut all = options(&["a", "b-1.0_c"]);
        for address in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:8080"] {
            all.listen = vec![address.parse().unwrap()];
            assert_eq!(all.problem(), None, "{address}");
        }
        // A name may stand for several.
        all.listen = ["127.0.0.1:1", "10.0.0.1:1"].map(|it| it.parse().unwrap()).to_vec();
        assert!(all.problem().unwrap().starts_with("10.0.0.1:1: "));
        all.listen.clear();
        assert!(all.problem().unwrap().contains("--listen"));
        for address in ["0.0.0.0:8080", "192.168.0.1:80", "[::]:8080"] {
            all.listen = vec![address.parse().unwrap()];
            let problem = all.problem().unwrap();
            assert!(problem.starts_with(address) && problem.contains("--public"), "{problem}");
            let token = Some(Token::new("0123456789abcdef").unwrap());
            assert_eq!(Options { token, ..all.clone() }.problem(), None);
            assert_eq!(Options { is_public: true, ..all.clone() }.problem(), None);
        }
    }

    #[test]
    fn names_are_distinct_and_fit_into_a_url() {
        assert!(options(&["a", "b", "a"]).problem().unwrap().contains("name `a`"));
        for wrong in ["", "a b", "a/b", "ä", "a?"] {
            assert!(options(&[wrong]).problem().unwrap().contains("part of URLs"), "{wrong}");
        }
        assert!(options(&[]).problem().is_some());
    }

    #[test]
    fn what_may_be_sent_must_fit() {
        let mut all = options(&["a"]);
        all.batching.queue = all.limits.max_images - 1;
        assert!(all.problem().unwrap().contains("--queue"));
        let mut all = options(&["a"]);
        all.limits.max_memory = all.limits.max_body - 1;
        assert!(all.problem().is_some());
    }
}
