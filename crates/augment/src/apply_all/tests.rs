use std::{fs, io::Cursor, ops::Range, path::Path};

use base::{Rng, Seed};
use image::{DynamicImage, ImageFormat};
use rand::Rng as _;

use super::apply_all;
use crate::{
    Cache, DecodeError, Image, Pipeline, PipelineError, Statistics, Step,
    decode::{Encoded, N_DECODED},
    shared::{Opened, Shared},
};

fn pipeline(ops: &str) -> Pipeline {
    #[derive(serde::Deserialize)]
    struct Ops {
        ops: Vec<Step>,
    }
    let ops: Ops = toml::from_str(&format!("ops = [{ops}]")).unwrap();
    let statistics = Statistics { mean: [0.5; 3], std: [0.5; 3] };
    Pipeline { ops: ops.ops, statistics, max_pixels: 1 << 20 }
}

fn smooth(w: u32, h: u32) -> Image {
    let wave =
        |a: u32, b: u32| (128.0 + 100.0 * (f64::from(a) / 40.0 + f64::from(b) / 60.0).sin()) as u8;
    Image::from_fn(w, h, |x, y| image::Rgb([wave(x, y), wave(y, x), wave(x, x)]))
}

fn encoded(image: Image, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn goldens(dir: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(dir);
    let files = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    let files = files.filter(|it| it.extension().is_some_and(|it| it == "jpg" || it == "png"));
    files.map(|it| (it.display().to_string(), fs::read(it).unwrap())).collect()
}

/// The results of all pipelines together, and the number of decodings.
fn together(pipelines: &[Pipeline], bytes: &[u8]) -> (Vec<Image>, usize) {
    let runs: Vec<(&Pipeline, Rng)> = pipelines.iter().map(|it| (it, rng(it))).collect();
    let before = N_DECODED.get();
    let images = apply_all(&runs, bytes, None).unwrap();
    (images, N_DECODED.get() - before)
}

/// The results of each pipeline alone, and the number of decodings.
fn alone(pipelines: &[Pipeline], bytes: &[u8]) -> (Vec<Image>, usize) {
    let before = N_DECODED.get();
    let image = |it: &Pipeline| it.apply(bytes, &mut rng(it), None).unwrap();
    (pipelines.iter().map(image).collect(), N_DECODED.get() - before)
}

fn rng(of: &Pipeline) -> Rng {
    Seed(0).stream(&format!("{:?}", of.ops))
}

const RESIZE: &str = "{ kind = \"resize_shorter\", size = 40 }";

/// Crops at five places of an image that is resized to `shorter`.
fn crops(shorter: usize) -> Vec<Pipeline> {
    let resize = format!("{{ kind = \"resize_shorter\", size = {shorter} }}");
    let at = ["[0.0, 0.0]", "[0.0, 1.0]", "[1.0, 0.0]", "[1.0, 1.0]", "[0.3, 0.5]"];
    let crop =
        |at| pipeline(&format!("{resize}, {{ kind = \"crop\", size = [30, 20], at = {at} }}"));
    at.map(crop).into()
}

#[test]
fn pipelines_together_decode_once_and_give_the_pixels_of_each_alone() {
    for format in [ImageFormat::Jpeg, ImageFormat::Png] {
        // 300 / 40 = 7.5: a JPEG is read at a quarter.
        let bytes = encoded(smooth(300, 400), format);
        let (want, n_alone) = alone(&crops(40), &bytes);
        let (got, n) = together(&crops(40), &bytes);
        assert!(got == want, "{format:?}");
        assert_eq!((n_alone, n), (5, 1), "{format:?}");
    }
}

#[test]
fn a_jpeg_is_decoded_once_at_each_reduction() {
    let bytes = encoded(smooth(300, 400), ImageFormat::Jpeg);
    // At a quarter, at a half (300 / 100 = 3), and whole, because a colour is changed first.
    let whole = "{ kind = \"gamma\", limit = [120.0, 120.0], p = 1.0 }";
    let random = format!("{whole}, {{ kind = \"random_crop\", size = [30, 20] }}");
    let pipelines =
        [crops(40), crops(100), vec![pipeline(&format!("{whole}, {RESIZE}")), pipeline(&random)]];
    let pipelines = pipelines.concat();
    let (got, n) = together(&pipelines, &bytes);
    assert!(got == alone(&pipelines, &bytes).0);
    assert_eq!(n, 3);
}

#[test]
fn every_file_gives_the_pixels_of_each_alone() {
    let ops = [
        "{ kind = \"resize\", size = [9, 7] }",
        "{ kind = \"resize\", size = [9, 7], filter = \"lanczos\" }, { kind = \"crop\", size = [3, 2], at = [1.0, 0.3] }",
        "{ kind = \"resize_shorter\", size = 5 }, { kind = \"center_crop\", size = [5, 4] }",
        "{ kind = \"horizontal_flip\", p = 1.0 }, { kind = \"resize\", size = [4, 3] }",
        "{ kind = \"random_resized_crop\", size = [6, 5] }, { kind = \"horizontal_flip\" }",
        "{ kind = \"rotate\", p = 1.0 }, { kind = \"resize\", size = [6, 5] }",
        "{ kind = \"color_jitter\" }, { kind = \"resize\", size = [6, 5] }",
        "{ kind = \"fastai\", size = [6, 5], presize = [12, 10] }",
        "{ kind = \"face_crop\" }, { kind = \"resize\", size = [6, 5] }",
    ];
    let pipelines = ops.map(pipeline);
    let mut n = 0;
    for (name, bytes) in [goldens("images"), goldens("jpeg")].concat() {
        if crate::decode(&bytes, 1 << 20).is_ok() {
            assert!(together(&pipelines, &bytes).0 == alone(&pipelines, &bytes).0, "{name}");
            n += 1;
        }
    }
    assert!(n > 50, "{n}");
}

#[test]
fn parts_of_a_shared_jpeg_equal_those_decoded_alone() {
    let rng = &mut Seed(0).stream("parts");
    for (name, bytes) in goldens("jpeg") {
        let Ok(image) = Encoded::open(&bytes, 1 << 20) else { continue };
        let alone = Opened::One(image);
        let [h, w] = alone.size();
        let shared = Shared::new(Encoded::open(&bytes, 1 << 20).unwrap());
        let mut range = |n: usize| -> Range<usize> {
            let start = rng.random_range(0..n);
            start..rng.random_range(start + 1..=n)
        };
        let mut needs = Vec::new();
        for reduction in [1.0, 2.0, 4.0, 8.0] {
            needs.extend((0..6).map(|_| ([reduction; 2], [range(h), range(w)])));
        }
        if alone.decode().is_err() {
            continue;
        }
        let opened = Opened::Shared(&shared);
        for (at_most, needed) in needs.clone() {
            assert_eq!(opened.decode_part(at_most, needed).err(), Some(DecodeError::Deferred));
        }
        assert_eq!((shared.decode_wanted(), shared.decode_wanted()), (Ok(true), Ok(false)));
        for (at_most, needed) in needs {
            let got = opened.decode_part(at_most, needed.clone()).unwrap();
            let want = alone.decode_part(at_most, needed.clone()).unwrap();
            assert!(got.image == want.image, "{name}: {at_most:?}, {needed:?}");
            assert_eq!((got.reduction, got.origin), (want.reduction, want.origin), "{name}");
        }
    }
}

#[test]
fn a_face_is_searched_once_for_all_pipelines() {
    /// Stores nothing, and counts what is to be stored.
    struct Counts(std::sync::atomic::AtomicUsize);
    impl Cache for Counts {
        fn get(&self, _: &str) -> Option<Vec<u8>> {
            None
        }
        fn put(&self, _: &str, _: &[u8]) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let bytes = encoded(smooth(300, 400), ImageFormat::Jpeg);
    let face = |op: &str| pipeline(&format!("{{ kind = \"face_crop\" }}, {op}"));
    let pipelines = [face(RESIZE), face("{ kind = \"resize\", size = [50, 40] }")];
    let runs: Vec<_> = pipelines.iter().map(|it| (it, rng(it))).collect();
    let counts = Counts(0.into());
    apply_all(&runs, &bytes, Some(&counts)).unwrap();
    assert_eq!(counts.0.into_inner(), 1);
}

#[test]
fn errors_are_those_of_a_pipeline_alone() {
    let bytes = encoded(smooth(60, 50), ImageFormat::Jpeg);
    let too_large = pipeline("{ kind = \"center_crop\", size = [100, 100] }");
    let small = Pipeline { max_pixels: 1000, ..pipeline(RESIZE) };
    let damaged = {
        let mut bytes = bytes.clone();
        bytes.truncate(bytes.len() / 2);
        bytes
    };
    for (bytes, failing) in [(&bytes, &too_large), (&bytes, &small), (&damaged, &pipeline(RESIZE))]
    {
        let want = failing.apply(bytes, &mut rng(failing), None);
        let other = pipeline(RESIZE);
        let got = apply_all(&[(&other, rng(&other)), (failing, rng(failing))], bytes, None);
        let text = |it: Option<PipelineError>| it.map(|it| it.to_string());
        assert_eq!(text(got.err()), text(want.err()));
    }
    assert!(apply_all(&[], b"not an image", None).unwrap().is_empty());
}
