//! Every network, every head, every stage and every method gives a map.

use ::explain::{ColourMap, ExplainError, Explainer, Explanation, Method, Target};
use augment::Image;
use base::{Seed, Task, task::Scope};
use candle::{Device, Result};
use models::{BackboneConfig, EfficientNet, HeadConfig, Model, ModelSpec, published};
use testkit::numbers;

use super::explainer;
use crate::zoo::models::narrow;

fn image(h: usize, w: usize) -> Image {
    let pixels = numbers("image", h * w * 3).into_iter().map(|it| (127.5 * (1.0 + it)) as u8);
    Image::from_raw(w as u32, h as u32, pixels.collect()).expect("three bytes per pixel")
}

fn fresh(backbone: BackboneConfig, head: HeadConfig, task: &Task) -> Result<Explainer> {
    let model = Model::fresh(&ModelSpec { backbone, head }, task, Seed(0), &Device::Cpu)?;
    Ok(explainer(model, task))
}

#[track_caller]
fn check(name: &str, it: &Explanation, size: [usize; 2]) {
    let map = &it.heatmap;
    assert_eq!(([map.height, map.width], map.values.len()), (size, size[0] * size[1]), "{name}");
    assert!(map.values.iter().all(|it| (0.0..=1.0).contains(it)), "{name}: {map:?}");
    let largest = map.values.iter().copied().fold(0.0, f32::max);
    assert!(largest == 0.0 || largest > 0.5, "{name}: the largest value is {largest}");
    assert!((0.0..=1.0).contains(&it.probability), "{name}: {}", it.probability);
    assert_eq!(it.overlay(ColourMap::Viridis, 0.5).dimensions(), it.image.dimensions());
}

fn explained(
    name: &str,
    by: &Explainer,
    size: [usize; 2],
    target: &Target,
    method: Method,
    stage: Option<&str>,
) -> Explanation {
    let it = by.explain_image(image(size[0], size[1]), target, method, stage);
    let it = it.unwrap_or_else(|err| panic!("{name}, {method}, {stage:?}: {err}"));
    check(name, &it, size);
    it
}

#[test]
fn every_published_network_has_a_map_of_every_stage() -> Result<()> {
    let task = Task::mask_gender_age();
    let (mut n, mut n_with_map) = (0, 0);
    for it in published() {
        let by = fresh(narrow(it.backbone), HeadConfig::default(), &task)?;
        let mut has_map = false;
        for stage in by.stages() {
            let target = &Target::PREDICTED;
            let found = explained(it.name, &by, [40, 32], target, Method::GradCam, Some(stage));
            has_map |= found.heatmap.mass() > 0.0;
        }
        (n, n_with_map) = (n + 1, n_with_map + usize::from(has_map));
    }
    // Of initial weights, all maps of a network may be negative everywhere.
    assert!(2 * n_with_map > n, "only {n_with_map} of {n} networks have a map that is not 0");
    Ok(())
}

#[test]
fn every_head_has_a_map_of_every_target_stage_and_method() -> Result<()> {
    let task = Task::mask_gender_age();
    let config = EfficientNet { width: 0.25, depth: 0.3, ..EfficientNet::default() };
    let mut heads = HeadConfig::zoo();
    for text in [
        "kind = \"cosine\"\nby = \"factor\"",
        "kind = \"bins\"\ndecide = \"expected\"",
        "kind = \"regression\"\nauxiliary = false",
    ] {
        heads.push((text, toml::from_str(text).expect("settings")));
    }
    for (kind, head) in heads {
        let by = fresh(BackboneConfig::EfficientNet(config.clone()), head, &task)?;
        for scope in task.scopes() {
            let target = Target { scope, class: None };
            for stage in by.stages() {
                for method in [Method::GradCam, Method::GradCamPlusPlus] {
                    explained(kind, &by, [32, 24], &target, method, Some(stage));
                }
            }
            // The probabilities of the classes of a scope sum to 1.
            let of = |class| {
                let target = Target { scope, class: Some(class) };
                explained(kind, &by, [32, 24], &target, Method::GradCam, None).probability
            };
            let sum: f64 = (0..task.n_classes_of(scope)).map(of).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{kind}: {sum}");
        }
        explained(kind, &by, [32, 24], &Target::PREDICTED, Method::Occlusion, None);
    }
    Ok(())
}

#[test]
fn maps_of_one_cell_and_grey_images_are_explained() -> Result<()> {
    let task = Task::mask_gender_age();
    let backbone =
        BackboneConfig::EfficientNet(EfficientNet { width: 0.25, ..EfficientNet::default() });
    let by = fresh(backbone, HeadConfig::default(), &task)?;
    for size in [[1, 1], [8, 8], [32, 32], [5, 70]] {
        for method in Method::ALL {
            explained("small", &by, size, &Target::PREDICTED, method, None);
        }
    }
    let grey = Image::from_pixel(32, 32, [128; 3].into());
    for method in Method::ALL {
        let it = by.explain_image(grey.clone(), &Target::PREDICTED, method, None).unwrap();
        check("grey", &it, [32, 32]);
    }
    Ok(())
}

#[test]
fn what_does_not_exist_is_an_error() -> Result<()> {
    let task = Task::mask_gender_age();
    let backbone =
        BackboneConfig::EfficientNet(EfficientNet { width: 0.25, ..EfficientNet::default() });
    let by = fresh(backbone, HeadConfig::default(), &task)?;
    let explain = |target: Target, stage: Option<&str>| {
        by.explain_image(image(32, 32), &target, Method::GradCam, stage)
    };
    let err = explain(Target::PREDICTED, Some("neck")).unwrap_err();
    assert!(matches!(err, ExplainError::NoStage { .. }), "{err}");
    let text =
        "the network has no stage `neck` with a feature map: expected one of: stem, stage1, stage2";
    assert!(err.to_string().starts_with(text), "{err}");
    for (scope, class) in [(Scope::Joint, 18), (Scope::Factor(0), 3), (Scope::Factor(3), 0)] {
        let err = explain(Target { scope, class: Some(class) }, None).unwrap_err();
        assert!(matches!(err, ExplainError::NoTarget(_)), "{err}");
    }
    let err = by.explain(b"no image", &Target::PREDICTED, Method::GradCam, None).unwrap_err();
    assert!(matches!(err, ExplainError::Image(_)), "{err}");
    Ok(())
}
