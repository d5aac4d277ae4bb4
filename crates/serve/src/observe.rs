//! What all routes have in common: the host, the token, request ids, logs and metrics.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    net::SocketAddr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{
        HeaderName, HeaderValue, Method, StatusCode, Version,
        header::{CONNECTION, HOST},
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{
    error::{ApiError, aborted},
    page,
    predict::Counted,
    state::Shared,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a client that is used.
const LONGEST_ID: usize = 64;

/// The beginning of generated ids, another one for each process.
static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());

static N_REQUESTS: AtomicU64 = AtomicU64::new(0);

/// The address of the client; an extension of the request.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Refuses requests that do not name one host, as RFC 9112 (3.2) demands of a server; in HTTP/1.0 they need none.
pub(crate) async fn demand_host(request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(HOST);
    let is_named = hosts.iter().all(|it| !it.as_bytes().trim_ascii().is_empty());
    let message = match hosts.iter().count() {
        1 if is_named => return next.run(request).await,
        1 => "the `Host` of the request is empty",
        0 if request.version() < Version::HTTP_11 => return next.run(request).await,
        0 => "the request has no `Host`",
        _ => "the request has several `Host` headers: send one",
    };
    ApiError::bad(message).into_response()
}

/// Refuses requests without the token, except for the page and the health of the server.
pub(crate) async fn authorise(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let is_open = page::has(path) || path.starts_with("/v2/health/");
    match &shared.token {
        Some(token) if !is_open && !token.is_in(request.headers()) => {
            let message = "a token is needed: send `Authorization: Bearer TOKEN`";
            ApiError::new(StatusCode::UNAUTHORIZED, message).into_response()
        }
        _ => next.run(request).await,
    }
}

/// A request that has no response yet. Where that never comes, because its client is gone, it is counted as aborted.
struct Pending {
    shared: Arc<Shared>,
    begun: Instant,
    id: HeaderValue,
    peer: String,
    method: Method,
    path: String,
    route: Option<String>,
    has_ended: bool,
}

impl Pending {
    /// Logs it and counts it.
    fn end(&mut self, status: StatusCode, images: usize) {
        self.has_ended = true;
        let Pending { shared, begun, id, peer, method, path, route, .. } = self;
        let (status, took) = (status.as_u16(), begun.elapsed());
        shared.metrics.responded(route.as_deref().unwrap_or("none"), status, took);
        let (ms, id, path) =
            (took.as_micros() as f64 / 1e3, id.to_str().unwrap_or_default(), &**path);
        let peer = &**peer;
        // Probes and scrapes would hide the rest.
        let is_probe = |it: &String| it.starts_with("/v2/health/") || it == "/metrics";
        match route.as_ref().is_some_and(is_probe) {
            true => tracing::debug!(id, peer, %method, path, status, images, ms, "request"),
            false => tracing::info!(id, peer, %method, path, status, images, ms, "request"),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.has_ended {
            self.end(aborted(), 0);
        }
    }
}

/// Gives a request an id, logs it and counts it.
pub(crate) async fn observe(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let id = id_of(&request);
    let extensions = request.extensions();
    let mut pending = Pending {
        shared: Arc::clone(&shared),
        begun: Instant::now(),
        id: id.clone(),
        peer: extensions.get().map(|Peer(it)| it.to_string()).unwrap_or_default(),
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        route: extensions.get().map(|it: &MatchedPath| it.as_str().to_owned()),
        has_ended: false,
    };
    let mut response = next.run(request).await;
    let images = response.extensions().get().map_or(0, |Counted(n)| *n);
    pending.end(response.status(), images);
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    if shared.is_stopping() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Returns the id of a request: the client's, if it is short and plain, or a new one.
fn id_of(request: &Request) -> HeaderValue {
    let is_plain = |it: &u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.' | b':');
    let is_fine = |it: &&HeaderValue| {
        (1..=LONGEST_ID).contains(&it.len()) && it.as_bytes().iter().all(is_plain)
    };
    if let Some(id) = request.headers().get(REQUEST_ID).filter(is_fine) {
        return id.clone();
    }
    let n = N_REQUESTS.fetch_add(1, Ordering::Relaxed);
    let id = HeaderValue::from_str(&format!("{:016x}-{n}", *PROCESS));
    id.unwrap_or(HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::Request};

    use super::id_of;

    #[test]
    fn a_plain_id_is_kept_and_any_other_replaced() {
        let id = |sent: &str| {
            let request = Request::builder().header("x-request-id", sent).body(Body::empty());
            id_of(&request.unwrap()).to_str().unwrap().to_owned()
        };
        assert_eq!(id("a-1.b_2:c"), "a-1.b_2:c");
        let replaced = ["", "a b", "a\"b", "{x}", &"x".repeat(65)].map(id);
        assert!(replaced.iter().all(|it| it.len() >= 18), "{replaced:?}");
        let mut distinct = replaced.to_vec();
        distinct.dedup();
        assert_eq!(distinct.len(), replaced.len());
    }
}
