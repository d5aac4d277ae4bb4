//! A request with many large images does not hold up others, and may not have any number of pixels.

use std::{io::Cursor, thread};

use image::{DynamicImage, ImageFormat, RgbImage};
use tempfile::tempdir;

use crate::small::{Client, bundle, form, images, start};

/// A black PNG: small, and as slow to decode as any of its size.
fn black(side: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(RgbImage::new(side, side)).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn a_small_request_is_predicted_before_the_rest_of_many_large_images_that_came_first() {
    let dir = tempdir().unwrap();
    let mut large = bundle(1);
    large.members[0].pipeline.max_pixels = 50_000_000;
    large.save(dir.path(), "1").unwrap();
    let server = start(&[("m", dir.path())], |it| it.batching.num_workers = 1);
    let image = black(3000);
    let files: Vec<(&str, &[u8])> = (0..30).map(|_| ("large", &image[..])).collect();
    let (kind, body) = form(&files);
    thread::scope(|scope| {
        let many = scope.spawn(|| Client::new(&server).post("/predict", kind, &body));
        let client = Client::new(&server);
        let n_waiting = || {
            let name = "maskfit_queue_length{model=\"m\"} ";
            let text = client.get("/metrics").text;
            let line = text.lines().find_map(|it| it.strip_prefix(name).map(str::to_owned));
            line.map_or(0, |it| it.parse::<usize>().unwrap())
        };
        while n_waiting() == 0 {
            assert!(!many.is_finished(), "none of its images has waited");
        }
        client.predict(&images(1)[0]).ok();
        // In the order of their arrival, none of the images that came first would be left.
        let n_left = n_waiting();
        assert!(n_left > 1, "only {n_left} images are left");
        let reply = many.join().unwrap().ok();
        assert_eq!(reply["images"].as_array().unwrap().len(), files.len());
    });
}

#[test]
fn the_pixels_of_all_images_of_a_request_are_limited() {
    let dir = tempdir().unwrap();
    bundle(1).save(dir.path(), "1").unwrap();
    let server = start(&[("m", dir.path())], |it| it.limits.max_pixels = 10_000);
    let client = Client::new(&server);
    let (largest, small) = (black(100), black(10));
    let post = |n: usize, more: &[u8]| {
        let mut files: Vec<(&str, &[u8])> = (0..n).map(|_| ("a", &largest[..])).collect();
        files.push(("b", more));
        let (kind, body) = form(&files);
        client.post("/predict", kind, &body)
    };
    // As many as 16 of the largest, and 100 more.
    assert_eq!(post(15, &largest).status, 200);
    let reply = post(16, &small);
    assert_eq!(reply.status, 413, "{}", reply.text);
    assert!(reply.text.contains("160100 pixels together, and may have 160000"), "{}", reply.text);
    // What is refused alone does not count.
    let reply = post(16, &black(101)).ok();
    assert!(reply["images"][16]["error"].as_str().unwrap().contains("101x101 pixels exceed"));
}
