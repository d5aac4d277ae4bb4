use std::{io::Cursor, panic::catch_unwind};

use augment::{Pipeline, Statistics, Step};
use base::Seed;
use image::{ImageFormat, RgbImage};
use prost::Message as _;
use testkit::{OnnxModel, numbers};

use super::{add, input, problem};
use crate::{
    builder::{Dim, GraphBuilder},
    proto::DataType,
};

fn steps(text: &str) -> Vec<Step> {
    let text = format!("ops = [{text}]");
    let mut table: std::collections::BTreeMap<String, Vec<Step>> = toml::from_str(&text).unwrap();
    table.remove("ops").unwrap()
}

const RESIZE: &str = "{ kind = \"resize\", size = [8, 8] }";
const SHORTER: &str = "{ kind = \"resize_shorter\", size = 8 }";
const CROP: &str = "{ kind = \"center_crop\", size = [8, 8] }";

#[test]
fn operations_that_onnx_does_not_have_are_named() {
    for fine in [
        String::new(),
        format!("{SHORTER}, {CROP}"),
        format!("{CROP}, {RESIZE}, {CROP}"),
        format!("{{ kind = \"face_crop\", p = 0.0 }}, {RESIZE}"),
        "{ kind = \"crop\", size = [8, 8], at = [0.0, 1.0] }".to_owned(),
    ] {
        assert_eq!(problem(&steps(&fine)), None, "{fine}");
    }
    for (ops, begin) in [
        (format!("{{ kind = \"face_crop\" }}, {RESIZE}"), "`face_crop` cannot be in the graph"),
        (format!("{RESIZE}, {{ kind = \"pad\", by = [1, 1] }}"), "`pad` cannot be in the graph"),
        (format!("{SHORTER}, {CROP}, {RESIZE}"), "`resize` after `resize_shorter`"),
    ] {
        let got = problem(&steps(&ops)).unwrap_or_default();
        assert!(got.starts_with(begin), "{ops}: {got}");
    }
}

/// A pipeline whose normalisation is the identity, on levels from 0 to 255.
fn pipeline(ops: &str) -> Pipeline {
    let statistics = Statistics { mean: [0.0; 3], std: [1.0 / 255.0; 3] };
    Pipeline { ops: steps(ops), statistics, max_pixels: 1_000_000 }
}

/// An ONNX file of a pipeline alone.
fn file(pipeline: &Pipeline) -> Vec<u8> {
    let mut graph = GraphBuilder::new();
    let levels = input(&mut graph);
    let pixels = add(&mut graph, pipeline, &levels).unwrap();
    let [height, width] = pipeline.size().unwrap().map(Dim::Fixed);
    let dims = [Dim::BATCH, Dim::Fixed(3), height, width];
    graph.output("pixels", &pixels, DataType::Float, &dims, "");
    graph.finish("pipeline", Vec::new()).encode_to_vec()
}

/// An image with edges and noise, and its bytes in a file.
fn image([h, w]: [usize; 2]) -> (RgbImage, Vec<u8>) {
    let noise = numbers("preprocessing", h * w * 3);
    let image = RgbImage::from_fn(w as u32, h as u32, |x, y| {
        let at = (y as usize * w + x as usize) * 3;
        let edge = if (x / 5 + y / 7) % 2 == 0 { 60.0 } else { -60.0 };
        image::Rgb([0, 1, 2].map(|c| (128.0 + edge + 67.0 * noise[at + c]) as u8))
    });
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    (image, bytes.into_inner())
}

/// Our pixels, channels first.
fn ours(pipeline: &Pipeline, bytes: &[u8]) -> Vec<f64> {
    let image = pipeline.apply(bytes, &mut Seed(0).stream("test"), None).unwrap();
    let channel = |c: usize| image.pixels().map(move |it| f64::from(it.0[c]));
    (0..3).flat_map(channel).collect()
}

#[test]
fn crops_have_our_pixels_and_resized_images_but_for_a_level_in_few_places() {
    let crop = |at: &str| format!("{{ kind = \"crop\", size = [21, 18], at = {at} }}");
    let resize = |size: &str, filter: &str| {
        format!("{{ kind = \"resize\", size = {size}, filter = \"{filter}\" }}")
    };
    let shorter = |filter: &str| {
        format!(
            "{{ kind = \"resize_shorter\", size = 32, filter = \"{filter}\" }}, \
             {{ kind = \"center_crop\", size = [28, 29] }}"
        )
    };
    // The sizes have even and odd margins, and both orders of the sides.
    let sizes = [[40, 37], [75, 90], [90, 61]];
    let crops = [
        "{ kind = \"center_crop\", size = [22, 22] }".to_owned(),
        crop("[0.0, 1.0]"),
        crop("[0.3, 0.7]"),
    ];
    for ops in &crops {
        check(ops, &sizes, 0.0);
    }
    for filter in ["bilinear", "bicubic", "lanczos"] {
        for ops in [
            resize("[24, 31]", filter),
            resize("[100, 120]", filter),
            // One side smaller, the other larger.
            resize("[24, 120]", filter),
            shorter(filter),
            format!("{}, {}", crop("[0.5, 0.5]"), resize("[15, 30]", filter)),
        ] {
            check(&ops, &sizes, 2e-3);
        }
    }
}

/// Checks that for images of some sizes at most a share of the levels differs, by one.
#[track_caller]
fn check(ops: &str, sizes: &[[usize; 2]], most: f64) {
    let pipeline = pipeline(ops);
    let file = file(&pipeline);
    for &[h, w] in sizes {
        let (image, bytes) = image([h, w]);
        let dims = [1, h, w, 3];
        let got = OnnxModel::for_input::<u8>(&file, dims).run(dims, image.as_raw()).remove(0);
        let want = ours(&pipeline, &bytes);
        assert_eq!(got.len(), want.len(), "{ops} of {h}x{w}");
        // The normalisation rounds.
        let off: Vec<f64> =
            got.iter().zip(&want).map(|(a, b)| (a - b).abs()).filter(|it| *it > 1e-3).collect();
        let worst = off.iter().copied().fold(0.0, f64::max);
        let share = off.len() as f64 / want.len() as f64;
        assert!(worst <= 1.001 && share <= most, "{ops} of {h}x{w}: {share} of levels, {worst}");
    }
}

#[test]
fn an_image_that_is_smaller_than_a_crop_is_refused_by_the_runtime() {
    let crop = "{ kind = \"crop\", size = [21, 18], at = [0.2, 0.5] }";
    // The crop decides, whatever follows it.
    for ops in [crop.to_owned(), format!("{crop}, {RESIZE}")] {
        let file = file(&pipeline(&ops));
        let runs = |size: [usize; 2]| {
            let dims = [1, size[0], size[1], 3];
            let run = || OnnxModel::for_input::<u8>(&file, dims).run(dims, image(size).0.as_raw());
            catch_unwind(run).is_ok()
        };
        assert!(runs([21, 18]) && !runs([12, 40]) && !runs([12, 9]), "{ops}");
    }
}

#[test]
fn statistics_are_subtracted_and_divided_by() {
    let statistics = Statistics { mean: [0.1, 0.2, 0.3], std: [0.5, 0.25, 0.2] };
    let pipeline = Pipeline { statistics, ..pipeline(CROP) };
    let file = file(&pipeline);
    let pixels: Vec<u8> = (0..64).flat_map(|_| [0, 255, 51]).collect();
    let dims = [1, 8, 8, 3];
    let got = OnnxModel::for_input::<u8>(&file, dims).run(dims, &pixels).remove(0);
    // (0 - 0.1) / 0.5, (1 - 0.2) / 0.25, (0.2 - 0.3) / 0.2.
    for (channel, want) in got.chunks(64).zip([-0.2, 3.2, -0.5]) {
        assert!(channel.iter().all(|it| (it - want).abs() < 1e-5), "{channel:?}, want {want}");
    }
}
