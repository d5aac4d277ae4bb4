//! Mixed batches of timm and of mixup's authors, and the distribution of λ.

use augment::{MixOpConfig, Mixing};
use base::{
    Seed, Task,
    mix::{Area, Layer, MixedSample, Row},
};
use candle::{DType, Device, Result};
use losses::{Labels, Targets};
use testkit::{Golden, check_close, numbers};

use super::golden;

const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const STD: [f64; 3] = [0.229, 0.224, 0.225];

#[test]
fn rows_and_their_labels_are_mixed_as_in_the_references() -> Result<()> {
    for case in golden("mixing").at("mixed").list() {
        let name: String = case.to("name");
        let [h, w]: [usize; 2] = case.to("size");
        let samples: Vec<MixedSample> =
            case.at("layers").list().iter().enumerate().map(|(row, it)| sample(row, it)).collect();
        let n = samples.len();
        let bytes = |it: f64| ((it + 1.0) * 128.0) as u8;
        let images: Vec<u8> = numbers("pictures", n * h * w * 3).into_iter().map(bytes).collect();
        let rows = ops::Rows { images: &images, size: [h, w], samples: &samples };
        let pixels = ops::normalise(rows, MEAN, STD, &Device::Cpu)?.to_dtype(DType::F64)?;
        check_close(&pixels, &case.to::<Vec<f64>>("pixels"), 1e-6);

        let class = |it: f64| ((it + 1.0) * 9.0) as usize;
        let classes = numbers("classes", n).into_iter().map(class).collect();
        let labels = Labels { classes, ..Labels::default() };
        let rows: Vec<Row> = samples.iter().map(|it| it.row([h, w])).collect();
        let task = Task::mask_gender_age();
        let targets = Targets::new(&task, labels, &rows, DType::F64, &Device::Cpu);
        let targets = targets.distribution(base::task::Scope::Joint)?;
        check_close(&targets, &case.to::<Vec<f64>>("targets"), 1e-6);
        eprintln!("{name}: ok");
    }
    Ok(())
}

fn sample(row: usize, layer: &Golden) -> MixedSample {
    let [top, left, height, width]: [usize; 4] = layer.to("area");
    let area = Area { top, left, height, width };
    let (image, share) = (layer.to("image"), layer.to("share"));
    MixedSample {
        over: Some(Layer { image, area, from: [top, left], share }),
        ..MixedSample::of(row)
    }
}

#[test]
fn lambda_has_the_distribution_of_each_convention() {
    let settings = [
        ("authors", ""),
        ("fastai", "alpha = 0.4\nat_least_half = true\nper = \"example\""),
        ("timm", "partner = \"flipped\"\nper = \"example\""),
        ("uniform", "at_least_half = true\nper = \"example\""),
        ("narrow", "alpha = 8.0"),
    ];
    for (name, settings) in settings {
        let op: MixOpConfig = toml::from_str(&format!("kind = \"mixup\"\n{settings}")).unwrap();
        let mixing = Mixing::new(&[op], &Task::mask_gender_age(), &[], |_| 0).unwrap();
        // One λ per batch, for settings that sample once per batch.
        let n = 20_000;
        let lambda = |batch: usize| {
            let stream = |_| Seed(0).stream(&format!("mix/{batch}"));
            1.0 - mixing.plan(batch, 2, [1, 1], stream).rows[0].over.unwrap().share
        };
        let mut lambdas: Vec<f64> = (0..n).map(lambda).collect();
        let want = golden("mixing").at("lambdas").at(name);
        let mean = lambdas.iter().sum::<f64>() / n as f64;
        assert!((mean - want.to::<f64>("mean")).abs() < 0.01, "{name}: the mean is {mean}");
        lambdas.sort_by(f64::total_cmp);
        for (decile, at) in want.to::<Vec<f64>>("deciles").into_iter().zip(1..) {
            // Five standard errors of a share of the samples.
            let share = lambdas.partition_point(|&it| it < decile) as f64 / n as f64;
            assert!((share - f64::from(at) / 10.0).abs() < 0.018, "{name}: {share} below {decile}");
        }
    }
}
