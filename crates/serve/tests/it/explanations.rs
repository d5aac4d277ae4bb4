//! `POST /explain`: a PNG, between predictions that it does not change.

use std::thread;

use candle::Device;
use explain::{ColourMap, Explainer, Method, Target};
use infer::Bundle;
use tempfile::tempdir;

use crate::small::{Client, check_same, ensemble, expected, images, start};

#[test]
fn a_png_is_that_of_the_explainer_and_predictions_go_on() {
    let dir = tempdir().unwrap();
    ensemble().save(dir.path(), "1").unwrap();
    let images = images(3);
    let want = expected(dir.path(), &images, None);
    let bundle = Bundle::open(dir.path(), &Device::Cpu).unwrap();
    let explainer = Explainer::new(&bundle, 1).unwrap();
    let target = Target::parse(explainer.task(), Some("mask"), Some("worn")).unwrap();
    let explained = explainer.explain(&images[0], &target, Method::GradCam, None).unwrap();
    let layers = [
        ("", explained.overlay(ColourMap::Viridis, 0.5)),
        ("&layer=map", explained.overlay(ColourMap::Viridis, 1.0)),
        ("&layer=image", explained.image.clone()),
    ];
    let server = start(&[("m", dir.path())], |_| {});
    assert_eq!(Client::new(&server).get("/models").ok()["models"][0]["explains"], true);
    thread::scope(|scope| {
        scope.spawn(|| {
            let client = Client::new(&server);
            for (image, want) in images.iter().zip(&want).cycle().take(30) {
                check_same(&client.predict(image).ok()["images"][0], want);
            }
        });
        let client = Client::new(&server);
        for (layer, explained) in &layers {
            let path =
                format!("/explain?model=m&factor=mask&target=worn&method=grad_cam&member=1{layer}");
            let reply = client.post(&path, "image/png", &images[0]);
            assert_eq!((reply.status, reply.header("content-type")), (200, "image/png"));
            let got = image::load_from_memory(&reply.bytes).unwrap().into_rgb8();
            assert!(got == *explained, "{layer}: another image");
        }
    });
    let client = Client::new(&server);
    for (query, body, why) in [
        ("factor=hat", &images[0][..], "hat"),
        ("factor=mask&target=hat", &images[0], "hat"),
        ("stage=none", &images[0], "no stage `none`"),
        ("member=2", &images[0], "there is no model 2"),
        ("method=occlusion", &images[0], "maskfit explain"),
        ("member=x", &images[0], "`member`: expected an index from 0, not `x`"),
        ("method=x", &images[0], "not a method"),
        ("layer=red", &images[0], "`red` is not a layer: expected `overlay`, `map` or `image`"),
        (
            "colour=red",
            &images[0],
            "there is no parameter `colour`: expected one of `model`, `factor`",
        ),
        ("", b"text", "this is not an image"),
    ] {
        let reply = client.post(&format!("/explain?{query}"), "image/png", body);
        assert_eq!(reply.status, 400, "{query}: {}", reply.text);
        assert!(reply.text.contains(why), "{query}: {}", reply.text);
    }
    assert_eq!(client.get("/explain").status, 405);
}
