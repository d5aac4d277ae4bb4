//! Tests that every member of every registry must pass.

mod calibrations;
mod combinations;
mod export;
mod losses;
mod mixing;
pub(crate) mod models;
mod samplers;
mod settings;
mod sources;
mod views;

use std::fmt::Debug;

use ::losses::LossConfig;
use ::models::{BackboneConfig, HeadConfig, Init, Kind, Param, Params};
use augment::{MixOpConfig, StatisticsConfig, Step, TransformConfig, ViewsConfig};
use base::{Clock, Seed, Task};
use candle::{DType, Device, Result, Tensor};
use data::{SamplerConfig, SourceConfig, SplitConfig};
use infer::SubmitConfig;
use metrics::{MetricConfig, Predictions};
use ops::{Gradients, Tape};
use serde::{Serialize, de::DeserializeOwned};
use track::TrackConfig;
use trainer::{
    AverageConfig, ClipConfig, OptimConfig, ParamGroups, Rates, ScheduleConfig, StageLrConfig,
};

const CLOCK: Clock = Clock { step: 3, total: 10, epoch: 0.75 };

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(zoo: Vec<(&'static str, T)>) {
    for (kind, member) in zoo {
        let text = toml::to_string(&member).expect("a config is TOML");
        assert_eq!(toml::from_str::<T>(&text).as_ref(), Ok(&member), "{kind}:\n{text}");
    }
}

#[test]
fn every_member_survives_a_round_trip_through_toml() {
    round_trip(SourceConfig::zoo());
    round_trip(SplitConfig::zoo());
    round_trip(SamplerConfig::zoo());
    round_trip(
        TransformConfig::zoo().into_iter().map(|(kind, it)| (kind, Step::from(it))).collect(),
    );
    round_trip(MixOpConfig::zoo());
    round_trip(ViewsConfig::zoo());
    round_trip(StatisticsConfig::zoo());
    round_trip(BackboneConfig::zoo());
    round_trip(HeadConfig::zoo());
    round_trip(LossConfig::zoo());
    round_trip(OptimConfig::zoo());
    round_trip(StageLrConfig::zoo());
    round_trip(ClipConfig::zoo());
    round_trip(AverageConfig::zoo());
    round_trip(ScheduleConfig::zoo());
    round_trip(MetricConfig::zoo());
    round_trip(TrackConfig::zoo());
    round_trip(SubmitConfig::zoo());
}

// Optimizers and schedules.

/// Minimises a function of two numbers from a starting point, and returns the final point.
fn minimise(
    optim: &OptimConfig,
    start: [f32; 2],
    n_steps: usize,
    lr: f64,
    f: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Vec<f32>> {
    let mut params = Params::fresh(Seed(0), DType::F32, &Device::Cpu);
    let var = params.builder().param("x", Kind::Vector, &[2], Init::Constant(0.0))?;
    var.set(&Tensor::new(&start, &Device::Cpu)?)?;
    let mut optimizer = optim.get().build(&params, &ParamGroups::default());
    for _ in 0..n_steps {
        let tape = Tape::default();
        let loss = f(&tape.export(&tape.leaf(&var))?)?;
        let share = lr / optim.get().lr();
        optimizer.step(&tape.backward(&loss)?, Rates::of(share))?;
    }
    var.to_vec1()
}

#[test]
fn every_optimizer_minimises_a_bowl_and_the_rosenbrock_function() -> Result<()> {
    let bowl = |x: &Tensor| -> Result<Tensor> {
        (x - Tensor::new(&[1f32, -2.0], &Device::Cpu)?)?.sqr()?.sum_all()
    };
    // Rosenbrock: (1 - x)² + 100 (y - x²)², with its minimum at (1, 1).
    let valley = |x: &Tensor| -> Result<Tensor> {
        let (x, y) = (x.get(0)?, x.get(1)?);
        let (a, b) = ((1.0 - &x)?.sqr()?, (y - x.sqr()?)?.sqr()?);
        a + (b * 100.0)?
    };
    for (kind, optim) in OptimConfig::zoo() {
        assert_eq!(optim.get().problem(), None, "{kind}: its defaults are invalid");
        let at = minimise(&optim, [0.0, 0.0], 2000, 1e-2, bowl)?;
        assert!((at[0] - 1.0).abs() < 0.05 && (at[1] + 2.0).abs() < 0.1, "{kind}: {at:?}");
        // Plain SGD diverges on the valley's walls at the rate of the others.
        let lr = if kind == "sgd" { 5e-4 } else { 5e-3 };
        let at = minimise(&optim, [-1.0, 1.0], 6000, lr, valley)?;
        assert!((at[0] - 1.0).abs() < 0.1 && (at[1] - 1.0).abs() < 0.2, "{kind}: {at:?}");
    }
    Ok(())
}

#[test]
fn every_schedule_stays_between_0_and_the_peak() {
    for (kind, schedule) in ScheduleConfig::zoo() {
        assert_eq!(schedule.get().problem(), None, "{kind}: its defaults are invalid");
        for (total, steps_per_epoch) in [(1, 1), (100, 7), (100, 1000)] {
            let at = |step| Clock { step, total, epoch: step as f64 / f64::from(steps_per_epoch) };
            for (warmup, unfrozen) in
                [(0, 0), (10, 10), (0, 20), (10, 20), (0, total), (total, total)]
            {
                for step in 0..=total {
                    let lr = schedule.rates(&at(step), &at(warmup), &at(unfrozen)).lr;
                    assert!((0.0..=1.0).contains(&lr), "{kind} at {step} of {total}: {lr}");
                }
            }
            for scores in [&[][..], &[0.5; 100], &[f64::NAN; 100], &[f64::NEG_INFINITY, 0.0]] {
                let left = schedule.get().left(scores, true);
                assert!((0.0..=1.0).contains(&left), "{kind} after {scores:?}: {left}");
            }
        }
    }
}

#[test]
fn defaults_of_stage_lr_clip_and_average_are_valid() {
    let stages = ["stem", "stage1", "stage2"];
    for (kind, rule) in StageLrConfig::zoo() {
        assert_eq!(rule.get().problem(), None, "{kind}");
        if let Ok(scales) = rule.get().scales(&stages) {
            assert_eq!(scales.len(), 3, "{kind}");
            assert!(
                scales.is_sorted() && scales.iter().all(|it| (0.0..=1.0).contains(it)),
                "{kind}"
            );
        } else {
            assert_eq!(kind, "given", "{kind}: its defaults fit no network");
        }
    }
    ClipConfig::zoo().iter().for_each(|(kind, it)| assert_eq!(it.get().problem(), None, "{kind}"));
    AverageConfig::zoo()
        .iter()
        .for_each(|(kind, it)| assert_eq!(it.get().problem(), None, "{kind}"));
}

/// Random gradients of any size are no larger afterwards, and keep their signs.
#[test]
fn clipping_never_enlarges_a_gradient() -> Result<()> {
    for (kind, clip) in ClipConfig::zoo() {
        for scale in [1e-6, 1.0, 1e12] {
            let mut params = Params::fresh(Seed(0), DType::F32, &Device::Cpu);
            for (idx, (kind, dims)) in
                [(Kind::Matrix, &[3, 4][..]), (Kind::Depthwise, &[3, 3, 2]), (Kind::Norm, &[5])]
                    .into_iter()
                    .enumerate()
            {
                params.builder().param(&idx.to_string(), kind, dims, Init::Normal(1.0))?;
            }
            let tape = Tape::default();
            let list: Vec<&Param> = params.trainable().map(|it| it.1).collect();
            let mut loss = Tensor::zeros((), DType::F32, &Device::Cpu)?;
            for it in &list {
                let grad = (it.var.as_tensor() * scale)?;
                loss = (loss + (tape.export(&tape.leaf(&it.var))? * grad)?.sum_all()?)?;
            }
            let mut gradients = tape.backward(&loss)?;
            let numbers = |it: &Param, all: &Gradients| -> Result<Vec<f32>> {
                all.get(&it.var).expect("each has one").flatten_all()?.to_vec1()
            };
            let before =
                list.iter().map(|it| numbers(it, &gradients)).collect::<Result<Vec<_>>>()?;
            clip.get().clip(&mut gradients, &list, 1)?;
            for (it, before) in list.iter().zip(before) {
                for (now, then) in numbers(it, &gradients)?.iter().zip(before) {
                    assert!(
                        now.abs() <= then.abs() && now * then >= 0.0,
                        "{kind}: {then} to {now}"
                    );
                    assert!(now.is_finite(), "{kind}");
                }
            }
        }
    }
    Ok(())
}

// Metrics.

#[test]
fn every_metric_ranks_correct_above_wrong_and_ignores_the_order() {
    let task = Task::mask_gender_age();
    let predictions = |shift: usize, order: &dyn Fn(usize) -> usize| {
        let classes: Vec<usize> = (0..36).map(|it| order(it) % 18).collect();
        let p = |class: &usize| {
            let mut p = vec![0.01 / 17.0; 18];
            p[(class + shift) % 18] = 0.99;
            p
        };
        let probabilities = classes.iter().map(p).collect();
        let years = (0..36).map(|it| 30.0 + (order(it) + shift) as f64).collect();
        let ages = (0..36).map(|it| Some(30.0 + order(it) as f64)).collect();
        Predictions::new(task.clone(), probabilities, classes, (0..36).collect())
            .with_numbers(Some(years), ages)
    };
    for (kind, metric) in MetricConfig::zoo() {
        let score = |it: &Predictions| metric.get().score(it);
        let (right, wrong) = (predictions(0, &|it| it), predictions(1, &|it| it));
        assert!(metric.get().improves(score(&right), score(&wrong)), "{kind}");
        assert!(
            !metric.get().improves(score(&right), score(&right)),
            "{kind}: a score does not improve on itself"
        );
        assert!(
            !metric.get().improves(f64::NAN, score(&wrong)),
            "{kind}: NaN is not an improvement"
        );
        let reversed = predictions(1, &|it| 35 - it);
        assert!((score(&wrong) - score(&reversed)).abs() < 1e-12, "{kind}: the order matters");
        let empty = Predictions::new(task.clone(), vec![], vec![], vec![]);
        // Without images a mean is 0; what is relative to chance, or ranks images, is undefined.
        let is_undefined = metric.get().needs_numbers()
            || ["cohen_kappa", "roc_auc", "average_precision"].contains(&kind);
        assert_eq!(score(&empty).is_nan(), is_undefined, "{kind}");
        assert!(metric.get().improves(score(&wrong), f64::NAN), "{kind}: NaN is never the best");
        assert_eq!(metric.get().problem(), None, "{kind}: its defaults are invalid");
    }
}
