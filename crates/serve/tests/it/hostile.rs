//! Clients that mean harm: small files of huge images, large bodies, slow senders, closed and garbled connections.
//! Each is refused, and the server still predicts for others.

use std::{
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

use crate::{
    encoded::png,
    raw::{Random, Response, Running, post},
};

/// The width and height of a bomb.
const SIDE: u16 = 60_000;

/// The CRC-32 of a PNG's chunk.
fn crc(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, it| (0..8).fold(crc ^ u32::from(*it), bit))
}

/// A chunk of a PNG.
fn chunk(kind: &[u8], data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u32).to_be_bytes();
    let body = [kind, data].concat();
    [&length[..], &body, &crc(&body).to_be_bytes()].concat()
}

fn png_bomb() -> Vec<u8> {
    let side = u32::from(SIDE).to_be_bytes();
    let header = [&side[..], &side, &[8, 2, 0, 0, 0]].concat();
    let data = chunk(b"IDAT", &[0x78, 0x9c, 3, 0, 0, 0, 0, 1]);
    [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &header), &data, &chunk(b"IEND", b"")].concat()
}

fn gif_bomb() -> Vec<u8> {
    let side = SIDE.to_le_bytes();
    let screen = [&b"GIF89a"[..], &side, &side, &[0x80, 0, 0], &[0; 6]].concat();
    let frame = [&[0x2c, 0, 0, 0, 0][..], &side, &side, &[0, 2, 2, 0x44, 1, 0, 0x3b]].concat();
    [screen, frame].concat()
}

/// WebP's extended header, whose sizes have 24 bits.
fn webp_bomb() -> Vec<u8> {
    let side = (u32::from(SIDE) - 1).to_le_bytes();
    let header = [&b"VP8X\x0a\0\0\0\0\0\0\0"[..], &side[..3], &side[..3]].concat();
    let data = [&b"VP8L\x06\0\0\0"[..], &[0x2f, 0xff, 0xff, 0xff, 0x0f, 0]].concat();
    let body = [&b"WEBP"[..], &header, &data].concat();
    [&b"RIFF"[..], &(body.len() as u32).to_le_bytes(), &body].concat()
}

/// WebP's lossless format, whose sizes have 14 bits.
fn webp_lossless_bomb() -> Vec<u8> {
    let data = [&b"VP8L\x06\0\0\0"[..], &[0x2f, 0xff, 0xff, 0xff, 0x0f, 0]].concat();
    let body = [&b"WEBP"[..], &data].concat();
    [&b"RIFF"[..], &(body.len() as u32).to_le_bytes(), &body].concat()
}

fn tiff_bomb() -> Vec<u8> {
    let side = u32::from(SIDE);
    let entries = [
        (256_u16, side),
        (257, side),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, side),
        (279, side),
    ];
    let mut bytes = b"II*\0\x08\0\0\0".to_vec();
    bytes.extend((entries.len() as u16).to_le_bytes());
    for (tag, value) in entries {
        // Type 4, a number of 32 bits.
        bytes.extend([&tag.to_le_bytes()[..], &[4, 0, 1, 0, 0, 0], &value.to_le_bytes()].concat());
    }
    bytes.extend([0; 4]);
    bytes
}

fn bmp_bomb() -> Vec<u8> {
    let side = u32::from(SIDE).to_le_bytes();
    let file = [&b"BM"[..], &[0; 8], &54_u32.to_le_bytes()].concat();
    let info = [&40_u32.to_le_bytes()[..], &side, &side, &[1, 0, 24, 0], &[0; 24]].concat();
    [file, info, vec![0; 100]].concat()
}

fn jpeg_bomb() -> Vec<u8> {
    let side = SIDE.to_be_bytes();
    let frame = [&[0xff, 0xc0, 0, 11, 8][..], &side, &side, &[1, 1, 0x11, 0, 0xff, 0xd9]].concat();
    [&[0xff, 0xd8][..], &frame].concat()
}

#[test]
fn small_files_of_huge_images_are_refused_before_they_are_decoded() {
    let running = Running::start(|_| {});
    let bombs = [
        ("png", png_bomb()),
        ("gif", gif_bomb()),
        ("webp", webp_bomb()),
        ("lossless webp", webp_lossless_bomb()),
        ("tiff", tiff_bomb()),
        ("bmp", bmp_bomb()),
        ("jpeg", jpeg_bomb()),
    ];
    for (name, bomb) in &bombs {
        let began = Instant::now();
        let response = running.send(&post("/predict", "application/octet-stream", bomb));
        assert!([400, 413].contains(&response.status), "{name}: {}", response.text);
        assert!(began.elapsed() < Duration::from_secs(1), "{name}: {:?}", began.elapsed());
        if *name == "png" {
            let reason = "60000x60000 pixels exceed the limit of 1000000 (`--max-pixels`";
            let is_named = response.text.contains(reason);
            assert!(response.status == 413 && is_named, "{}", response.text);
        }
    }
    // Several at once, beside an image that is none.
    let parts = bombs.iter().map(|(name, bomb)| {
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        [head.as_bytes(), bomb, b"\r\n"].concat()
    });
    let last = b"--b\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n";
    let parts = parts.collect::<Vec<_>>().concat();
    let form = [&parts[..], last, &png(9, 9), b"\r\n--b--\r\n"].concat();
    let response = running.send(&post("/predict", "multipart/form-data; boundary=b", &form));
    assert_eq!(response.status, 200, "{}", response.text);
    assert_eq!(response.text.matches("\"error\"").count(), bombs.len(), "{}", response.text);
    running.check_alive();
}

/// Writes a header, and then `piece` again and again until the server closes the connection or `n` pieces are
/// written, while the response is read. Returns the response, and after how long the connection was closed.
fn stream(
    running: &Running,
    head: &str,
    piece: &[u8],
    n: usize,
    pause: Duration,
) -> (Response, Duration) {
    let mut writing = running.connect();
    let mut reading = writing.try_clone().unwrap();
    let began = Instant::now();
    writing.write_all(head.as_bytes()).unwrap();
    let reader = thread::spawn(move || Response::read(&mut reading));
    for _ in 0..n {
        if reader.is_finished() || writing.write_all(piece).is_err() {
            break;
        }
        thread::sleep(pause);
    }
    (reader.join().unwrap(), began.elapsed())
}

#[test]
fn a_body_of_50_mb_is_refused() {
    let running = Running::start(|_| {});
    let head =
        "POST /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: image/png\r\n";
    let n_bytes: usize = 50_000_000;
    let piece = vec![b'x'; 1 << 16];
    let n = n_bytes.div_ceil(piece.len());
    let announced = format!("{head}Content-Length: {n_bytes}\r\n\r\n");
    let (response, _) = stream(&running, &announced, &piece, n, Duration::ZERO);
    assert_eq!(response.status, 413, "{}", response.text);
    assert!(response.text.contains("--max-body"), "{}", response.text);

    // Without a length: the server counts.
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let chunk = [&b"10000\r\n"[..], &piece, b"\r\n"].concat();
    let (response, _) = stream(&running, &chunked, &chunk, n, Duration::ZERO);
    assert_eq!(response.status, 413, "{}", response.text);

    // Who asks before sending learns it at once.
    let asked = format!("{head}Content-Length: {n_bytes}\r\nExpect: 100-continue\r\n\r\n");
    let (response, took) = stream(&running, &asked, b"", 0, Duration::ZERO);
    assert_eq!(response.status, 413, "{}", response.text);
    assert!(took < Duration::from_secs(1), "{took:?}");
    running.check_alive();
}

#[test]
fn clients_that_send_a_byte_at_a_time_are_closed_and_delay_nobody() {
    let timeout = Duration::from_secs(1);
    let running = Running::start(|options| options.limits.timeout = timeout);
    let header = "POST /predict HTTP/1.1\r\nX-Slow: ";
    let body = "POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 9999\r\n\r\n";
    let nothing = "";
    thread::scope(|scope| {
        let pause = Duration::from_millis(50);
        let slow = [header, body, nothing, header, body, nothing].map(|head| {
            let piece: &[u8] = if head == nothing { b"" } else { b"x" };
            let running = &running;
            (head, scope.spawn(move || stream(running, head, piece, 200, pause)))
        });
        for _ in 0..5 {
            running.check_alive();
        }
        for (head, client) in slow {
            let (response, took) = client.join().unwrap();
            assert!(took < 4 * timeout, "{head:?}: closed after {took:?}");
            if head == body {
                assert_eq!(response.status, 408, "{}", response.text);
            }
        }
    });
    running.check_alive();
}

#[test]
fn idle_connections_give_their_place_to_others() {
    let running = Running::start(|options| {
        options.limits.timeout = Duration::from_secs(1);
        options.limits.max_connections = 2;
    });
    let idle = [running.connect(), running.connect()];
    let began = Instant::now();
    running.check_alive();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(idle);
}

#[test]
fn connections_that_are_closed_anywhere_are_forgotten() {
    let running = Running::start(|_| {});
    let request = post("/predict", "image/png", &png(40, 30));
    let mut random = Random(7);
    for _ in 0..100 {
        // Closed in both directions, in the header or in the body.
        running.connect().write_all(random.cut(&request)).unwrap();
    }
    for _ in 0..100 {
        // Closed in one direction: the server may still reply.
        let response = running.send(random.cut(&request));
        assert!([0, 400, 499].contains(&response.status), "{}", response.text);
    }
    // The client's side is closed, the request is whole.
    running.check_alive();
    let began = Instant::now();
    let is_forgotten = || {
        let metrics = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let text = running.send(metrics.as_bytes()).text;
        // The connection that asks.
        text.lines().any(|it| it == "maskfit_connections 1")
            && text.lines().any(|it| it == "maskfit_queue_length{model=\"small\"} 0")
    };
    while !is_forgotten() {
        assert!(began.elapsed() < Duration::from_secs(5), "connections are still open");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn pipelined_requests_are_replied_to_in_order_up_to_the_first_that_is_garbage() {
    let running = Running::start(|_| {});
    let live = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nX-Request-Id: live\r\n\r\n";
    let close = "Connection: close\r\n";
    let predict = post("/predict", "image/png", &png(40, 30));
    let at = predict.windows(close.len()).position(|it| it == close.as_bytes()).unwrap();
    let predict =
        [&predict[..at], b"X-Request-Id: predict\r\n", &predict[at + close.len()..]].concat();
    let all = [&live[..], &predict, live, &predict, b"\0garbage\r\n\r\n", live].concat();
    let response = running.send(&all);
    let ids: Vec<&str> =
        response.text.lines().filter_map(|it| it.strip_prefix("x-request-id: ")).collect();
    assert_eq!(ids, ["live", "predict", "live", "predict"], "{}", response.text);
    assert_eq!(response.text.matches("HTTP/1.1 200").count(), 4, "{}", response.text);
    assert_eq!(response.text.matches("HTTP/1.1 400").count(), 1, "{}", response.text);
    running.check_alive();
}

#[test]
fn what_is_not_a_request_gets_json_too_and_is_counted() {
    let running = Running::start(|_| {});
    let long = |n: usize| "x".repeat(n);
    for (statuses, request) in [
        (&[400][..], "\0garbage\r\n\r\n".to_owned()),
        (&[400], "GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned()),
        (&[414, 431], format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(65_536))),
        (&[431], format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", long(200_000))),
        (&[431], format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-A: b\r\n".repeat(300))),
    ] {
        let response = running.send(request.as_bytes());
        let shown = (&request[..request.len().min(40)], &response.text);
        let (head, body) = response.text.split_once("\r\n\r\n").unwrap();
        assert!(statuses.contains(&response.status), "{shown:?}");
        assert!(head.contains("content-type: application/json"), "{shown:?}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert!(body["error"].is_string(), "{shown:?}");
    }
    let metrics = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let text = running.send(metrics.as_bytes()).text;
    assert!(text.contains("maskfit_requests_total{route=\"none\",status=\"400\"} 2"), "{text}");
}

/// A PNG of 30x20 pixels with a chunk before its pixels.
fn png_with(kind: &[u8], data: &[u8]) -> Vec<u8> {
    let mut png = png(30, 20);
    // The signature, and the chunk of the sizes with 13 bytes of data.
    let at = 8 + 8 + 13 + 4;
    png.splice(at..at, chunk(kind, data));
    png
}

#[test]
fn metadata_of_an_image_are_not_inflated() {
    // As many as the image has, so that a decoder may use about a megabyte.
    let running = Running::start(|options| options.limits.max_pixels = 600);
    // A zlib stream of stored blocks: 4 MB of zeros.
    let block = [&[0, 0xff, 0xff, 0, 0][..], &[0; 0xffff]].concat();
    let zlib = [&[0x78, 1][..], &block.repeat(64), &[1, 0, 0, 0xff, 0xff, 0, 0, 0, 0]].concat();
    let plain = running.send(&post("/predict", "image/png", &png(30, 20)));
    for (kind, head) in
        [(&b"iCCP"[..], &b"name\0\0"[..]), (b"zTXt", b"name\0\0"), (b"iTXt", b"name\0\x01\0\0\0")]
    {
        let bomb = png_with(kind, &[head, &zlib].concat());
        let response = running.send(&post("/predict", "image/png", &bomb));
        assert_eq!(response.status, 200, "{}", response.text);
        let body = |text: &str| text.split_once("\r\n\r\n").unwrap().1.to_owned();
        assert_eq!(body(&response.text), body(&plain.text));
    }
}

#[test]
fn an_upload_that_is_given_up_is_counted_as_aborted() {
    let running = Running::start(|_| {});
    let request = post("/predict", "image/png", &png(40, 30));
    let cut = &request[..request.len() - 9];
    // In one direction, so that the response can be read; and in both, which drops the request.
    let response = running.send(cut);
    assert_eq!(response.status, 499, "{}", response.text);
    assert!(response.text.contains("the client has stopped sending"), "{}", response.text);
    running.connect().write_all(cut).unwrap();
    let began = Instant::now();
    let line = "maskfit_requests_total{route=\"/predict\",status=\"499\"} 2";
    let metrics = || {
        let request = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        running.send(request.as_bytes()).text
    };
    while !metrics().contains(line) {
        assert!(began.elapsed() < Duration::from_secs(10), "{}", metrics());
        thread::sleep(Duration::from_millis(20));
    }
    // Chunks that are none are wrong.
    let head = "POST /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: image/png\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let response = running.send(format!("{head}-5\r\nabcde\r\n0\r\n\r\n").as_bytes());
    assert_eq!(response.status, 400, "{}", response.text);
}

#[test]
fn a_request_names_one_host() {
    let running = Running::start(|_| {});
    let live = |head: &str| {
        let request = format!("GET /v2/health/live {head}Connection: close\r\n\r\n");
        running.send(request.as_bytes())
    };
    assert_eq!(live("HTTP/1.1\r\nHost: a\r\n").status, 200);
    let empty = live("HTTP/1.1\r\nHost: \r\n");
    assert!(
        empty.status == 400 && empty.text.contains("`Host` of the request is empty"),
        "{}",
        empty.text
    );
    let none = live("HTTP/1.1\r\n");
    assert!(none.status == 400 && none.text.contains("has no `Host`"), "{}", none.text);
    let two = live("HTTP/1.1\r\nHost: a\r\nHost: b\r\n");
    assert!(two.status == 400 && two.text.contains("several `Host`"), "{}", two.text);
    // The version of the response is that of the request.
    let old = live("HTTP/1.0\r\n");
    assert!(old.text.starts_with("HTTP/1.0 200") || old.status == 200, "{}", old.text);
}
