//! The server predicts what the predictor does, whatever else it predicts at the same time.

use std::thread;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::{
    raw::Random,
    small::{Client, bundle, check_same, ensemble, expected, form, images, infer_body, start},
};

const LEVEL: f64 = 0.9;

#[test]
fn an_image_has_the_bits_of_the_predictor_in_random_batches_of_concurrent_requests() {
    let dir = tempdir().unwrap();
    ensemble().save(dir.path(), "1").unwrap();
    let images = images(24);
    let (plain, with_sets) =
        (expected(dir.path(), &images, None), expected(dir.path(), &images, Some(LEVEL)));
    // Two views of each image, so that at most five are in a batch.
    let server = start(&[("all", dir.path())], |it| it.batching.batch_size = 10);
    let ask = |seed: u64| {
        let (mut random, client) = (Random(seed), Client::new(&server));
        for _ in 0..12 {
            let chosen: Vec<usize> =
                (0..1 + random.below(7)).map(|_| random.below(images.len())).collect();
            let has_sets = random.below(2) == 0;
            let (query, want) = match has_sets {
                true => (format!("?model=all&sets={LEVEL}"), &with_sets),
                false => (String::new(), &plain),
            };
            let encoded: Vec<String> =
                chosen.iter().map(|&it| STANDARD.encode(&images[it])).collect();
            let path = format!("/predict{query}");
            let (got, chosen): (Vec<Value>, &[usize]) = match random.below(4) {
                0 => {
                    let reply = client.post(&path, "image/png", &images[chosen[0]]);
                    (reply.ok()["images"].as_array().unwrap().clone(), &chosen[..1])
                }
                1 => {
                    let files: Vec<(&str, &[u8])> =
                        chosen.iter().map(|&it| ("a b.jpg", &images[it][..])).collect();
                    let (kind, body) = form(&files);
                    let reply = client.post(&path, kind, &body).ok();
                    assert_eq!(reply["images"][0]["name"], "a b.jpg");
                    (reply["images"].as_array().unwrap().clone(), &chosen)
                }
                2 => {
                    let body = json!({ "images": encoded }).to_string();
                    let reply = client.post(&path, "application/json", body.as_bytes()).ok();
                    (reply["images"].as_array().unwrap().clone(), &chosen)
                }
                _ => {
                    let mut body = infer_body(&encoded);
                    if has_sets {
                        body["parameters"] = json!({ "sets": LEVEL });
                    }
                    let path = "/v2/models/all/infer";
                    let reply =
                        client.post(path, "application/json", body.to_string().as_bytes()).ok();
                    (of_infer(&reply, chosen.len()), &chosen)
                }
            };
            assert_eq!(got.len(), chosen.len());
            for (got, &idx) in got.iter().zip(chosen) {
                check_same(got, &want[idx]);
            }
        }
    };
    thread::scope(|scope| {
        for seed in 0..6 {
            scope.spawn(move || ask(seed));
        }
    });
    let text = Client::new(&server).get("/metrics").text;
    let number = |name: &str| {
        let line = text.lines().find(|it| it.starts_with(name)).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    // Otherwise it would have tested less than it says.
    let (sum, count) = (number("maskfit_batch_size_sum"), number("maskfit_batch_size_count"));
    assert!(sum > count, "no batch had two images\n{text}");
}

/// The images of a response of `/infer`, as those of `/predict`.
fn of_infer(reply: &Value, n: usize) -> Vec<Value> {
    let output = |name: &str| {
        let all = reply["outputs"].as_array().unwrap();
        all.iter().find(|it| it["name"] == name).map(|it| it["data"].as_array().unwrap().clone())
    };
    let (probabilities, index) = (output("probabilities").unwrap(), output("index").unwrap());
    let (class, set) = (output("class").unwrap(), output("set"));
    let n_classes = probabilities.len() / n;
    let image = |idx: usize| {
        let part = |all: &[Value]| all[idx * n_classes..(idx + 1) * n_classes].to_vec();
        let of_class = |it: &Value| json!({ "probability": it });
        let mut image = json!({
            "probabilities": part(&probabilities).iter().map(of_class).collect::<Vec<_>>(),
            "index": index[idx],
            "predicted": class[idx],
        });
        if let Some(set) = &set {
            let is_in = |it: &Value| it == &json!(true);
            image["set"] = part(set).into_iter().filter(is_in).collect();
        }
        image
    };
    (0..n).map(image).collect()
}

#[test]
fn an_image_that_cannot_be_decoded_fails_alone() {
    let dir = tempdir().unwrap();
    bundle(1).save(dir.path(), "1").unwrap();
    let images = images(2);
    let want = expected(dir.path(), &images, None);
    let server = start(&[("m", dir.path())], |_| {});
    let client = Client::new(&server);
    let cut = &images[1][..images[1].len() - 20];
    let files: [(&str, &[u8]); 5] =
        [("0", &images[0]), ("text", b"text"), ("1", &images[1]), ("cut", cut), ("empty", b"")];
    let (kind, body) = form(&files);
    let reply = client.post("/predict", kind, &body).ok();
    let got = reply["images"].as_array().unwrap();
    check_same(&got[0], &want[0]);
    check_same(&got[2], &want[1]);
    let errors: Vec<&str> = [1, 3, 4].map(|it| got[it]["error"].as_str().unwrap()).to_vec();
    assert!(errors[0].starts_with("this is not an image"), "{errors:?}");
    assert_eq!(errors[1..], ["the image is truncated", "the file is empty"]);
    assert!(got[1].get("probabilities").is_none() && got[1]["name"] == "text");

    // If all fail, so does the request; if there is one, the error is in its place.
    let (kind, body) = form(&files[3..]);
    let reply = client.post("/predict", kind, &body);
    assert_eq!((reply.status, reply.json()["images"].as_array().unwrap().len()), (400, 2));
    let why = "none of the 2 images can be predicted: `cut`: the image is truncated";
    assert_eq!(reply.json()["error"], why);
    let (kind, body) = form(&files[1..2]);
    let error = client.post("/predict", kind, &body).json()["error"].clone();
    assert!(error.as_str().unwrap().starts_with("`text`: this is not an image: "), "{error}");
    let reply = client.predict(b"text");
    assert_eq!(reply.status, 400);
    assert!(reply.json()["error"].as_str().unwrap().starts_with("this is not an image"));
    let reply = client.predict(b"\0\0\0\x1cftypavif\0\0\0\0");
    assert!(reply.text.contains("AVIF is not supported: save it as JPEG or PNG"), "{}", reply.text);
    // Too many pixels, by the header alone: 1001 x 1000.
    let reply = client.predict(&crate::encoded::png(1001, 1000));
    assert_eq!(reply.status, 413);
    let why = "1001x1000 pixels exceed the limit of 1000000 (`--max-pixels`, or `max_pixels` of the bundle)";
    assert!(reply.text.contains(why), "{}", reply.text);
    let reply = client.post("/explain", "image/png", &crate::encoded::png(1001, 1000));
    assert!(reply.status == 413 && reply.text.contains(why), "{}", reply.text);
    // A tensor has no place for an error.
    let encoded = [&images[0][..], b"text"].map(|it| STANDARD.encode(it));
    let body = infer_body(&encoded).to_string();
    let reply = client.post("/v2/models/m/infer", "application/json", body.as_bytes());
    assert_eq!(reply.status, 400);
    assert!(reply.text.contains("inputs[0].data[1]"), "{}", reply.text);
    let text = client.get("/metrics").text;
    for line in [
        "maskfit_images_total{model=\"m\",result=\"failed\"} 10",
        "maskfit_images_total{model=\"m\",result=\"ok\"} 3",
        "maskfit_queue_length{model=\"m\"} 0",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_full_queue_is_429_and_what_is_accepted_is_predicted() {
    let dir = tempdir().unwrap();
    bundle(1).save(dir.path(), "1").unwrap();
    let images = images(8);
    let want = expected(dir.path(), &images, None);
    let server = start(&[("m", dir.path())], |it| {
        it.batching.queue = 2;
        it.limits.max_images = 2;
    });
    let ask = |idx: usize| {
        let (client, mut statuses) = (Client::new(&server), Vec::new());
        for _ in 0..30 {
            let reply = client.predict(&images[idx]);
            match reply.status {
                200 => check_same(&reply.json()["images"][0], &want[idx]),
                _ => assert_eq!((reply.status, reply.header("retry-after")), (429, "1")),
            }
            statuses.push(reply.status);
        }
        statuses
    };
    let statuses: Vec<u16> = thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|idx| scope.spawn(move || ask(idx))).collect();
        all.into_iter().flat_map(|it| it.join().unwrap()).collect()
    });
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
    // Two images have places, three never would.
    let client = Client::new(&server);
    let (kind, body) = form(&[("a", &images[0]), ("b", &images[1])]);
    assert_eq!(client.post("/predict", kind, &body).status, 200);
    let (kind, body) = form(&[("a", &images[0]), ("b", &images[1]), ("c", &images[2])]);
    assert_eq!(client.post("/predict", kind, &body).status, 413);
}

#[test]
fn sets_need_scores_and_a_level() {
    let dirs = [tempdir().unwrap(), tempdir().unwrap()];
    ensemble().save(dirs[0].path(), "1").unwrap();
    bundle(1).save(dirs[1].path(), "1").unwrap();
    let server = start(&[("sets", dirs[0].path()), ("none", dirs[1].path())], |_| {});
    let client = Client::new(&server);
    let image = &images(1)[0];
    let message = |query: &str| {
        let reply = client.post(&format!("/predict?{query}"), "image/png", image);
        assert_eq!(reply.status, 400, "{}", reply.text);
        reply.json()["error"].as_str().unwrap().to_owned()
    };
    assert!(message("model=none&sets=0.9").contains("no scores of held-out images"));
    for wrong in ["1", "0", "-0.5", "NaN", "inf"] {
        assert!(message(&format!("sets={wrong}")).contains("between 0 and 1"), "{wrong}");
    }
    assert_eq!(
        message("sets=x"),
        "`sets`: expected a number between 0 and 1, such as 0.9, not `x`"
    );
    let unknown = "there is no parameter `set`: expected one of `model`, `sets`";
    assert_eq!(message("set=0.9"), unknown);
    assert_eq!(message("sets=0.9&sets=0.8"), "`sets` is given twice: give it once");
    let models = client.get("/models").ok();
    let has_sets: Vec<&Value> =
        models["models"].as_array().unwrap().iter().map(|it| &it["has_sets"]).collect();
    assert_eq!(has_sets, [&json!(true), &json!(false)]);
    assert_eq!(models["models"][0]["name"], "sets");
    assert_eq!(
        models["models"][1]["factors"][0]["levels"],
        json!(["worn", "incorrect", "not worn"])
    );
}
