//! `maskfit serve` as a process: what it prints, what it predicts, and how it ends. What it does with requests is
//! tested in the crate `serve`.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Stdio},
    time::Duration,
};

use base::table::number;
use expect_test::expect;
use serde_json::Value;

use crate::{
    bench::{Bench, text},
    runs::signal,
};

const TRAIN: [&str; 6] =
    ["train", "small.toml", "--set", "run.name=a", "--set", "train.total=1 steps"];

/// A server, killed when a test fails.
struct Running {
    child: Child,
    url: String,
    /// What it printed when it was ready.
    greeting: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn start(bench: &Bench, args: &[&str]) -> Running {
    // A name, which stands for addresses of this machine alone.
    let mut command = bench.command(&[args, &["--listen", "localhost:0"]].concat());
    command.env_remove("MASKFIT_TOKEN").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut greeting, mut out) = (String::new(), BufReader::new(child.stdout.take().unwrap()));
    while !greeting.ends_with("stop it with Ctrl-C\n") {
        assert!(out.read_line(&mut greeting).unwrap() > 0, "it has ended: {greeting}");
    }
    let url = greeting.lines().next().and_then(|it| it.strip_prefix("serving on "));
    let url = url.unwrap_or_else(|| panic!("{greeting}")).to_owned();
    Running { child, url, greeting }
}

fn post(url: &str, body: &[u8]) -> Value {
    let config =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).proxy(None);
    let agent: ureq::Agent = config.build().into();
    let mut response = agent.post(url).content_type("image/jpeg").send(body).unwrap();
    serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap()
}

#[test]
fn it_serves_the_probabilities_of_predict_until_it_is_asked_to_stop() {
    let bench = Bench::new();
    bench.ok(&TRAIN);
    let image = fs::read(bench.image(0, "mask1.jpg")).unwrap();
    fs::write(bench.path("one.jpg"), &image).unwrap();
    bench.ok(&["predict", "runs/a", "--images", "one.jpg"]);
    let table = fs::read_to_string(bench.path("probabilities.csv")).unwrap();
    let row: Vec<&str> = table.lines().nth(1).unwrap().split(',').skip(3).collect();

    for (name, how) in [("a", "-TERM"), ("b", "-INT")] {
        // The bundle within a run has the name of the run.
        let model = if name == "a" { "runs/a/best" } else { "b=runs/a" };
        let mut running = start(&bench, &["serve", model]);
        let (url, greeting) = (running.url.clone(), &running.greeting);
        assert!(greeting.contains(&format!("\n  {name} (default): 18 classes, version ")));
        assert!(greeting.contains("\nno token: only this machine can reach it\n"), "{greeting}");
        assert!(greeting.lines().all(|it| it.chars().count() <= 80), "{greeting}");
        let got = post(&format!("{url}/predict?model={name}"), &image);
        let probabilities = got["images"][0]["probabilities"].as_array().unwrap();
        let got: Vec<String> =
            probabilities.iter().map(|it| number(it["probability"].as_f64().unwrap())).collect();
        assert_eq!(got, row);
        // It goes on after SIGHUP, which makes it look at its bundles.
        signal("-HUP", running.child.id());
        post(&format!("{url}/predict"), &image);
        signal(how, running.child.id());
        let status = running.child.wait().unwrap();
        assert_eq!(status.code(), Some(0));
        let mut err = String::new();
        running.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        // Lines of its start, of a request, and of its end.
        let logs: Vec<Value> = err.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        let of = |message: &str| logs.iter().find(|it| it["message"] == message).unwrap();
        assert_eq!((&of("model")["model"], &of("model")["classes"]), (&name.into(), &18.into()));
        assert!(of("model")["bundles"].as_str().unwrap().contains("runs/a"));
        let started = of("started");
        assert_eq!(format!("http://{}", started["address"].as_str().unwrap()), url);
        assert_eq!((&started["max_images"], &started["token"]), (&64.into(), &false.into()));
        let request = logs.iter().find(|it| it["message"] == "request").unwrap();
        assert_eq!((&request["path"], &request["status"]), (&"/predict".into(), &200.into()));
        assert_eq!(logs.last().unwrap()["message"], "stopped");
    }
}

#[test]
fn a_full_disk_at_stdout_ends_no_server() {
    let bench = Bench::new();
    bench.ok(&TRAIN);
    let mut command = bench.command(&["serve", "runs/a", "--listen", "127.0.0.1:0"]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    command.env_remove("MASKFIT_TOKEN").stdout(full).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut logs = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let started = logs.find(|it| it.contains("\"started\"")).unwrap();
    let started: Value = serde_json::from_str(&started).unwrap();
    let url = format!("http://{}/predict", started["address"].as_str().unwrap());
    let image = fs::read(bench.image(0, "mask1.jpg")).unwrap();
    assert!(post(&url, &image)["images"][0]["predicted"].is_string());
    signal("-TERM", child.id());
    let rest: Vec<String> = logs.collect();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest:?}");
}

#[test]
fn what_cannot_be_served_is_refused() {
    let bench = Bench::new();
    bench.ok(&TRAIN);
    bench.fails(
        &["serve", "nowhere"],
        expect!["error: nowhere: there is no such folder: name a run, a bundle or `latest` (there is runs/a)"],
    );
    bench.fails(
        &["serve", "runs/a", "--listen", "0.0.0.0:0"],
        expect!["error: 0.0.0.0:0: other machines can reach this address: require a token (`--token-file FILE`, or the variable MASKFIT_TOKEN), or serve everyone with `--public`"],
    );
    bench.fails(
        &["serve", "a=runs/a", "runs/a"],
        expect!["error: two bundles have the name `a`: name one of them differently, `NAME=PATH`"],
    );
    bench.fails(
        &["serve", "runs/a", "--queue", "9"],
        expect!["error: a request may have 64 images (`--max-images`), but the queue has room for 9 (`--queue`): raise one or lower the other"],
    );
    bench.fails(
        &["serve", "runs/a", "--token-file", "none"],
        expect!["error: --token-file none: there is no such file: make one with `openssl rand -hex 32 > none`"],
    );
    let output =
        bench.command(&["serve", "runs/a"]).env("MASKFIT_TOKEN", "short").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let err = text(&output.stderr);
    assert!(err.starts_with("error: MASKFIT_TOKEN: the token has 5 characters"), "{err}");
}
