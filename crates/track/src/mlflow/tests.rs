//! The sender's behaviour with servers that work, are down, do not respond, or fail.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Mlflow, QUEUE, Sender, Timeouts};
use crate::{About, End, Tracker as _};

const SHORT: Timeouts = Timeouts {
    response: Duration::from_millis(300),
    gather: Duration::from_millis(20),
    end: Duration::from_secs(2),
};

/// The path and body of each request.
type Requests = Arc<Mutex<Vec<(String, Value)>>>;

/// Starts a server that returns `respond(path)`, or never responds if that is `None`; also returns the
/// requests that it receives.
fn serve(respond: impl Fn(&str) -> Option<(u16, Value)> + Send + 'static) -> (Mlflow, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let requests = Requests::default();
    let received = Arc::clone(&requests);
    thread::spawn(move || {
        let mut silent = Vec::new();
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut path, mut n) = (String::new(), String::new(), 0);
            while stream.read_line(&mut line).unwrap() > 2 {
                let lower = line.to_lowercase();
                if let Some(it) = lower.strip_prefix("content-length:") {
                    n = it.trim().parse().unwrap();
                }
                if path.is_empty() {
                    let full = line.split(' ').nth(1).unwrap();
                    path = full.trim_start_matches("/api/2.0/mlflow/").to_owned();
                }
                line.clear();
            }
            let mut body = vec![0; n];
            stream.read_exact(&mut body).unwrap();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let Some((status, content)) = respond(&path) else {
                silent.push(stream);
                continue;
            };
            received.lock().unwrap().push((path, body));
            let content = content.to_string();
            let head = format!("HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: ");
            let response = format!("{head}{}\r\n\r\n{content}", content.len());
            stream.get_mut().write_all(response.as_bytes()).unwrap();
        }
    });
    (Mlflow { uri, ..Mlflow::default() }, requests)
}

/// Responds as a server that has a run with a loss of step 3.
fn working(path: &str) -> Option<(u16, Value)> {
    let path = path.split('?').next().unwrap();
    let content = match path {
        "experiments/get-by-name" => return Some((404, json!({ "message": "none" }))),
        "experiments/create" => json!({ "experiment_id": "5" }),
        "runs/create" => json!({ "run": { "info": { "run_id": "r1" } } }),
        "runs/get" => {
            let metrics = json!([{ "key": "loss", "value": 0.5, "timestamp": 1, "step": 3 }]);
            json!({ "run": { "data": { "metrics": metrics } } })
        }
        _ => json!({}),
    };
    Some((200, content))
}

fn start(config: &Mlflow, dir: &Path, step: usize) -> Sender {
    let settings = toml::toml! {
        seed = 7
        [head]
        kind = "joint"
    };
    let about = About {
        dir,
        name: "folds/fold-0",
        group: Some("folds"),
        step,
        columns: &["loss", "acc"].map(str::to_owned),
        settings: &settings,
        tags: &[],
    };
    Sender::start(config, &about, SHORT)
}

/// The steps and keys of all metrics that were sent.
fn sent_metrics(requests: &Requests) -> Vec<(u64, String)> {
    let requests = requests.lock().unwrap();
    let batches = requests.iter().filter(|(path, _)| path == "runs/log-batch");
    let metrics = batches.filter_map(|(_, it)| it["metrics"].as_array());
    let one = |it: &Value| (it["step"].as_u64().unwrap(), it["key"].to_string());
    metrics.flatten().map(one).collect()
}

/// Logs a run of some steps; returns the number of errors, and the last one.
fn track(config: &Mlflow, n_steps: usize) -> (usize, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut sender = start(config, dir.path(), 0);
    let mut errors = Vec::new();
    for step in 1..=n_steps {
        errors.extend(sender.scalars(step, &[("loss", 0.5)]).err());
    }
    errors.extend(sender.finish(End::Finished).err());
    let last = errors.last().map(ToString::to_string).unwrap_or_default();
    (errors.len(), last)
}

#[test]
fn metrics_are_sent_once_and_a_resumed_run_keeps_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let (config, requests) = serve(working);
    let mut sender = start(&config, dir.path(), 0);
    for step in 1..=3 {
        sender.scalars(step, &[("loss", 0.5), ("acc", f64::NAN)]).unwrap();
    }
    sender.finish(End::Stopped).unwrap();
    let loss = "\"loss\"".to_owned();
    assert_eq!(sent_metrics(&requests), [1, 2, 3].map(|it| (it, loss.clone())));
    let last = requests.lock().unwrap().last().unwrap().1.clone();
    assert_eq!((&last["run_id"], &last["status"]), (&json!("r1"), &json!("KILLED")));
    let params = requests.lock().unwrap().iter().find_map(|(_, it)| it.get("params").cloned());
    let want = json!([{ "key": "head.kind", "value": "joint" }, { "key": "seed", "value": "7" }]);
    let mut params = params.unwrap().as_array().unwrap().clone();
    params.sort_by_key(|it| it["key"].to_string());
    assert_eq!(json!(params), want);

    // The server has 3 steps, the run has done 5, and resumes from there.
    requests.lock().unwrap().clear();
    let table = "step,loss,acc\n1,0.5,\n2,0.5,\n3,0.5,\n4,0.5,\n5,0.5,\n6,0.5,\n";
    std::fs::write(dir.path().join("metrics.csv"), table).unwrap();
    let mut sender = start(&config, dir.path(), 5);
    sender.scalars(6, &[("loss", 0.5)]).unwrap();
    sender.finish(End::Finished).unwrap();
    assert_eq!(sent_metrics(&requests), [4, 5, 6].map(|it| (it, loss.clone())));
    let paths: Vec<_> = requests.lock().unwrap().iter().map(|it| it.0.clone()).collect();
    assert!(!paths.contains(&"runs/create".to_owned()), "{paths:?}");
}

#[test]
fn an_absent_server_is_reported_without_waiting() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = Mlflow { uri: format!("http://{free}"), ..Mlflow::default() };
    let began = Instant::now();
    let (n_errors, last) = track(&config, 1000);
    assert_eq!(n_errors, 1);
    assert!(last.contains(&config.uri) && last.contains("start it"), "{last}");
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_server_that_never_responds_is_not_waited_for() {
    let (config, _) = serve(|_| None);
    let began = Instant::now();
    let (n_errors, last) = track(&config, QUEUE + 10);
    assert!(n_errors >= 1 && last.contains("cannot be reached"), "{n_errors}: {last}");
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_server_that_stops_responding_is_not_waited_for_beyond_the_timeout() {
    let (config, _) = serve(|path| match path {
        "runs/log-batch" => None,
        other => working(other),
    });
    let began = Instant::now();
    let (n_errors, last) = track(&config, 10);
    assert!(n_errors == 1 && last.contains("cannot be reached"), "{n_errors}: {last}");
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn requests_to_a_failing_server_are_retried_a_few_times() {
    let (config, requests) = serve(|path| match path {
        "runs/log-batch" => Some((500, json!({ "message": "the database is locked" }))),
        other => working(other),
    });
    let dir = tempfile::tempdir().unwrap();
    let mut sender = start(&config, dir.path(), 0);
    sender.scalars(1, &[("loss", 0.5)]).unwrap();
    let err = sender.finish(End::Finished).unwrap_err().to_string();
    assert!(err.contains("returned status 500: the database is locked"), "{err}");
    let requests = requests.lock().unwrap();
    assert_eq!(requests.iter().filter(|(path, _)| path == "runs/log-batch").count(), 4);
}
