//! A thousand requests of which each is wrong in some way: each gets a status of 4xx within a second.
//!
//! A mutation is wrong for certain: a flipped bit of a pixel would be an image too.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use image::ImageFormat;

use crate::{
    encoded::{encoded, png},
    raw::{Random, Running, post},
};

/// How many requests are sent.
const N: usize = 1000;

/// The longest time of a response.
const LONGEST: Duration = Duration::from_secs(1);

/// The sizes and the kind of a PNG, the data of its first chunk; their CRC follows.
const IHDR: Range<usize> = 16..29;

#[test]
fn a_thousand_wrong_requests_get_4xx_within_a_second() {
    let running = Running::start(|options| options.limits.max_images = 4);
    let mut random = Random(26);
    let mut statuses = BTreeMap::new();
    for n in 0..N {
        let (what, request) = wrong(n, &mut random);
        let began = Instant::now();
        let response = running.send(&request);
        let took = began.elapsed();
        let shown = || String::from_utf8_lossy(&request[..request.len().min(600)]).into_owned();
        assert!(
            (400..500).contains(&response.status),
            "{n}, {what}: not 4xx\n{}\n--- for\n{}",
            response.text,
            shown()
        );
        assert!(took < LONGEST, "{n}, {what}: {took:?}\n{}", shown());
        *statuses.entry(response.status).or_insert(0) += 1;
    }
    // The mutations reach more than one check.
    for status in [400, 404, 405, 413, 415] {
        assert!(statuses.contains_key(&status), "{statuses:?}");
    }
    running.check_alive();
}

/// The n-th wrong request, and what is wrong with it.
fn wrong(n: usize, random: &mut Random) -> (&'static str, Vec<u8>) {
    match n % 8 {
        0 | 1 => image(random),
        2 => header(random),
        3 => target(random),
        4 => json(random),
        5 => form(random),
        6 => infer(random),
        _ => framing(random),
    }
}

/// The bytes of something that is not an image, or not a whole one.
fn broken_image(random: &mut Random) -> Vec<u8> {
    let format = random.below(3);
    let format = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif][format];
    let whole = encoded(20 + random.below(30) as u32, 20 + random.below(30) as u32, format);
    match random.below(5) {
        0 | 1 => random.cut(&whole).to_vec(),
        2 => random.bytes(3000),
        // The beginning of an image, and then something else.
        3 => [&whole[..8 + random.below(12)], &random.bytes(300)].concat(),
        _ => {
            // The checksum of the sizes does not fit them.
            let mut png = png(30, 20);
            let at = IHDR.start + random.below(IHDR.len());
            png[at] ^= 1 << random.below(8);
            png
        }
    }
}

fn image(random: &mut Random) -> (&'static str, Vec<u8>) {
    let kind = random.pick(&["image/png", "image/jpeg", "image/x", "application/octet-stream"]);
    let body = if random.below(20) == 0 { Vec::new() } else { broken_image(random) };
    ("a broken image", post("/predict", kind, &body))
}

/// A whole image with a header that is wrong.
fn header(random: &mut Random) -> (&'static str, Vec<u8>) {
    let png = png(16, 16);
    let n = png.len();
    let long = "x".repeat(200_000);
    let many = "X-A: b\r\n".repeat(300);
    let garbage: String = random
        .bytes(20)
        .iter()
        .map(|it| char::from(b'!' + it % 90))
        .filter(|it| *it != ';')
        .collect();
    let lines = match random.below(12) {
        0 => format!("Content-Length: {n}\r\n"),
        1 => format!("Content-Type: text/{garbage}\r\nContent-Length: {n}\r\n"),
        2 => format!("Content-Type: {garbage}\r\nContent-Length: {n}\r\n"),
        3 => format!("Content-Type: multipart/form-data\r\nContent-Length: {n}\r\n"),
        4 => format!("Content-Type: image/png\r\nContent-Length: {garbage}\r\n"),
        5 => format!("Content-Type: image/png\r\nContent-Length: -{n}\r\n"),
        6 => format!("Content-Type: image/png\r\nContent-Length: {n}\r\nContent-Length: 1\r\n"),
        7 => format!("Content-Type: image/png\r\nContent-Length: {}\r\n", n + 1 + random.below(9)),
        8 => format!("Content-Type: image/png\r\nContent-Length: {}\r\n", random.below(n - 1)),
        9 => format!("X-Long: {long}\r\nContent-Type: image/png\r\nContent-Length: {n}\r\n"),
        10 => format!("{many}Content-Type: image/png\r\nContent-Length: {n}\r\n"),
        _ => format!("no colon {garbage}\0\r\nContent-Type: image/png\r\nContent-Length: {n}\r\n"),
    };
    let head = format!("POST /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n");
    ("a wrong header", [head.as_bytes(), &png].concat())
}

/// A wrong method, path, query or version.
fn target(random: &mut Random) -> (&'static str, Vec<u8>) {
    let word = format!("{:x}", random.below(1 << 30));
    let bytes = random.bytes(60);
    let escaped: String = bytes.iter().map(|it| format!("%{it:02X}")).collect();
    let line = match random.below(14) {
        0 => "GET /predict HTTP/1.1".to_owned(),
        1 => "DELETE /v2/models/small HTTP/1.1".to_owned(),
        2 => format!("M{} / HTTP/1.1", word.to_uppercase()),
        3 => format!("POST /{word} HTTP/1.1"),
        4 => format!("POST /predict?model={escaped}%2F HTTP/1.1"),
        5 => format!("POST /predict?model={word}- HTTP/1.1"),
        6 => format!("POST /predict?sets={word}x HTTP/1.1"),
        7 => format!("POST /predict?x{word}=1 HTTP/1.1"),
        8 => "POST /predict?sets=0.9 HTTP/1.1".to_owned(),
        9 => format!("GET /v2/models/{escaped}%2F HTTP/1.1"),
        10 => format!("POST /v2/models/{word}-/infer HTTP/1.1"),
        11 => format!("GET /../../{word} HTTP/1.1"),
        12 => format!("GET / HTTP/{}.{}", 3 + random.below(7), random.below(9)),
        _ => format!("\u{1}{word} / HTTP/1.1"),
    };
    let png = png(16, 16);
    let head = format!(
        "{line}\r\nHost: a\r\nConnection: close\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n",
        png.len()
    );
    ("a wrong target", [head.as_bytes(), &png].concat())
}

/// JSON that is wrong, or has something that is not an image.
fn json(random: &mut Random) -> (&'static str, Vec<u8>) {
    let good = "{\"images\": [\"aGVsbG8=\", {\"name\": \"a.jpg\", \"data\": \"aGVsbG8=\"}]}";
    let body = match random.below(12) {
        0 => random.cut(good.as_bytes()).to_vec(),
        1 => b"[".repeat(1 + random.below(100_000)),
        2 => b"{\"images\":".repeat(1 + random.below(10_000)),
        3 => b"{\"images\": []}".to_vec(),
        4 => [&b"{\"images\": [\""[..], &b"A".repeat(random.below(5000)), b"\"]}"].concat(),
        5 => b"{\"images\": [\"not base64!\"]}".to_vec(),
        6 => b"{\"images\": [\"\", \"\", \"\", \"\", \"\"]}".to_vec(),
        7 => {
            format!("{{\"images\": [{}]}}", random.pick(&["1", "null", "[]", "{}", "1e999"])).into()
        }
        8 => [good.as_bytes(), b"x"].concat(),
        9 => [&random.bytes(50)[..], good.as_bytes()].concat(),
        10 => b"{\"images\": [\"\xff\xfe\"]}".to_vec(),
        // Each is an image that is not one.
        _ => good.into(),
    };
    ("wrong JSON", post("/predict", "application/json", &body))
}

/// A form that is wrong, or has something that is not an image.
fn form(random: &mut Random) -> (&'static str, Vec<u8>) {
    let part = |content: &[u8]| {
        let head = "--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a.png\"\r\n\r\n";
        [head.as_bytes(), content, b"\r\n"].concat()
    };
    let whole = [&part(&png(16, 16))[..], b"--b--\r\n"].concat();
    let body = match random.below(9) {
        // Without the last boundary, which is the end of a form.
        0 => whole[..random.below(whole.len() - 8)].to_vec(),
        1 => b"--b--\r\n".to_vec(),
        2 => random.bytes(500),
        3 => Vec::new(),
        4 => [&part(&broken_image(random))[..], b"--b--\r\n"].concat(),
        5 => [&part(b"").repeat(5)[..], b"--b--\r\n"].concat(),
        6 => b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n".to_vec(),
        7 => [&b"--b\r\n"[..], &random.bytes(200), b"\r\n\r\nx\r\n--b--\r\n"].concat(),
        _ => [&b"--b\r\n"[..], &b"X".repeat(20_000), b": y\r\n\r\nx\r\n--b--\r\n"].concat(),
    };
    let boundary = if random.below(5) == 0 { "another" } else { "b" };
    ("a wrong form", post("/predict", &format!("multipart/form-data; boundary={boundary}"), &body))
}

/// A request of the Open Inference Protocol that is wrong.
fn infer(random: &mut Random) -> (&'static str, Vec<u8>) {
    let input = |name: &str, shape: &str, kind: &str, data: &str| {
        format!(
            "{{\"inputs\": [{{\"name\": \"{name}\", \"shape\": {shape}, \"datatype\": \"{kind}\", \"data\": {data}}}]}}"
        )
    };
    let data = "[\"aGVsbG8=\"]";
    let good = input("image", "[1]", "BYTES", data);
    let word = format!("x{:x}", random.below(1 << 30));
    let shape = random.pick(&[
        "[2]",
        "[-1]",
        "[0]",
        "[]",
        "1",
        "[1e30]",
        "[4294967296, 4294967296]",
        "[1, 2]",
        "null",
    ]);
    let body = match random.below(10) {
        0 => random.cut(good.as_bytes()).to_vec(),
        1 => input(&word, "[1]", "BYTES", data).into(),
        2 => input("image", shape, "BYTES", data).into(),
        3 => input("image", "[1]", &word, data).into(),
        4 => input("image", "[1]", "FP32", "[0.5]").into(),
        5 => input("image", "[1]", "BYTES", "[[[\"aGk=\"]]]").into(),
        6 => input("image", "[5]", "BYTES", "[\"\", \"\", \"\", \"\", \"\"]").into(),
        7 => b"{\"inputs\": []}".to_vec(),
        8 => good.replacen('{', &format!("{{\"outputs\": [{{\"name\": \"{word}\"}}], "), 1).into(),
        // Not an image.
        _ => good.into(),
    };
    ("a wrong inference", post("/v2/models/small/infer", "application/json", &body))
}

/// A body that is not framed as its header says.
fn framing(random: &mut Random) -> (&'static str, Vec<u8>) {
    let head = |encoding: &str| {
        format!(
            "POST /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: image/png\r\n\
             Transfer-Encoding: {encoding}\r\n\r\n"
        )
    };
    let size = format!("{:x}", 1000 + random.below(100_000));
    let png = png(16, 16);
    let bytes = match random.below(7) {
        0 => [head("chunked").as_bytes(), &random.bytes(300)].concat(),
        1 => [head("chunked").as_bytes(), size.as_bytes(), b"\r\n", &png].concat(),
        2 => [head("chunked").as_bytes(), b"ffffffffffffffffff\r\n", &png].concat(),
        3 => [head("chunked").as_bytes(), b"-5\r\nabcde\r\n0\r\n\r\n"].concat(),
        4 => [head("gzip, nonsense").as_bytes(), &png].concat(),
        5 => [head("chunked").as_bytes(), b"5\r\nabcdefgh\r\n0\r\n\r\n"].concat(),
        // No HTTP at all; the first byte begins no method.
        _ => [&b"\x16\x03\x01"[..], &random.bytes(400), b"\r\n\r\n"].concat(),
    };
    ("a wrong frame", bytes)
}
