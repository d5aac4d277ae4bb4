//! The Open Inference Protocol, the token, request ids and metrics.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use serve::{ServeError, Server, Token};
use tempfile::tempdir;

use crate::small::{Client, bundle, ensemble, images, infer_body, start};

#[test]
fn the_open_inference_protocol_is_spoken() {
    let dir = tempdir().unwrap();
    ensemble().save(dir.path(), "1").unwrap();
    let server = start(&[("people", dir.path())], |_| {});
    let client = Client::new(&server);
    assert_eq!(client.get("/v2/health/live").ok(), json!({"live": true}));
    assert_eq!(client.get("/v2/health/ready").ok(), json!({"ready": true}));
    assert_eq!(client.get("/v2").ok()["name"], "maskfit");
    assert_eq!(
        client.get("/v2/models/people/ready").ok(),
        json!({"name": "people", "ready": true})
    );
    let about = client.get("/v2/models/people").ok();
    let version = about["versions"][0].as_str().unwrap().to_owned();
    assert_eq!(about["inputs"], json!([{"name": "image", "datatype": "BYTES", "shape": [-1]}]));
    assert_eq!(
        about["outputs"],
        json!([
            {"name": "probabilities", "datatype": "FP64", "shape": [-1, 18]},
            {"name": "index", "datatype": "INT64", "shape": [-1]},
            {"name": "class", "datatype": "BYTES", "shape": [-1]},
            {"name": "set", "datatype": "BOOL", "shape": [-1, 18]},
        ])
    );
    let encoded: Vec<String> = images(2).iter().map(|it| STANDARD.encode(it)).collect();
    let infer = |path: &str, body: &serde_json::Value| {
        client.post(path, "application/json", body.to_string().as_bytes())
    };
    let mut body = infer_body(&encoded);
    body["id"] = json!("seven");
    let reply = infer("/v2/models/people/infer", &body).ok();
    assert_eq!((&reply["id"], &reply["model_name"]), (&json!("seven"), &json!("people")));
    assert_eq!(reply["model_version"], version.as_str());
    let outputs = reply["outputs"].as_array().unwrap();
    let names: Vec<&str> = outputs.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["probabilities", "index", "class"]);
    assert_eq!(outputs[0]["shape"], json!([2, 18]));
    assert_eq!(outputs[0]["data"].as_array().unwrap().len(), 36);
    let total: f64 =
        outputs[0]["data"].as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).sum();
    assert!((total - 2.0).abs() < 1e-9, "{total}");

    // Of a version, and some outputs in another order.
    body["outputs"] = json!([{"name": "set"}, {"name": "class"}]);
    body["parameters"] = json!({"sets": 0.9});
    let path = format!("/v2/models/people/versions/{version}/infer");
    let reply = infer(&path, &body).ok();
    assert_eq!(reply["outputs"][0]["name"], "set");
    assert_eq!(reply["outputs"][0]["shape"], json!([2, 18]));
    assert_eq!(reply["outputs"][1]["name"], "class");
    assert_eq!(reply["outputs"].as_array().unwrap().len(), 2);

    for (path, status) in [
        ("/v2/models/other", 404),
        ("/v2/models/people/versions/0", 404),
        ("/v2/models/other/ready", 404),
        ("/v2/models/people/infer", 405),
    ] {
        let reply = client.get(path);
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.json()["error"].is_string(), "{path}");
    }
    let takes = |path: &str| client.get(path).json()["error"].clone();
    assert_eq!(
        takes("/v2/models/people/infer"),
        "`/v2/models/people/infer` takes `POST`, not `GET`"
    );
    let reply = client.post("/models", "image/png", b"");
    assert_eq!(
        (reply.status, &reply.json()["error"]),
        (405, &json!("`/models` takes `GET`, not `POST`"))
    );
    body["outputs"] = json!([{"name": "set"}, {"name": "set"}]);
    assert_eq!(infer("/v2/models/people/infer", &body).status, 400);
}

const TOKEN: &str = "a-token-of-a-test-1234";

#[test]
fn a_token_is_needed_for_all_but_the_page_and_the_health() {
    let dir = tempdir().unwrap();
    bundle(1).save(dir.path(), "1").unwrap();
    let server = start(&[("m", dir.path())], |it| it.token = Some(Token::new(TOKEN).unwrap()));
    let image = &images(1)[0];
    let paths = ["/models", "/metrics", "/v2", "/v2/models/m", "/nowhere"];
    for client in [Client::new(&server), Client::new(&server).with_token("a-token-of-a-test-1235")]
    {
        for path in paths {
            let reply = client.get(path);
            assert_eq!((reply.status, reply.header("www-authenticate")), (401, "Bearer"), "{path}");
        }
        assert_eq!(client.predict(image).status, 401);
        for path in ["/", "/v2/health/live", "/v2/health/ready"] {
            assert_eq!(client.get(path).status, 200, "{path}");
        }
    }
    let client = Client::new(&server).with_token(TOKEN);
    let statuses = paths.map(|it| client.get(it).status);
    assert_eq!((statuses, client.predict(image).status), ([200, 200, 200, 200, 404], 200));
}

#[test]
fn another_address_than_loopback_needs_a_token_or_permission() {
    let dir = tempdir().unwrap();
    bundle(1).save(dir.path(), "1").unwrap();
    let source = serve::Source { name: "m".to_owned(), dirs: vec![dir.path().to_owned()] };
    let mut options = serve::Options::new(vec![source]);
    options.listen = vec!["0.0.0.0:0".parse().unwrap()];
    match Server::start(options.clone()) {
        Err(ServeError::Options(text)) => assert!(text.contains("--token-file"), "{text}"),
        _ => panic!("it was started"),
    }
    options.is_public = true;
    Server::start(options).unwrap().stop();
}

#[test]
fn what_cannot_be_opened_or_listened_on_is_an_error_before_the_first_request() {
    let dir = tempdir().unwrap();
    let source = serve::Source { name: "m".to_owned(), dirs: vec![dir.path().to_owned()] };
    let mut options = serve::Options::new(vec![source]);
    options.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let err = Server::start(options.clone()).err().unwrap().to_string();
    assert!(err.starts_with("model `m`: "), "{err}");
    bundle(1).save(dir.path(), "1").unwrap();
    let first = Server::start(options.clone()).unwrap();
    options.listen = vec![first.address()];
    let err = Server::start(options.clone()).err().unwrap().to_string();
    assert!(err.starts_with("cannot listen on 127.0.0.1:") && err.contains("--listen"), "{err}");
    // Of several addresses, the first that is free.
    options.listen.push("127.0.0.1:0".parse().unwrap());
    assert_ne!(Server::start(options).unwrap().address(), first.address());
}

#[test]
fn requests_have_ids_and_are_counted() {
    let dir = tempdir().unwrap();
    bundle(1).save(dir.path(), "1").unwrap();
    let server = start(&[("m", dir.path())], |_| {});
    let client = Client::new(&server);
    let image = &images(1)[0];
    let replies = [
        client.predict(image),
        client.predict(b"text"),
        client.get("/none"),
        client.get("/predict"),
    ];
    assert_eq!(replies.each_ref().map(|it| it.status), [200, 400, 404, 405]);
    let mut ids = replies.each_ref().map(|it| it.header("x-request-id").to_owned());
    assert!(ids.iter().all(|it| it.len() >= 18), "{ids:?}");
    ids.sort();
    assert!(ids.windows(2).all(|it| it[0] != it[1]), "{ids:?}");

    let reply = client.get("/metrics");
    assert!(reply.header("content-type").starts_with("application/openmetrics-text"));
    let lines: Vec<&str> = reply.text.lines().collect();
    assert_eq!(lines.last(), Some(&"# EOF"));
    for line in lines.iter().filter(|it| !it.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = name.split('{').next().unwrap();
        let is_plain = |it: char| it.is_ascii_lowercase() || it == '_';
        assert!(name.starts_with("maskfit_") && name.chars().all(is_plain), "{line}");
    }
    for want in [
        "maskfit_requests_total{route=\"/predict\",status=\"200\"} 1",
        "maskfit_requests_total{route=\"/predict\",status=\"400\"} 1",
        "maskfit_requests_total{route=\"/predict\",status=\"405\"} 1",
        "maskfit_requests_total{route=\"none\",status=\"404\"} 1",
        "maskfit_request_seconds_count{route=\"/predict\"} 3",
        "maskfit_batch_size_count{model=\"m\"} 1",
        "maskfit_connections 1",
    ] {
        assert!(lines.contains(&want), "{want} is not in\n{}", reply.text);
    }
}
