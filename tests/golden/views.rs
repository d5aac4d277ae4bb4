//! Test-time augmentation against fastai's `tta`, scipy's means and torchvision's crops: see views.py.

use std::path::Path;

use augment::{Merge, Pipeline, StatisticsConfig, Step, ViewsConfig, apply_views};

use super::golden;

fn pipeline(ops: Vec<Step>) -> Pipeline {
    let statistics = StatisticsConfig::default().get().known().expect("known statistics");
    Pipeline { ops, statistics, max_pixels: 1 << 20 }
}

fn step(kind: &str, [height, width]: [usize; 2]) -> Step {
    let text = format!("kind = \"{kind}\"\nsize = [{height}, {width}]");
    toml::from_str(&text).expect("settings")
}

/// Applies the views of a config to the golden images' source.
fn views_of(config: &str, ops: Vec<Step>) -> Vec<Vec<u8>> {
    let config: ViewsConfig = toml::from_str(config).expect("settings");
    let views = config.get().views(&pipeline(ops), &[]).expect("views");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/images/source.png");
    let bytes = std::fs::read(path).expect("source.png");
    let images = apply_views(&views, &bytes, None).expect("images");
    images.into_iter().map(image::RgbImage::into_raw).collect()
}

#[test]
fn crops_are_those_of_torchvision() {
    for case in golden("views").at("crops").list() {
        let n: usize = case.to("n");
        let ops = vec![step("center_crop", case.to("size"))];
        let got = views_of(&format!("kind = \"crops\"\nn = {n}"), ops);
        assert_eq!(got.len(), n);
        assert!(got == case.to::<Vec<Vec<u8>>>("images"), "{n} of {:?}", case.at("size"));
    }
}

#[test]
fn a_flip_is_that_of_torchvision() {
    // The source is 37 high and 29 wide: the crop is all of it.
    let got = views_of("kind = \"flip\"", vec![step("center_crop", [37, 29])]);
    assert_eq!(got.len(), 2);
    assert!(got[1] == golden("views").to::<Vec<u8>>("flip"));
    let plain: Vec<u8> = got[0].chunks(29 * 3).flat_map(mirrored).collect();
    assert!(got[1] == plain);
}

/// A row of pixels from right to left.
fn mirrored(row: &[u8]) -> Vec<u8> {
    row.chunks(3).rev().flatten().copied().collect()
}

/// Merges `[view][image][class]` with the weights of the views.
fn merged(merge: Merge, weights: &[f64], views: &[Vec<Vec<f64>>]) -> Vec<Vec<f64>> {
    let image = |idx: usize| {
        let views: Vec<(f64, &[f64])> =
            weights.iter().zip(views).map(|(&weight, it)| (weight, &it[idx][..])).collect();
        merge.merge(&views)
    };
    (0..views[0].len()).map(image).collect()
}

fn compare(got: Vec<Vec<f64>>, want: Vec<Vec<f64>>, tolerance: f64) {
    let [got, want] = [got, want].map(|it| it.concat());
    assert_eq!(got.len(), want.len());
    for (got, want) in got.into_iter().zip(want) {
        assert!((got - want).abs() < tolerance, "{got}, not {want}");
    }
}

#[test]
fn augment_is_the_tta_of_fastai() {
    let ops = vec![step("center_crop", [20, 20])];
    for case in golden("views").at("augment").list() {
        let [n, beta, merge] = ["n", "beta", "merge"].map(|it| case.to::<toml::Value>(it));
        let config = format!("kind = \"augment\"\nn = {n}\nbeta = {beta}\nmerge = {merge}");
        let config: ViewsConfig = toml::from_str(&config).expect("settings");
        let views = config.get().views(&pipeline(ops.clone()), &ops).expect("views");
        let weights: Vec<f64> = views.iter().map(|it| it.weight).collect();
        let got = merged(config.get().merge(), &weights, &case.to::<Vec<Vec<Vec<f64>>>>("views"));
        let mut want: Vec<Vec<f64>> = case.to("tta");
        if config.get().merge() == Merge::Max {
            // fastai does not normalise.
            for row in &mut want {
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|it| *it /= sum);
            }
        }
        // It computes in f32.
        compare(got, want, 1e-7);
    }
}

#[test]
fn every_way_to_merge_agrees_with_scipy() {
    let case = golden("views").at("merge");
    let (weights, views): (Vec<f64>, Vec<Vec<Vec<f64>>>) = (case.to("weights"), case.to("views"));
    for merge in Merge::ALL {
        let name = toml::Value::try_from(merge).expect("a name");
        let want = case.to(name.as_str().expect("a string"));
        compare(merged(merge, &weights, &views), want, 1e-12);
    }
}
