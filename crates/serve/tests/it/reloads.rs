//! A bundle that is replaced on disk is served without a lost request; one that cannot be opened is not.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use infer::Prediction;
use serde_json::Value;
use tempfile::tempdir;

use crate::small::{Client, bundle, check_same, expected, images, start};

/// Whether a response has the bits of a prediction.
fn is_same(got: &Value, want: &Prediction) -> bool {
    let first = got["images"][0]["probabilities"][0]["probability"].as_f64().unwrap();
    first.to_bits() == want.probabilities[0].to_bits()
}

#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn bundles_are_replaced_under_load_without_a_lost_request() {
    let served = tempdir().unwrap();
    let image = &images(1)[0];
    // What each of the versions predicts.
    let wants: Vec<Prediction> = (0..4)
        .map(|seed| {
            let dir = tempdir().unwrap();
            bundle(seed).save(dir.path(), "1").unwrap();
            expected(dir.path(), std::slice::from_ref(image), None).remove(0)
        })
        .collect();
    bundle(0).save(served.path(), "0").unwrap();
    let server = start(&[("m", served.path())], |_| {});
    let (is_over, n_requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ask = || {
        let client = Client::new(&server);
        while !is_over.load(Ordering::Relaxed) {
            let reply = client.predict(image).ok();
            let want = wants.iter().find(|it| is_same(&reply, it)).unwrap();
            check_same(&reply["images"][0], want);
            n_requests.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let clients = [scope.spawn(ask), scope.spawn(ask), scope.spawn(ask)];
        let client = Client::new(&server);
        for (seed, want) in wants.iter().enumerate().skip(1) {
            bundle(seed as u64).save(served.path(), &seed.to_string()).unwrap();
            wait_until("the new bundle", || is_same(&client.predict(image).ok(), want));
            let before = n_requests.load(Ordering::Relaxed);
            let is_asked = || n_requests.load(Ordering::Relaxed) > before + 20;
            wait_until("further requests", || {
                is_asked() || clients.iter().any(|it| it.is_finished())
            });
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let text = Client::new(&server).get("/metrics").text;
    assert!(text.contains("maskfit_reloads_total{model=\"m\",result=\"ok\"} 3"), "{text}");
    assert!(!text.contains("status=\"500\""), "{text}");
}

#[test]
fn a_broken_bundle_leaves_the_old_one_until_it_is_whole() {
    let dir = tempdir().unwrap();
    let image = &images(1)[0];
    bundle(1).save(dir.path(), "1").unwrap();
    let old = expected(dir.path(), std::slice::from_ref(image), None).remove(0);
    let server = start(&[("m", dir.path())], |_| {});
    let client = Client::new(&server);
    let version = || client.get("/models").ok()["models"][0]["version"].clone();
    let (first, path) = (version(), dir.path().join("bundle.toml"));
    let n_failed = || {
        let text = client.get("/metrics").text;
        let name = "maskfit_reloads_total{model=\"m\",result=\"failed\"} ";
        let line = text.lines().find_map(|it| it.strip_prefix(name).map(str::to_owned));
        line.map_or(0, |it| it.parse::<usize>().unwrap())
    };
    // No bundle, no file, and weights that are missing: each is noticed. A file that is half written may be too.
    let wait_for_failure = |what: &str, change: &dyn Fn()| {
        let before = n_failed();
        change();
        wait_until(what, || n_failed() > before);
    };
    wait_for_failure("nonsense", &|| fs::write(&path, "version = 3\nnonsense").unwrap());
    wait_for_failure("no file", &|| fs::remove_file(&path).unwrap());
    let other = tempdir().unwrap();
    bundle(2).save(other.path(), "2").unwrap();
    let described = other.path().join("bundle.toml");
    wait_for_failure("no weights", &|| assert!(fs::copy(&described, &path).unwrap() > 0));
    check_same(&client.predict(image).ok()["images"][0], &old);
    assert_eq!(version(), first);
    // They arrive after the description.
    let weights = "weights-0-2.safetensors";
    fs::copy(other.path().join(weights), dir.path().join(weights)).unwrap();
    let new = expected(other.path(), std::slice::from_ref(image), None).remove(0);
    wait_until("the new bundle", || is_same(&client.predict(image).ok(), &new));
    assert_ne!(version(), first);
}

#[test]
fn a_server_looks_at_its_bundles_when_it_is_asked_to() {
    let dir = tempdir().unwrap();
    let image = &images(1)[0];
    bundle(1).save(dir.path(), "1").unwrap();
    // It would look by itself in an hour.
    let server = start(&[("m", dir.path())], |it| it.poll = Duration::from_secs(3600));
    let client = Client::new(&server);
    bundle(2).save(dir.path(), "2").unwrap();
    let new = expected(dir.path(), std::slice::from_ref(image), None).remove(0);
    assert!(!is_same(&client.predict(image).ok(), &new));
    server.control().reload();
    wait_until("the new bundle", || is_same(&client.predict(image).ok(), &new));
}
