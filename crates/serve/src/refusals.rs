//! JSON for what hyper refuses before it is a request: what is not HTTP (400), too long a path (414), too large a
//! header (431).
//!
//! Hyper has no hook for these: it writes the header of a response without a body. That is replaced on its way to the
//! client. It is known by what it lacks, because every response of the routes has a request id.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::metrics::Metrics;

/// A stream to a client, on which hyper's own responses are replaced.
pub(crate) struct Refusals<S> {
    stream: S,
    peer: SocketAddr,
    metrics: Arc<Metrics>,
    /// What is left of a response that is written in place of hyper's.
    reply: Option<Vec<u8>>,
}

impl<S> Refusals<S> {
    pub(crate) fn new(stream: S, peer: SocketAddr, metrics: Arc<Metrics>) -> Refusals<S> {
        Refusals { stream, peer, metrics, reply: None }
    }
}

/// Returns the status of bytes that are a response of hyper itself.
fn refused(bytes: &[u8]) -> Option<StatusCode> {
    const ID: &[u8] = b"\r\nx-request-id:";
    let status = bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let status = StatusCode::from_bytes(status).ok().filter(StatusCode::is_client_error)?;
    let is_own = !bytes.ends_with(b"\r\n\r\n") || bytes.windows(ID.len()).any(|it| it == ID);
    (!is_own).then_some(status)
}

/// Returns the response for a status.
fn reply(status: StatusCode) -> Vec<u8> {
    let message = match status {
        StatusCode::URI_TOO_LONG => "the path and the query of the request are too long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "the header of the request is too large, or has too many fields"
        }
        _ => "this is not a request in HTTP/1.1: check its first line and its header",
    };
    let body = json!({ "error": message }).to_string();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl<S: AsyncRead + Unpin> AsyncRead for Refusals<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, to)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Refusals<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.reply.is_none()
            && let Some(status) = refused(bytes)
        {
            this.metrics.responded("none", status.as_u16(), Duration::ZERO);
            tracing::info!(peer = %this.peer, status = status.as_u16(), "not a request");
            this.reply = Some(reply(status));
        }
        let Some(reply) = &mut this.reply else {
            return Pin::new(&mut this.stream).poll_write(context, bytes);
        };
        while !reply.is_empty() {
            match ready!(Pin::new(&mut this.stream).poll_write(context, reply))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => drop(reply.drain(..n)),
            }
        }
        this.reply = None;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = parts.iter().find(|it| !it.is_empty()).map_or(&[][..], |it| &**it);
        match self.reply.is_some() || refused(first).is_some() {
            true => self.poll_write(context, first),
            false => Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::{refused, reply};

    #[test]
    fn only_responses_of_hyper_itself_are_replaced() {
        let of_hyper = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        let status = refused(of_hyper).unwrap();
        assert_eq!(status, 431);
        let text = String::from_utf8(reply(status)).unwrap();
        assert!(text.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{text}");
        for other in [
            &b"HTTP/1.1 404 Not Found\r\nx-request-id: 1\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 404 Not",
            b"HTTP/1.1 4",
            b"{\"error\": \"\"}",
            b"",
        ] {
            assert_eq!(refused(other), None, "{}", other.escape_ascii());
        }
    }
}
