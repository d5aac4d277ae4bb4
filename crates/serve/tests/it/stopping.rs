//! A stop loses nothing that was accepted.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use tempfile::tempdir;

use crate::small::{Client, bundle, check_same, expected, images, start};

/// Whether a client's error is that nobody listens any more.
fn is_gone(err: &ureq::Error) -> bool {
    match err {
        ureq::Error::Io(err) => err.kind() == io::ErrorKind::ConnectionRefused,
        ureq::Error::ConnectionFailed => true,
        _ => false,
    }
}

#[test]
fn every_request_of_a_client_is_replied_to_until_nobody_listens() {
    let dir = tempdir().unwrap();
    bundle(1).save(dir.path(), "1").unwrap();
    let images = images(6);
    let want = expected(dir.path(), &images, None);
    let server = start(&[("m", dir.path())], |_| {});
    let (clients, is_stopped) = ([(); 6].map(|()| Client::new(&server)), AtomicBool::new(false));
    thread::scope(|scope| {
        for (idx, client) in clients.iter().enumerate() {
            let (image, want, is_stopped) = (&images[idx], &want[idx], &is_stopped);
            scope.spawn(move || {
                loop {
                    match client.try_post("/predict", "image/png", image) {
                        Ok(reply) => check_same(&reply.ok()["images"][0], want),
                        Err(err) => {
                            assert!(is_gone(&err) && is_stopped.load(Ordering::Relaxed), "{err}");
                            return;
                        }
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(300));
        is_stopped.store(true, Ordering::Relaxed);
        server.stop();
    });
}

/// Reads a response up to the end of the connection.
fn read(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn what_was_begun_before_a_stop_is_finished_and_idle_connections_are_closed() {
    let dir = tempdir().unwrap();
    bundle(1).save(dir.path(), "1").unwrap();
    let server = start(&[("m", dir.path())], |it| it.linger = Duration::from_millis(500));
    let connect = || {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    };
    let image = &images(1)[0];
    let head = format!(
        "POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n",
        image.len()
    );
    let (mut in_body, mut in_header, mut later, idle) =
        (connect(), connect(), connect(), connect());
    in_body.write_all(head.as_bytes()).unwrap();
    in_body.write_all(&image[..10]).unwrap();
    in_header.write_all(&head.as_bytes()[..30]).unwrap();
    // Until the server has them all.
    let client = Client::new(&server);
    while !client.get("/metrics").text.contains("maskfit_connections 5") {
        thread::sleep(Duration::from_millis(5));
    }
    let (control, begun) = (server.control(), Instant::now());
    control.stop();
    thread::sleep(Duration::from_millis(50));
    // It lives, and takes nothing new; who asks must have been connected.
    assert_eq!(client.get("/v2/health/ready").status, 503);
    // The rest of what was begun, and a request on a connection that had none.
    later.write_all(&[head.as_bytes(), image].concat()).unwrap();
    in_header.write_all(&head.as_bytes()[30..]).unwrap();
    in_header.write_all(image).unwrap();
    thread::sleep(Duration::from_millis(700));
    // The body even after the moment for idle connections.
    in_body.write_all(&image[10..]).unwrap();
    for stream in [later, in_header, in_body] {
        let text = read(stream);
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(text.contains("connection: close"), "{text}");
    }
    assert_eq!(read(idle), "");
    server.wait();
    assert!(begun.elapsed() < Duration::from_secs(20));
}
