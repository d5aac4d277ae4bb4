//! Tests of what every image operation must satisfy.

use base::Seed;

use super::{Image, TransformConfig};
use crate::{Canvas, Step};

fn test_image(w: u32, h: u32) -> Image {
    Image::from_fn(w, h, |x, y| image::Rgb([(x * 5) as u8, (y * 3) as u8, (x + y) as u8]))
}

#[test]
fn every_image_operation_satisfies_its_contract() {
    for (kind, op) in TransformConfig::zoo() {
        let (op, step) = (op.get(), Step::from(op.clone()));
        assert_eq!(step.problem(), None, "{kind}: its defaults are invalid");
        for (w, h) in [(225, 301), (301, 225), (1, 1), (1, 300), (31, 2), (224, 224)] {
            let apply = |seed| op.on(test_image(w, h), &mut Seed(seed).stream("zoo"));
            let sizes = op.sizes_from([h as usize, w as usize]);
            // A crop of an image that is too small is an error, with a message on how to fix it.
            let once = match apply(0) {
                Ok(it) => it,
                Err(err) => {
                    assert!(err.to_string().contains("resize"), "{kind}: {err}");
                    assert_eq!(sizes, Err(err), "{kind}: `sizes_from` gives another result");
                    continue;
                }
            };
            let got = [once.height() as usize, once.width() as usize];
            // The size of a crop that depends on the content is unknown.
            let size = op.size_after(Some([h as usize, w as usize])).unwrap_or(got);
            assert_eq!(got, size, "{kind}");
            let sizes = sizes.unwrap();
            assert!(sizes.contains(&got) || op.is_cached(), "{kind}: {got:?} is not in {sizes:?}");
            assert_eq!(once, apply(0).unwrap(), "{kind}: the same stream gives a different image");
            let others = (1..20).any(|seed| apply(seed).unwrap() != once);
            if !op.is_random() {
                assert!(!others, "{kind}: `is_random` is false, but the result is random");
            } else if w > 31 && (w, h) != (224, 224) {
                assert!(
                    others,
                    "{kind}: `is_random` is true, but the result is the same for all seeds"
                );
            }
        }
    }
}

/// Settings of each operation that are the identity for an image of 31x23.
const IDENTITIES: &[&str] = &[
    "kind = \"horizontal_flip\"\np = 0.0",
    "kind = \"color_jitter\"\nbrightness = 0.0\ncontrast = 0.0\nsaturation = 0.0",
    "kind = \"color_jitter\"\nbrightness = 0.0\ncontrast = 0.0\nsaturation = 0.0\ndefinition = \"albumentations\"",
    "kind = \"brightness_contrast\"\nbrightness = 0.0\ncontrast = 0.0",
    "kind = \"hue_saturation_value\"\nhue = 0.0\nsaturation = 0.0\nvalue = 0.0",
    "kind = \"gamma\"\nlimit = [100.0, 100.0]",
    "kind = \"grayscale\"\np = 0.0",
    "kind = \"gaussian_noise\"\nsigma = [0.0, 0.0]",
    "kind = \"gaussian_blur\"\nkernel_size = 1",
    "kind = \"gaussian_blur\"\nsigma = [0.1, 0.1]",
    "kind = \"sharpen\"\nfactor = [1.0, 1.0]",
    "kind = \"clahe\"\np = 0.0",
    "kind = \"jpeg_quality\"\np = 0.0",
    "kind = \"posterize\"\nbits = 8",
    "kind = \"solarize\"\nthreshold = 256.0",
    "kind = \"equalize\"\np = 0.0",
    "kind = \"autocontrast\"\np = 0.0",
    "kind = \"invert\"\np = 0.0",
    "kind = \"random_erasing\"\np = 0.0",
    "kind = \"one_of\"\nsteps = [{ kind = \"posterize\", bits = 8 }, { kind = \"invert\", p = 0.0 }]",
    "kind = \"rand_augment\"\nnum_ops = 0",
    "kind = \"trivial_augment\"\np = 0.0",
    "kind = \"fastai\"\nsize = [31, 23]\npresize = [31, 23]\ndo_flip = false\np_affine = 0.0\np_lighting = 0.0",
    "kind = \"resize\"\nsize = [31, 23]",
    "kind = \"resize_shorter\"\nsize = 23",
    "kind = \"center_crop\"\nsize = [31, 23]",
    "kind = \"crop\"\nsize = [31, 23]\nat = [0.3, 1.0]",
    "kind = \"random_crop\"\nsize = [31, 23]",
    "kind = \"face_crop\"\nmargin = 50.0\nsquare = false",
    "kind = \"background\"\np = 0.0",
    "kind = \"random_resized_crop\"\nsize = [31, 23]\nscale = [1, 1]\nratio = [0.7419354838709677, 0.7419354838709677]",
    "kind = \"pad\"\nby = [0, 0]",
    "kind = \"vertical_flip\"\np = 0.0",
    "kind = \"rotate\"\ndegrees = 0",
    "kind = \"affine\"\ndegrees = 0\ntranslate = [0, 0]\nscale = [1, 1]",
    "kind = \"perspective\"\ndistortion_scale = 0",
    "kind = \"optical_distortion\"\nlimit = 0",
    "kind = \"grid_distortion\"\nlimit = 0",
    "kind = \"elastic\"\nalpha = 0",
];

#[test]
fn strength_zero_is_the_identity() {
    let steps: Vec<Step> = IDENTITIES.iter().map(|it| toml::from_str(it).unwrap()).collect();
    for &(kind, _) in TransformConfig::KINDS {
        assert!(
            steps.iter().any(|it| it.op.kind() == kind),
            "{kind}: no settings here that are the identity"
        );
    }
    for (step, text) in steps.iter().zip(IDENTITIES) {
        for seed in 0..10 {
            let mut canvas = Canvas::from(test_image(23, 31));
            step.apply(&mut canvas, &mut Seed(seed).stream("zoo")).unwrap();
            assert_eq!(canvas.finish().unwrap(), test_image(23, 31), "{text}");
        }
    }
}

/// The strongest settings.
const STRONGEST: &[&str] = &[
    "kind = \"random_resized_crop\"\nsize = [7, 9]\nscale = [1e-6, 1]\nratio = [0.01, 100]",
    "kind = \"pad\"\nby = [70, 300]\nborder = \"reflect\"",
    "kind = \"rotate\"\ndegrees = 360\nborder = \"replicate\"",
    "kind = \"affine\"\ndegrees = 360\ntranslate = [1, 1]\nscale = [0.01, 100]\nshear_x = 89\nshear_y = 89",
    "kind = \"perspective\"\ndistortion_scale = 1\nborder = { constant = [1, 2, 3] }\np = 1",
    "kind = \"optical_distortion\"\nlimit = 1\nlens = \"fisheye\"",
    "kind = \"grid_distortion\"\ncells = 1024\nlimit = [-0.99, 10]",
    "kind = \"elastic\"\nalpha = 1e5\nsigma = 1000",
    "kind = \"elastic\"\nalpha = 1e5\nsigma = 1",
    "kind = \"color_jitter\"\nbrightness = 1e300\ncontrast = 1e300\nsaturation = 1e300\nhue = 0.5",
    "kind = \"brightness_contrast\"\nbrightness = 100.0\ncontrast = 100.0\nbrightness_by_max = false",
    "kind = \"hue_saturation_value\"\nhue = 180.0\nsaturation = 255.0\nvalue = 255.0",
    "kind = \"gamma\"\nlimit = [1.0, 10000.0]",
    "kind = \"gaussian_noise\"\nmean = -1.0\nsigma = [10.0, 10.0]",
    "kind = \"gaussian_blur\"\nkernel_size = 99\nsigma = [900.0, 1000.0]",
    "kind = \"sharpen\"\nfactor = [0.0, 1e6]",
    "kind = \"clahe\"\nclip_limit = [1.0, 1e6]\ntile_grid = [100, 100]",
    "kind = \"jpeg_quality\"\nquality = [1, 1]",
    "kind = \"random_erasing\"\narea = [0.9, 1.0]\naspect = [1e-3, 1e3]\nfill = \"pixel\"",
    "kind = \"rand_augment\"\nnum_ops = 20\nmagnitude = 30",
    "kind = \"fastai\"\nmax_warp = 0.9\nmax_lighting = 0.99\nmin_zoom = 0.1\nsize = [1, 1]",
    "kind = \"fastai\"\nmin_scale = 0.01\nsize = [1, 9]",
];

#[test]
fn the_strongest_settings_work_for_every_image() {
    for text in STRONGEST {
        let step: Step = toml::from_str(text).unwrap();
        assert_eq!(step.problem(), None, "{text}");
        for (w, h) in [(1, 1), (2, 2), (1, 500), (500, 1), (2, 31), (33, 20)] {
            for seed in 0..10 {
                let mut canvas = Canvas::from(test_image(w, h));
                step.apply(&mut canvas, &mut Seed(seed).stream("zoo")).unwrap();
                let size = step.op.get().size_after(Some([h as usize, w as usize]));
                let image = canvas.finish().unwrap();
                assert_eq!(Some([image.height() as usize, image.width() as usize]), size);
            }
        }
    }
}

#[test]
fn invalid_settings_are_reported() {
    for text in [
        "kind = \"random_resized_crop\"\nscale = [0, 1]",
        "kind = \"random_resized_crop\"\nratio = [2, 1]",
        "kind = \"pad\"\nby = [0, 5000]",
        "kind = \"rotate\"\ndegrees = nan",
        "kind = \"affine\"\ntranslate = [0.1, -0.1]",
        "kind = \"affine\"\nscale = 0.5",
        "kind = \"affine\"\nshear_y = 90",
        "kind = \"perspective\"\ndistortion_scale = 1.1",
        "kind = \"optical_distortion\"\nlimit = inf",
        "kind = \"grid_distortion\"\ncells = 0",
        "kind = \"grid_distortion\"\nlimit = 1",
        "kind = \"elastic\"\nalpha = -1",
        "kind = \"elastic\"\nsigma = 0",
        "kind = \"color_jitter\"\nhue = 0.6",
        "kind = \"color_jitter\"\nbrightness = nan",
        "kind = \"brightness_contrast\"\ncontrast = inf",
        "kind = \"hue_saturation_value\"\nvalue = -1.0",
        "kind = \"gamma\"\nlimit = [120.0, 80.0]",
        "kind = \"gaussian_noise\"\nmean = nan",
        "kind = \"gaussian_noise\"\nsigma = [0.0, inf]",
        "kind = \"gaussian_blur\"\nkernel_size = 4",
        "kind = \"gaussian_blur\"\nsigma = [0.0, 1.0]",
        "kind = \"sharpen\"\nfactor = [nan, 1.0]",
        "kind = \"clahe\"\ntile_grid = [0, 8]",
        "kind = \"clahe\"\nclip_limit = [0.0, 1.0]",
        "kind = \"jpeg_quality\"\nquality = [0, 101]",
        "kind = \"posterize\"\nbits = 9",
        "kind = \"solarize\"\nthreshold = nan",
        "kind = \"random_erasing\"\narea = [0.0, 2.0]",
        "kind = \"random_erasing\"\naspect = [0.0, 1.0]",
        "kind = \"rand_augment\"\nmagnitude = 31",
        "kind = \"rand_augment\"\nnum_magnitude_bins = 1",
        "kind = \"trivial_augment\"\nnum_magnitude_bins = 0",
        "kind = \"fastai\"\nmax_zoom = 0.5",
        "kind = \"fastai\"\nmax_warp = nan",
        "kind = \"fastai\"\nmin_scale = 0.0",
        "kind = \"fastai\"\npresize = [0, 460]",
    ] {
        let step: Step = toml::from_str(text).unwrap();
        assert!(step.problem().is_some(), "{text}");
    }
}
