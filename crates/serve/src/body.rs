//! Reads the body of a request: up to a size, within a time, and within the memory for all bodies.
//!
//! A handler that fails early, because of a wrong token or a full queue, does not read the body. If the connection
//! were closed then, the client, still sending, would get a reset instead of the response. So what is left is read
//! and thrown away for a moment, as nginx does (`lingering_close`); not where the client waits for permission to send
//! it (`Expect: 100-continue`).

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody as _},
    extract::Request,
    http::{StatusCode, header::EXPECT},
    middleware::Next,
    response::Response,
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{error::ApiError, options::Limits};

/// How long what nobody reads is thrown away.
const LINGER: Duration = Duration::from_millis(500);

/// The unit of memory that is counted.
const UNIT: usize = 1024;

/// The memory for the bodies of all requests.
#[derive(Clone)]
pub(crate) struct Memory(Arc<Semaphore>);

impl Memory {
    pub(crate) fn new(n_bytes: usize) -> Memory {
        Memory(Arc::new(Semaphore::new(n_bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// Takes what is missing for `n_bytes`.
    fn grow(
        &self,
        held: &mut Option<OwnedSemaphorePermit>,
        n_bytes: usize,
    ) -> Result<(), ApiError> {
        let n_held = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let n_more = n_bytes.div_ceil(UNIT).saturating_sub(n_held);
        if n_more == 0 {
            return Ok(());
        }
        let n_more = u32::try_from(n_more).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.0).try_acquire_many_owned(n_more).map_err(|_| {
            let message = "the memory for requests is used up: send the request again later";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message)
        })?;
        match held {
            Some(it) => it.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }
}

/// The body of a request until a handler reads it; an extension of the request.
#[derive(Clone)]
pub(crate) struct Unread(Arc<Mutex<Body>>);

impl Unread {
    fn new(body: Body) -> Unread {
        Unread(Arc::new(Mutex::new(body)))
    }

    fn take(&self) -> Body {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put_back(&self, body: Body) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = body;
    }
}

/// A body in memory, which it counts as used until it is dropped.
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

/// Reads a body.
///
/// # Errors
/// 413, 408, 503 where the memory is used up, and 400 if the client stops sending.
pub(crate) async fn read(
    unread: &Unread,
    limits: &Limits,
    memory: &Memory,
) -> Result<Held, ApiError> {
    let mut body = unread.take();
    match timeout(limits.timeout, collect(&mut body, limits.max_body, memory)).await {
        Ok(Ok(held)) => Ok(held),
        Ok(Err(err)) => {
            unread.put_back(body);
            Err(err)
        }
        Err(_) => {
            let seconds = limits.timeout.as_secs_f64();
            let message = format!("the body did not arrive within {seconds} s");
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

async fn collect(body: &mut Body, max_body: usize, memory: &Memory) -> Result<Held, ApiError> {
    let too_large = || {
        let message = format!("the body exceeds the limit of {max_body} bytes (`--max-body`)");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    // What the header announces.
    if body.size_hint().lower() > max_body as u64 {
        return Err(too_large());
    }
    let (mut bytes, mut held) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|err| ApiError::bad(format!("the body cannot be read: {err}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let n_bytes = bytes.len() + data.len();
        if n_bytes > max_body {
            return Err(too_large());
        }
        memory.grow(&mut held, n_bytes)?;
        bytes.extend_from_slice(&data);
    }
    Ok(Held { bytes: bytes.freeze(), _memory: held })
}

/// Passes a request on with its body as the extension [`Unread`], and throws away what no handler has read.
pub(crate) async fn linger(request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let waits_for_permission = parts.headers.contains_key(EXPECT);
    let unread = Unread::new(body);
    parts.extensions.insert(unread.clone());
    let response = next.run(Request::from_parts(parts, Body::empty())).await;
    let mut rest = unread.take();
    if !rest.is_end_stream() && !waits_for_permission {
        let throw_away = async { while let Some(Ok(_)) = rest.frame().await {} };
        drop(timeout(LINGER, throw_away).await);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn memory_is_counted_and_given_back() {
        let memory = Memory::new(10 * 1024);
        let (mut a, mut b) = (None, None);
        memory.grow(&mut a, 1).unwrap();
        memory.grow(&mut a, 1024).unwrap();
        assert_eq!(memory.0.available_permits(), 9);
        memory.grow(&mut b, 9 * 1024).unwrap();
        let err = memory.grow(&mut a, 1025).unwrap_err();
        assert_eq!(err.status, 503);
        drop(b);
        memory.grow(&mut a, 10 * 1024).unwrap();
        drop(a);
        assert_eq!(memory.0.available_permits(), 10);
    }
}
