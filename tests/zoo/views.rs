//! Every kind of test-time augmentation.

use std::{fs, path::Path};

use augment::{Merge, Pipeline, StatisticsConfig, Step, View, ViewsConfig, apply_views};
use testkit::numbers;

#[derive(serde::Deserialize)]
struct Ops {
    eval: Vec<Step>,
    train: Vec<Step>,
}

fn ops() -> Ops {
    let text = r#"
        eval = [{ kind = "resize_shorter", size = 40 }, { kind = "center_crop", size = [36, 30] }]
        train = [{ kind = "random_resized_crop", size = [32, 24] }, { kind = "horizontal_flip" }]
    "#;
    toml::from_str(text).expect("operations")
}

fn pipeline(ops: Vec<Step>) -> Pipeline {
    let statistics = StatisticsConfig::default().get().known().expect("known statistics");
    Pipeline { ops, statistics, max_pixels: 1 << 20 }
}

/// Every kind with its views, and two image files.
#[expect(clippy::type_complexity, reason = "used by the tests below only")]
fn zoo() -> (Vec<(&'static str, Vec<View>)>, [Vec<u8>; 2]) {
    let Ops { eval, train } = ops();
    let eval = pipeline(eval);
    let views = |(kind, it): (_, ViewsConfig)| (kind, it.get().views(&eval, &train).expect(kind));
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/images");
    let read = |name: &str| fs::read(dir.join(name)).expect(name);
    (
        ViewsConfig::zoo().into_iter().map(views).collect(),
        [read("rotated.jpg"), read("progressive_thumbnail.jpg")],
    )
}

#[test]
fn weights_of_the_views_of_every_kind_sum_to_1() {
    for (kind, views) in zoo().0 {
        let sum: f64 = views.iter().map(|it| it.weight).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{kind}: {sum}");
        assert!(views.iter().map(|it| it.number).eq(0..views.len()), "{kind}");
        assert_eq!(views.len() > 1, kind != "none", "{kind}");
    }
}

#[test]
fn views_of_every_kind_are_a_function_of_the_bytes() {
    let (zoo, files) = zoo();
    for (kind, views) in zoo {
        let of = |bytes: &[u8]| apply_views(&views, bytes, None).expect(kind);
        let [first, second] = [of(&files[0]), of(&files[1])];
        assert!(first == of(&files[0]) && second == of(&files[1]), "{kind}");
        // Trailing bytes do not change the pixels, but they are other bytes.
        let longer = of(&[&files[0][..], b"!"].concat());
        let is_random: Vec<bool> = views.iter().map(View::is_random).collect();
        let differs: Vec<bool> = first.iter().zip(&longer).map(|(a, b)| a != b).collect();
        assert_eq!(differs, is_random, "{kind}");
        for (idx, view) in views.iter().enumerate() {
            let size = [first[idx].height(), first[idx].width()].map(|it| it as usize);
            assert_eq!(Ok(size), view.pipeline.size(), "{kind}");
            let alone = apply_views(&views[idx..=idx], &files[0], None).expect(kind);
            assert!(alone[0] == first[idx], "{kind}: view {idx} depends on the others");
            for (other, image) in views.iter().zip(&first) {
                assert_eq!(view.gives_same(other), *image == first[idx], "{kind}: view {idx}");
            }
        }
    }
}

#[test]
fn the_plain_image_is_among_the_views_of_every_kind() {
    let (zoo, files) = zoo();
    let plain = View::plain(pipeline(ops().eval));
    let want = apply_views(std::slice::from_ref(&plain), &files[0], None).expect("an image");
    for (kind, views) in zoo {
        let n = views.iter().filter(|it| it.gives_same(&plain)).count();
        assert_eq!(n, 1, "{kind}");
        let images = apply_views(&views, &files[0], None).expect(kind);
        assert!(images.contains(&want[0]), "{kind}");
    }
}

#[test]
fn every_way_to_merge_gives_a_distribution() {
    let distribution = |idx: usize| {
        let mut it: Vec<f64> = numbers(&format!("view {idx}"), 5).iter().map(|x| x.exp()).collect();
        let sum: f64 = it.iter().sum();
        it.iter_mut().for_each(|p| *p /= sum);
        it
    };
    let [a, b, c] = [0, 1, 2].map(distribution);
    let certain = [0.0, 1.0, 0.0, 0.0, 0.0];
    for merge in Merge::ALL {
        for wrong in [f64::NAN, f64::INFINITY] {
            let merged = merge.merge(&[(0.5, &a), (0.5, &[0.1, 0.2, wrong, 0.3, 0.4])]);
            assert!(merged.iter().all(|it| it.is_nan()), "{merge:?}: {merged:?}");
        }
        assert_eq!(merge.merge(&[(1.0, &a)]), a, "{merge:?}: a single view is unchanged");
        for views in [
            vec![(0.5, &a[..]), (0.25, &b), (0.25, &c)],
            vec![(0.5, &certain), (0.5, &a)],
            vec![(0.5, &certain), (0.5, &certain)],
        ] {
            let merged = merge.merge(&views);
            let sum: f64 = merged.iter().sum();
            assert!((sum - 1.0).abs() < 1e-12, "{merge:?}: {merged:?}");
            assert!(merged.iter().all(|it| (0.0..=1.0 + 1e-12).contains(it)), "{merge:?}");
            let reversed: Vec<_> = views.iter().rev().copied().collect();
            for (a, b) in merged.iter().zip(merge.merge(&reversed)) {
                assert!((a - b).abs() < 1e-12, "{merge:?}: the order matters");
            }
        }
        for (got, want) in merge.merge(&[(0.5, &a), (0.5, &a)]).iter().zip(&a) {
            assert!((got - want).abs() < 1e-12, "{merge:?}: equal views give another prediction");
        }
    }
}

#[test]
fn wrong_settings_of_views_are_refused() {
    let Ops { eval, train } = ops();
    let problem = |text: &str, ops: &[Step]| {
        let config: ViewsConfig = toml::from_str(text).expect("settings");
        config.get().views(&pipeline(ops.to_vec()), &train).err().unwrap_or_default()
    };
    for (text, want) in [
        ("kind = \"crops\"\nn = 7", "`n` must be 5, or 10"),
        ("kind = \"scales\"\nby = []", "`by` must give 1 to 64 views, not 0"),
        ("kind = \"scales\"\nby = [1.0, nan]", "a factor from 0.25 to 4, not NaN"),
        ("kind = \"scales\"\nby = [0.0]", "a factor from 0.25 to 4, not 0"),
        ("kind = \"shifts\"\nby = [[0.0, inf]]", "two fractions from -0.5 to 0.5, not inf"),
        ("kind = \"shifts\"\nby = []", "`by` must give 1 to 64 views, not 0"),
        ("kind = \"augment\"\nn = 0", "`n` must be at least 1"),
        ("kind = \"augment\"\nn = 64", "`n` must give 1 to 64 views, not 65"),
        ("kind = \"augment\"\nbeta = nan", "`beta` must be a weight from 0 to 1, not NaN"),
    ] {
        let got = problem(text, &eval);
        assert!(got.contains(want), "{text}: {got}");
    }
    let config: ViewsConfig = toml::from_str("kind = \"augment\"").expect("settings");
    let unknown = config.get().views(&pipeline(eval.clone()), &[]).err().unwrap_or_default();
    assert!(unknown.contains("needs the transforms of training"), "{unknown}");
    // Without a crop in the centre, and with one that is applied only sometimes.
    assert!(problem("kind = \"crops\"", &eval[..1]).contains("no operation gives all images"));
    let resize: Step = toml::from_str("kind = \"resize\"\nsize = [9, 9]").expect("a step");
    let sometimes: Step =
        toml::from_str("kind = \"center_crop\"\nsize = [9, 9]\np = 0.5").expect("a step");
    for ops in [vec![resize.clone()], vec![resize, sometimes]] {
        assert!(problem("kind = \"crops\"", &ops).contains("add one to `augment.eval`"));
    }
}
