//! What training sees of servers that are well, gone, silent or in trouble.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Mlflow, Patience, QUEUE, Sender};
use crate::{About, End, Tracker as _};

const SHORT: Patience = Patience {
    answer: Duration::from_millis(300),
    gather: Duration::from_millis(20),
    end: Duration::from_secs(2),
};

type TestImages = Arc<Mutex<Vec<(String, Value)>>>;

/// A server that answers what `answer` says to a path, and what it was asked; `None` for never.
fn serve(answer: impl Fn(&str) -> Option<(u16, Value)> + Send + 'static) -> (Mlflow, TestImages) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let asked = TestImages::default();
    let seen = Arc::clone(&asked);
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
            let Some((status, said)) = answer(&path) else {
                silent.push(stream);
                continue;
            };
            seen.lock().unwrap().push((path, body));
            let said = said.to_string();
            let head = format!("HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: ");
            let answer = format!("{head}{}\r\n\r\n{said}", said.len());
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    (Mlflow { uri, ..Mlflow::default() }, asked)
}

/// Answers as a server does that knows a run with a loss of step 3.
fn well(path: &str) -> Option<(u16, Value)> {
    let path = path.split('?').next().unwrap();
    let said = match path {
        "experiments/get-by-name" => return Some((404, json!({ "message": "none" }))),
        "experiments/create" => json!({ "experiment_id": "5" }),
        "runs/create" => json!({ "run": { "info": { "run_id": "r1" } } }),
        "runs/get" => {
            let metrics = json!([{ "key": "loss", "value": 0.5, "timestamp": 1, "step": 3 }]);
            json!({ "run": { "data": { "metrics": metrics } } })
        }
        _ => json!({}),
    };
    Some((200, said))
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
    };
    Sender::start(config, &about, SHORT)
}

/// The steps and keys of all numbers that were sent.
fn numbers(asked: &TestImages) -> Vec<(u64, String)> {
    let asked = asked.lock().unwrap();
    let batches = asked.iter().filter(|(path, _)| path == "runs/log-batch");
    let metrics = batches.filter_map(|(_, it)| it["metrics"].as_array());
    let one = |it: &Value| (it["step"].as_u64().unwrap(), it["key"].to_string());
    metrics.flatten().map(one).collect()
}

/// A run of some steps: how many errors it had, and the last of them.
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
fn numbers_arrive_once_and_a_run_that_is_taken_up_stays_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (config, asked) = serve(well);
    let mut sender = start(&config, dir.path(), 0);
    for step in 1..=3 {
        sender.scalars(step, &[("loss", 0.5), ("acc", f64::NAN)]).unwrap();
    }
    sender.finish(End::Stopped).unwrap();
    let loss = "\"loss\"".to_owned();
    assert_eq!(numbers(&asked), [1, 2, 3].map(|it| (it, loss.clone())));
    let last = asked.lock().unwrap().last().unwrap().1.clone();
    assert_eq!((&last["run_id"], &last["status"]), (&json!("r1"), &json!("KILLED")));
    let params = asked.lock().unwrap().iter().find_map(|(_, it)| it.get("params").cloned());
    let want = json!([{ "key": "head.kind", "value": "joint" }, { "key": "seed", "value": "7" }]);
    let mut params = params.unwrap().as_array().unwrap().clone();
    params.sort_by_key(|it| it["key"].to_string());
    assert_eq!(json!(params), want);

    // The server has 3 steps, the run has done 5, and goes on from there.
    asked.lock().unwrap().clear();
    let table = "step,loss,acc\n1,0.5,\n2,0.5,\n3,0.5,\n4,0.5,\n5,0.5,\n6,0.5,\n";
    std::fs::write(dir.path().join("metrics.csv"), table).unwrap();
    let mut sender = start(&config, dir.path(), 5);
    sender.scalars(6, &[("loss", 0.5)]).unwrap();
    sender.finish(End::Finished).unwrap();
    assert_eq!(numbers(&asked), [4, 5, 6].map(|it| (it, loss.clone())));
    let paths: Vec<_> = asked.lock().unwrap().iter().map(|it| it.0.clone()).collect();
    assert!(!paths.contains(&"runs/create".to_owned()), "{paths:?}");
}

#[test]
fn a_server_that_is_not_there_is_said_and_not_waited_for() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = Mlflow { uri: format!("http://{free}"), ..Mlflow::default() };
    let began = Instant::now();
    let (n_errors, last) = track(&config, 1000);
    assert_eq!(n_errors, 1);
    assert!(last.contains(&config.uri) && last.contains("start it"), "{last}");
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_server_that_never_answers_is_not_waited_for() {
    let (config, _) = serve(|_| None);
    let began = Instant::now();
    let (n_errors, last) = track(&config, QUEUE + 10);
    assert!(n_errors >= 1 && last.contains("cannot be reached"), "{n_errors}: {last}");
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_server_that_falls_silent_is_not_waited_for_longer_than_said() {
    let (config, _) = serve(|path| match path {
        "runs/log-batch" => None,
        other => well(other),
    });
    let began = Instant::now();
    let (n_errors, last) = track(&config, 10);
    assert!(n_errors == 1 && last.contains("cannot be reached"), "{n_errors}: {last}");
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_server_in_trouble_is_asked_again_and_then_left_alone() {
    let (config, asked) = serve(|path| match path {
        "runs/log-batch" => Some((500, json!({ "message": "the database is locked" }))),
        other => well(other),
    });
    let dir = tempfile::tempdir().unwrap();
    let mut sender = start(&config, dir.path(), 0);
    sender.scalars(1, &[("loss", 0.5)]).unwrap();
    let err = sender.finish(End::Finished).unwrap_err().to_string();
    assert!(err.contains("answered with 500: the database is locked"), "{err}");
    let asked = asked.lock().unwrap();
    assert_eq!(asked.iter().filter(|(path, _)| path == "runs/log-batch").count(), 4);
}
