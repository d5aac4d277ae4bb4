//! Weights from the Hugging Face hub, with a local mock server.

#![expect(clippy::unwrap_used, reason = "in a test a panic is a failure")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
};

use expect_test::{Expect, expect};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The state of the server.
#[derive(Default)]
struct State {
    /// Content and ETag of each path.
    files: BTreeMap<String, (Vec<u8>, String)>,
    /// Number of next downloads to interrupt halfway.
    n_cuts: usize,
    /// The requested ranges.
    ranges: Vec<String>,
}

/// The mock hub, with a separate cache, and a folder to run the program in.
struct Hub {
    state: Arc<Mutex<State>>,
    endpoint: String,
    dir: TempDir,
}

impl Hub {
    fn new() -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        let served = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client may disconnect.
                drop(respond(&stream.unwrap(), &served));
            }
        });
        Hub { state, endpoint, dir: tempfile::tempdir().unwrap() }
    }

    /// Adds a file to `repo`, with the ETag that the hub sends.
    fn add(&self, repo: &str, file: &str, content: &[u8], etag: &str) {
        let path = format!("/{repo}/resolve/main/{file}");
        let mut state = self.state.lock().unwrap();
        state.files.insert(path, (content.to_vec(), etag.to_owned()));
    }

    fn ranges(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().ranges)
    }

    fn run(&self, endpoint: &str, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_maskfit"));
        for name in ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy", "MASKFIT_WEIGHTS"] {
            command.env_remove(name);
        }
        command.args(args).current_dir(self.dir.path());
        command.env("HF_ENDPOINT", endpoint).env("HF_HOME", self.dir.path().join("home"));
        command.output().unwrap()
    }

    /// Inspects weights, which must succeed, and returns their origin.
    #[track_caller]
    fn origin(&self, place: &str) -> String {
        let output = self.run(&self.endpoint, &["weights", "inspect", place]);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{place}\n{out}\n{err}");
        let mut lines = out.lines().skip_while(|it| !it.starts_with("  origin "));
        let Some(first) = lines.next() else { panic!("{out}") };
        // A long one goes on in the next lines, below its text.
        let more = lines.take_while(|it| it.starts_with("      ")).map(str::trim);
        let first = first.trim_start_matches("  origin ").trim();
        std::iter::once(first).chain(more).collect::<Vec<_>>().join(" ")
    }

    /// Inspects weights, which must fail.
    #[track_caller]
    fn fails(&self, endpoint: &str, place: &str, want: Expect) {
        let output = self.run(endpoint, &["weights", "inspect", place]);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{err}");
        want.assert_eq(err.replace(endpoint, "ENDPOINT").trim_end());
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn respond(mut stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap()?;
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let mut start_end = (0, None);
    for line in lines {
        let line = line?.to_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            let (start, end) = range.split_once('-').unwrap();
            start_end = (start.parse().unwrap(), end.parse::<usize>().ok());
            state.lock().unwrap().ranges.push(range.to_owned());
        }
        if line.is_empty() {
            break;
        }
    }
    let mut state = state.lock().unwrap();
    let Some((content, etag)) = state.files.get(&path).cloned() else {
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    };
    let (n, start) = (content.len(), start_end.0);
    if start >= n {
        return write!(
            stream,
            "HTTP/1.1 416 Range\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let last = start_end.1.unwrap_or(n - 1);
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{last}/{n}\r\n\
         ETag: \"other\"\r\nX-Linked-Etag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\nConnection: close\r\n\r\n",
        last + 1 - start
    )?;
    let is_cut = start_end.1.is_none() && state.n_cuts > 0;
    state.n_cuts -= usize::from(is_cut);
    let end = if is_cut { start + (last - start) / 2 } else { last + 1 };
    stream.write_all(&content[start..end])
}

/// Returns a safetensors file of one tensor.
fn weights() -> Vec<u8> {
    let header = r#"{"fc.bias":{"dtype":"F32","shape":[10000],"data_offsets":[0,40000]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    let numbers: Vec<u8> = (0..40_000_u32).map(|it| (it * 7 % 64) as u8).collect();
    [&length[..], header.as_bytes(), &numbers].concat()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|it| format!("{it:02x}")).collect()
}

#[test]
fn weights_are_downloaded_once_and_verified_each_time() {
    let hub = Hub::new();
    hub.add("timm/net", "model.safetensors", &weights(), &sha256(&weights()));
    expect!["downloaded from hf:timm/net/model.safetensors; its SHA-256 matches the hub's, 5ef3778ae285b60b..."].assert_eq(&hub.origin("hf:timm/net"));
    assert_eq!(hub.ranges(), ["0-0", "0-"]);
    expect!["hf:timm/net/model.safetensors, downloaded before; its SHA-256 matches the hub's, 5ef3778ae285b60b..."].assert_eq(&hub.origin("hf:timm/net"));
    assert_eq!(hub.ranges(), [""; 0], "the file is cached");
    // Damage the cached file.
    let home = hub.dir.path().join("home/hub/models--timm--net");
    fs::write(home.join("blobs").join(sha256(&weights())), "damaged").unwrap();
    hub.fails(&hub.endpoint, "hf:timm/net", expect!["error: hf:timm/net: the file has the SHA-256 41f0c27c00e8018f7715b5f50f67b5b54c229c1b843a014152785d9005f58fde, but the hub specifies 5ef3778ae285b60bf0ba2de34d9d7524cac3629adcb11c55726b22884e4d0faf: it is damaged and was removed; download it again"]);
    assert!(hub.origin("hf:timm/net").starts_with("downloaded from"));
}

#[test]
fn pytorch_model_bin_and_named_files_are_found() {
    let hub = Hub::new();
    let old = include_bytes!("../../../tests/golden/weights/zip.pth");
    hub.add("timm/old", "pytorch_model.bin", old, &sha256(old));
    assert!(hub.origin("hf:timm/old").contains("pytorch_model.bin"));
    hub.add("timm/old", "all/last.pth", old, "89e6c98d92887913cadf06b2adb97f26cde4849b");
    expect!["downloaded from hf:timm/old/all/last.pth; the hub provides no SHA-256 to verify it"]
        .assert_eq(&hub.origin("hf:timm/old/all/last.pth"));
    hub.fails(&hub.endpoint, "hf:timm/empty", expect!["error: hf:timm/empty: `timm/empty` has no model.safetensors and no pytorch_model.bin: look at ENDPOINT/timm/empty, and name the file as hf:timm/empty/FILE"]);
    hub.fails(&hub.endpoint, "hf:timm/empty/a.pth", expect!["error: hf:timm/empty/a.pth: `timm/empty` has no a.pth: look at ENDPOINT/timm/empty, and name the file as hf:timm/empty/FILE"]);
    hub.fails(
        &hub.endpoint,
        "hf:timm",
        expect!["error: hf:timm: this is not a place on the hub: write hf:owner/name, or hf:owner/name/file"],
    );
    hub.fails(
        &hub.endpoint,
        "hf:../x",
        expect!["error: hf:../x: this is not a place on the hub: write hf:owner/name, or hf:owner/name/file"],
    );
}

#[test]
fn wrong_checksum_is_refused_and_leaves_no_file() {
    let hub = Hub::new();
    hub.add("timm/net", "model.safetensors", &weights(), &sha256(b"other"));
    hub.fails(&hub.endpoint, "hf:timm/net", expect!["error: hf:timm/net: the file has the SHA-256 5ef3778ae285b60bf0ba2de34d9d7524cac3629adcb11c55726b22884e4d0faf, but the hub specifies d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa: it is damaged and was removed; download it again"]);
    let blobs = hub.dir.path().join("home/hub/models--timm--net/blobs");
    let left: Vec<_> = fs::read_dir(blobs).unwrap().map(|it| it.unwrap().path()).collect();
    assert!(left.iter().all(|it| it.extension().is_some_and(|it| it == "lock")), "{left:?}");
    hub.add("timm/net", "model.safetensors", &weights(), &sha256(&weights()));
    assert!(hub.origin("hf:timm/net").starts_with("downloaded from"));
}

#[test]
fn interrupted_download_is_resumed() {
    let hub = Hub::new();
    let (content, n) = (weights(), weights().len());
    hub.add("timm/net", "model.safetensors", &content, &sha256(&content));
    hub.state.lock().unwrap().n_cuts = 1;
    assert!(hub.origin("hf:timm/net").contains("matches the hub's"));
    let half = (n - 1) / 2;
    assert_eq!(hub.ranges(), ["0-0", "0-", "0-0", &format!("{half}-")]);

    // Too many interruptions for one command, and one more for the next.
    let hub = Hub::new();
    hub.add("timm/net", "model.safetensors", &content, &sha256(&content));
    hub.state.lock().unwrap().n_cuts = 4;
    hub.fails(&hub.endpoint, "hf:timm/net", expect!["error: hf:timm/net: the download of model.safetensors was interrupted (Peer disconnected): the same command resumes it, or download model.safetensors by hand from ENDPOINT/timm/net and give its path, or put it into the folder of MASKFIT_WEIGHTS"]);
    assert!(hub.origin("hf:timm/net").contains("matches the hub's"));
}

#[test]
fn complete_or_too_long_partial_files_are_downloaded_again() {
    let hub = Hub::new();
    let (content, etag) = (weights(), sha256(&weights()));
    hub.add("timm/net", "model.safetensors", &content, &etag);
    let blobs = hub.dir.path().join("home/hub/models--timm--net/blobs");
    fs::create_dir_all(&blobs).unwrap();
    for part in [&content[..], &[&content[..], b"more"].concat()] {
        fs::write(blobs.join(format!("{etag}.part")), part).unwrap();
        assert!(hub.origin("hf:timm/net").contains("matches the hub's"));
        fs::remove_dir_all(hub.dir.path().join("home/hub/models--timm--net/snapshots")).unwrap();
    }
}

#[test]
fn error_without_a_network_names_the_fix() {
    let hub = Hub::new();
    // No server listens on port 1.
    hub.fails("http://127.0.0.1:1", "hf:timm/resnet18", expect!["error: hf:timm/resnet18: the hub cannot be reached (io: Connection refused (os error 111)): download model.safetensors by hand from ENDPOINT/timm/resnet18 and give its path, or put it into the folder of MASKFIT_WEIGHTS"]);
    // A run leaves no files either.
    let set = "model.pretrained=hf:timm/resnet18";
    let output = hub.run("http://127.0.0.1:1", &["train", "--set", set]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: `model.pretrained`: hf:timm/resnet18: "));
    assert!(!hub.dir.path().join("runs").exists());
}
