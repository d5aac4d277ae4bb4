//! Reads the body of a request: up to a size, within a time, and within the memory for all bodies.
//!
//! A length that the header announces is reserved at once, and memory counts as used when it is reserved, so that it
//! is not exceeded while a buffer grows. Without a length the buffer doubles, up to the limit.
//!
//! A handler that fails early, because of a wrong token or a full queue, does not read the body. If the connection
//! were closed then, the client, still sending, would get a reset instead of the response. So what is left is read
//! and thrown away for a moment, as nginx does (`lingering_close`); not where the client waits for permission to send
//! it (`Expect: 100-continue`).

use std::{
    error::Error,
    io, mem,
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
use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    error::{ApiError, aborted},
    options::Limits,
};

/// How long what nobody reads is thrown away.
const LINGER: Duration = Duration::from_millis(500);

/// The least that is reserved for a body without a length.
const LEAST: usize = 64 << 10;

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

/// A body, and its memory.
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    /// What counts as used until this is dropped: as long as anything holds parts of the body.
    pub(crate) memory: Option<OwnedSemaphorePermit>,
}

/// Reads a body.
///
/// # Errors
/// 413, 408, 503 where the memory is used up, 499 if the client stops sending, and 400 for chunks that are none.
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
    let announced = body.size_hint().lower();
    if announced > max_body as u64 {
        return Err(too_large());
    }
    let (mut bytes, mut held) = (Vec::new(), None);
    memory.grow(&mut held, announced as usize)?;
    bytes.reserve_exact(announced as usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(unreadable)?.into_data() else { continue };
        let n_bytes = bytes.len() + data.len();
        if n_bytes > max_body {
            return Err(too_large());
        }
        if n_bytes > bytes.capacity() {
            let capacity = (2 * bytes.capacity()).max(LEAST).min(max_body).max(n_bytes);
            memory.grow(&mut held, capacity)?;
            bytes.reserve_exact(capacity - bytes.len());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Held { bytes: bytes.into(), memory: held })
}

/// The error of a body that has ended early, or that is not what its header announces.
fn unreadable(err: axum::Error) -> ApiError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&err);
    let mut is_wrong = false;
    while let Some(it) = cause {
        let kind = it.downcast_ref().map(io::Error::kind);
        is_wrong |= matches!(kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData));
        cause = it.source();
    }
    match is_wrong {
        true => ApiError::bad(format!("the body cannot be read: {err}")),
        false => ApiError::new(aborted(), "the client has stopped sending the body"),
    }
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
    use std::{
        convert::Infallible,
        pin::Pin,
        task::{Context, Poll},
        time::Duration,
    };

    use axum::body::{Body, HttpBody};
    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::body::Frame;
    use tokio::runtime::Builder;

    use super::{Memory, Unread, read};
    use crate::{error::ApiError, options::Limits};

    /// A body of some pieces of 10 KiB, without a length.
    struct Pieces(usize);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.checked_sub(1).map(|left| {
                self.0 = left;
                Ok(Frame::data(Bytes::from(vec![1; 10 << 10])))
            }))
        }
    }

    /// Reads a body of at most 300 KiB; returns its size, and what counts as used.
    fn read_all(body: Body, memory: &Memory) -> Result<(usize, usize), ApiError> {
        let limits =
            Limits { max_body: 300 << 10, timeout: Duration::from_secs(60), ..Limits::default() };
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let unread = Unread::new(body);
        let before = memory.0.available_permits();
        let held = runtime.block_on(read(&unread, &limits, memory))?;
        Ok((held.bytes.len(), before - memory.0.available_permits()))
    }

    #[test]
    fn what_is_reserved_counts_as_used() {
        let memory = Memory::new(400 << 10);
        let whole = |n: usize| Body::new(Full::new(Bytes::from(vec![1; n])));
        assert_eq!(read_all(whole(100 << 10), &memory).unwrap(), (100 << 10, 100));
        // Without a length: 64, 128, 256 KiB, and then no more than the limit.
        let pieces = |n: usize| Body::new(Pieces(n));
        assert_eq!(read_all(pieces(1), &memory).unwrap(), (10 << 10, 64));
        assert_eq!(read_all(pieces(13), &memory).unwrap(), (130 << 10, 256));
        assert_eq!(read_all(pieces(30), &memory).unwrap(), (300 << 10, 300));
        assert_eq!(read_all(pieces(31), &memory).unwrap_err().status, 413);
        assert_eq!(read_all(whole(301 << 10), &memory).unwrap_err().status, 413);
        // Announced, and not there.
        let small = Memory::new(100 << 10);
        assert_eq!(read_all(whole(101 << 10), &small).unwrap_err().status, 503);
        assert_eq!(small.0.available_permits(), 100);
        assert_eq!(memory.0.available_permits(), 400);
    }

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
