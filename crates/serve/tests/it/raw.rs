//! Requests as bytes, which no HTTP client would send; and a small server to send them to.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use serve::{Options, Server};

use crate::{
    encoded::png,
    small::{bundle, start},
};

/// A server with one small model, `small`, and the folder of its bundle.
pub(crate) struct Running {
    server: Server,
    _dir: tempfile::TempDir,
}

impl Running {
    /// - `edit`: changes the settings.
    pub(crate) fn start(edit: impl FnOnce(&mut Options)) -> Running {
        let dir = tempfile::tempdir().unwrap();
        bundle(1).save(dir.path(), "1").unwrap();
        Running { server: start(&[("small", dir.path())], edit), _dir: dir }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.address()).unwrap();
        // No test waits forever.
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes, closes the client's side, and returns the response.
    pub(crate) fn send(&self, bytes: &[u8]) -> Response {
        let mut stream = self.connect();
        // The server may reply, and close, before it has everything.
        drop(stream.write_all(bytes));
        drop(stream.shutdown(Shutdown::Write));
        Response::read(&mut stream)
    }

    /// Checks that the server predicts an image.
    #[track_caller]
    pub(crate) fn check_alive(&self) {
        let response = self.send(&post("/predict", "image/png", &png(40, 30)));
        assert_eq!(response.status, 200, "{}", response.text);
    }
}

/// A response; status 0 where there was none.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// All that was received, with the header.
    pub(crate) text: String,
}

impl Response {
    /// Reads all until the server closes.
    pub(crate) fn read(stream: &mut TcpStream) -> Response {
        let (mut received, mut part) = (Vec::new(), [0; 4096]);
        loop {
            match stream.read(&mut part) {
                Ok(0) => break,
                Ok(n) => received.extend_from_slice(&part[..n]),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => {
                    let is_timeout =
                        matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                    assert!(!is_timeout, "the connection is still open after 20 s");
                    break;
                }
            }
        }
        let text = String::from_utf8_lossy(&received).into_owned();
        let status = text.strip_prefix("HTTP/1.1 ").and_then(|it| it.get(..3)?.parse().ok());
        Response { status: status.unwrap_or(0), text }
    }
}

/// A request, after which the server closes the connection.
pub(crate) fn post(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let n = body.len();
    let header = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
         Content-Length: {n}\r\n\r\n"
    );
    [header.as_bytes(), body].concat()
}

/// Numbers that look random, the same in every run: Vigna's `splitmix64`.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// Fewer than `n` bytes, at least one.
    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        let n = 1 + self.below(n - 1);
        (0..n).map(|_| self.next() as u8).collect()
    }

    /// Bytes of which some, at least one, are missing at the end.
    pub(crate) fn cut<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[..self.below(bytes.len())]
    }
}
