//! What all routes have in common: the token, request ids, logs and metrics.

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
    http::{HeaderName, HeaderValue, StatusCode, header::CONNECTION},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{error::ApiError, page, predict::Counted, state::Shared};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a client that is used.
const LONGEST_ID: usize = 64;

/// The beginning of generated ids, another one for each process.
static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());

static N_REQUESTS: AtomicU64 = AtomicU64::new(0);

/// The address of the client; an extension of the request.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

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

/// Gives a request an id, logs it and counts it.
pub(crate) async fn observe(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let id = id_of(&request);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let extensions = request.extensions();
    let peer = extensions.get().map(|Peer(it)| it.to_string()).unwrap_or_default();
    let route = extensions.get().map(|it: &MatchedPath| it.as_str().to_owned());
    let mut response = next.run(request).await;
    let (status, took) = (response.status().as_u16(), begun.elapsed());
    shared.metrics.responded(route.as_deref().unwrap_or("none"), status, took);
    let images = response.extensions().get().map_or(0, |Counted(n)| *n);
    let (ms, id_text) = (took.as_secs_f64() * 1e3, id.to_str().unwrap_or_default());
    // Probes and scrapes would hide the rest.
    match route.is_some_and(|it| it.starts_with("/v2/health/") || it == "/metrics") {
        true => tracing::debug!(id = id_text, peer, %method, path, status, images, ms, "request"),
        false => tracing::info!(id = id_text, peer, %method, path, status, images, ms, "request"),
    }
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
