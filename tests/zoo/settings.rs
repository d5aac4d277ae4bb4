//! Every numeric setting with extreme values: either the settings are refused with a message that names the
//! setting, or the losses of a small run stay finite.

use std::{
    collections::BTreeMap,
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
};

use augment::{MixOpConfig, StatisticsConfig, Step, TransformConfig, ViewsConfig};
use base::config::Layer;
use candle::Device;
use data::{Context, Manifest, SamplerConfig, SourceConfig, SplitConfig};
use infer::{LabelledPredictions, SubmitConfig};
use losses::{ClassWeightsConfig, LossConfig};
use metrics::MetricConfig;
use models::{BackboneConfig, HeadConfig};
use serde::Serialize;
use toml::{Table, Value};
use track::TrackConfig;
use trainer::{
    AverageConfig, ClipConfig, Ended, Experiment, OptimConfig, Plan, Run, ScheduleConfig,
    StageLrConfig, fit,
};

use crate::small::StopsAt;

/// The values to try for each number.
const VALUES: [f64; 4] = [0.0, -1.0, f64::NAN, f64::INFINITY];

/// Two steps on images so small that the network's last feature maps have one pixel.
const SETTINGS: &str = r#"
[data]
source = { kind = "synthetic_people", n_people = 8, n_test = 2, size = [24, 20], seed = 5 }
split = { kind = "profile", ratio = 0.25 }

[augment]
train = [{ kind = "random_crop", size = [16, 16] }]
eval = [{ kind = "center_crop", size = [16, 16] }]

[model]
backbone = { kind = "efficientnet", variant = "b0", width = 0.25, depth = 0.3 }

[train]
total = "2 steps"
warmup = "0 steps"
batch_size = 8

[eval]
every = "2 steps"

[checkpoint]
every = "2 steps"
"#;

/// Settings that no registry member has by default, or not with a number.
const FURTHER: &str = r#"
"model.backbone" = [
    { kind = "efficientnet", width = 0.25, depth = 0.3, norm_eps = 1e-3, norm_momentum = 0.1, drop_path = 0.1 },
]
"data.sampler" = [
    { kind = "weighted", weights = [1.0, 1.0, 1.0], over = "mask" },
    { kind = "balance_class", mode = 10 },
]
"data.source" = [
    { kind = "several", roots = [
        { source = { kind = "synthetic_people", n_people = 8, size = [24, 20] } },
        { source = { kind = "synthetic_people", n_people = 8, size = [24, 20], seed = 2 }, share = 0.5 },
    ] },
]
"loss" = [{ kind = "sum", parts = [{ kind = "focal", weight = 0.5 }, { kind = "f1", weight = 0.5 }] }]
"loss.weights" = [{ kind = "given", from = 0.5, values = [
    1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0,
] }]
"groups.stage_lr" = [{ kind = "given", values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9] }]
"schedule" = [
    { kind = "one_cycle", definition = "torch", pct_start = 0.3, div = 25.0, final_div = 1e4, momentum = [0.95, 0.85, 0.95] },
]
"augment.train" = [
    [{ kind = "rotate", p = 0.5, border = { constant = [1, 2, 3] } }, { kind = "resize", size = [16, 16] }],
    [{ kind = "one_of", steps = [{ kind = "posterize", bits = 4, p = 0.5 }] }, { kind = "resize", size = [16, 16] }],
]
"augment.mix" = [[{ kind = "half_cutmix", p = 0.5, from = { factor = "age", level = "<30" } }]]
"data.training_cuts" = [{ age = [29.0, 59.0] }]
"data.leave_out" = [{ age = [57.0] }]
"submit" = [{ kind = "probabilities", clip = [0.0001, 0.99] }]
"train.sizes" = [[{ until = "1 epochs", size = [16, 16], batch_size = 8 }]]
"phase" = [[
    { name = "a", total = "1 steps", lr = 2e-3, batch_size = 8, schedule = { kind = "cosine", floor = 0.0 } },
    { name = "b", total = "1 steps", data = "all", restore = [{ layers = "head", phase = "a" }] },
]]
"#;

fn named<T: Serialize>(zoo: Vec<(&'static str, T)>) -> Vec<Value> {
    zoo.into_iter().map(|(_, it)| Value::try_from(it).expect("settings are TOML")).collect()
}

/// Returns the paths of all registries in the settings, and the values to put there.
fn places() -> BTreeMap<String, Vec<Value>> {
    let resize: Value =
        "it = { kind = \"resize\", size = [16, 16] }".parse::<Table>().unwrap()["it"].clone();
    let list = |it: Value| Value::Array(vec![it]);
    let ops = TransformConfig::zoo().into_iter().map(|(kind, it)| (kind, Step::from(it)));
    let ops = named(ops.collect()).into_iter().map(|it| Value::Array(vec![it, resize.clone()]));
    let mixes = named(MixOpConfig::zoo()).into_iter().map(list);
    let mut places: BTreeMap<String, Vec<Value>> = BTreeMap::from([
        ("augment.mix", mixes.collect()),
        ("augment.statistics", named(StatisticsConfig::zoo())),
        ("augment.train", ops.collect()),
        ("average", named(AverageConfig::zoo())),
        ("data.sampler", named(SamplerConfig::zoo())),
        ("data.source", named(SourceConfig::zoo())),
        ("data.split", named(SplitConfig::zoo())),
        ("eval.best_by", named(MetricConfig::zoo())),
        ("groups.stage_lr", named(StageLrConfig::zoo())),
        ("head", named(HeadConfig::zoo())),
        ("loss", named(LossConfig::zoo())),
        ("loss.weights", named(ClassWeightsConfig::zoo())),
        ("model.backbone", named(BackboneConfig::zoo())),
        ("optim", named(OptimConfig::zoo())),
        ("schedule", named(ScheduleConfig::zoo())),
        ("submit", named(SubmitConfig::zoo())),
        ("track", named(TrackConfig::zoo()).into_iter().map(list).collect()),
        ("train.clip", named(ClipConfig::zoo())),
        ("tta", named(ViewsConfig::zoo())),
    ])
    .into_iter()
    .map(|(place, members)| (place.to_owned(), members))
    .collect();
    // These do not fit the data with their defaults, and are in `FURTHER`.
    let fits = |place: &str, it: &Value| match it.get("kind").and_then(Value::as_str) {
        Some("several") => false,
        Some("given") => place == "augment.statistics",
        _ => true,
    };
    places.iter_mut().for_each(|(place, members)| members.retain(|it| fits(place, it)));
    places
}

fn further() -> BTreeMap<String, Vec<Value>> {
    let table = FURTHER.parse::<Table>().unwrap().into_iter();
    table.map(|(place, it)| (place, it.as_array().unwrap().clone())).collect()
}

/// Returns the other settings that a member requires.
fn required(place: &str, kind: &str) -> &'static [&'static str] {
    match (place, kind) {
        ("model.backbone", "vgg" | "densenet" | "convnext") => &[
            "data.source.size=[72, 68]",
            "augment.train=[{ kind = random_crop, size = [64, 64] }]",
            "augment.eval=[{ kind = center_crop, size = [64, 64] }]",
        ],
        ("loss", "ldam" | "arcface") => &["head.kind=cosine"],
        ("loss", "bce") => &["head.kind=sigmoid"],
        ("loss", "mse" | "smooth_l1") => &["head.kind=regression"],
        ("eval.best_by", "mae") => &["head.kind=regression"],
        ("loss.weights", _) => &["head.kind=joint", "loss.kind=cross_entropy"],
        _ => &[],
    }
}

/// Returns the settings as one table, with all defaults.
fn settings(sets: &[&str]) -> Table {
    crate::small::with(SETTINGS, sets).to_toml().parse().unwrap()
}

fn at<'a>(value: &'a mut Value, path: &[String]) -> &'a mut Value {
    path.iter().fold(value, |value, step| match value {
        Value::Array(list) => &mut list[step.parse::<usize>().unwrap()],
        Value::Table(table) => table.get_mut(step).unwrap(),
        other => unreachable!("{other} has no `{step}`"),
    })
}

/// Collects the paths of all numbers.
fn numbers(value: &Value, path: &[String], found: &mut Vec<Vec<String>>) {
    let within = |step: String| [path, &[step]].concat();
    match value {
        Value::Integer(_) | Value::Float(_) => found.push(path.to_owned()),
        Value::Array(list) => {
            list.iter()
                .enumerate()
                .for_each(|(at, it)| numbers(it, &within(at.to_string()), found));
        }
        Value::Table(table) => {
            table.iter().for_each(|(key, it)| numbers(it, &within(key.clone()), found));
        }
        _ => {}
    }
}

/// A cache of the manifests of sources, which most runs share.
type Manifests = BTreeMap<String, Result<Manifest, String>>;

/// Trains; fails on an error without the setting's name, and on values that are not finite.
fn run(table: &Table, name: &str, manifests: &mut Manifests) -> Result<(), String> {
    let refused = |err: &dyn Display| match err.to_string() {
        it if it.contains(name) => Ok(()),
        it => Err(format!("refused without naming the setting: {it}")),
    };
    let text = toml::to_string(table).unwrap();
    let layer = Layer::from_toml("settings", &text).unwrap();
    let experiment = match Experiment::load(&[layer]) {
        Ok(it) => it,
        Err(err) => return refused(&err),
    };
    let problems = experiment.problems();
    if !problems.is_empty() {
        return refused(&problems.join("\n"));
    }
    let context =
        Context { cache: None, max_pixels: experiment.data.max_pixels, progress: &|_, _| {} };
    let key = format!("{:?} {}", experiment.data.source, context.max_pixels);
    let manifest = manifests
        .entry(key)
        .or_insert_with(|| experiment.manifest(&context).map_err(|err| err.to_string()));
    let manifest = match manifest {
        Ok(it) => it,
        Err(err) => return refused(err),
    };
    let callback = StopsAt::never();
    let plan = match Plan::new(&experiment, manifest, experiment.data.fold, &Device::Cpu, &callback)
    {
        Ok(it) => it,
        Err(err) => return refused(&err),
    };
    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(&dir.path().join("run"), &text).map_err(|err| err.to_string())?;
    let ended = fit(&plan, &run, &callback).map_err(|err| format!("the run failed: {err}"))?;
    let losses = callback.losses.into_inner().unwrap();
    match ended {
        Ended::Finished(_) if losses.iter().all(|it| it.is_finite()) => {}
        _ => return Err(format!("losses {losses:?}")),
    }
    let valid = LabelledPredictions::open(&run.dir().join("valid.csv"), &plan.task);
    valid.map(drop).map_err(|err| err.to_string())
}

#[test]
fn extreme_values_are_refused_by_name_or_harmless() {
    let mut manifests = Manifests::new();
    let mut wrong = Vec::new();
    let mut check = |table: &Table, place: &str, of: &str| {
        let whole = Value::Table(table.clone());
        let place: Vec<String> =
            place.split('.').filter(|it| !it.is_empty()).map(str::to_owned).collect();
        let mut found = Vec::new();
        numbers(at(&mut whole.clone(), &place), &place, &mut found);
        for path in found {
            let name = path.iter().rfind(|it| it.parse::<usize>().is_err()).unwrap().clone();
            for value in VALUES {
                let mut changed = whole.clone();
                let number = at(&mut changed, &path);
                *number = match number {
                    Value::Integer(_) if value.fract() == 0.0 => Value::Integer(value as i64),
                    _ => Value::Float(value),
                };
                let Value::Table(changed) = changed else { unreachable!("it is a table") };
                let done = catch_unwind(AssertUnwindSafe(|| run(&changed, &name, &mut manifests)));
                let done = done.unwrap_or_else(|_| Err("panicked".to_owned()));
                if let Err(what) = done {
                    wrong.push(format!("{of}: {} = {value}: {what}", path.join(".")));
                }
            }
        }
    };
    let all = places()
        .into_iter()
        .map(|it| (it, false))
        .chain(further().into_iter().map(|it| (it, true)));
    let mut whole = vec![settings(&[])];
    for ((place, members), is_further) in all {
        for member in members {
            let kind = |it: &Value| it.get("kind").and_then(Value::as_str).map(str::to_owned);
            let kind = kind(&member).or_else(|| kind(member.get(0)?)).unwrap_or_default();
            let mut table = Value::Table(settings(required(&place, &kind)));
            let steps: Vec<String> = place.split('.').map(str::to_owned).collect();
            *at(&mut table, &steps) = member;
            // Otherwise rendering the groups takes most of the time: four times per number of the source.
            if let ("data.source", "synthetic_people") = (&*place, &*kind) {
                let groups = at(&mut table, &steps).as_table_mut().unwrap();
                let few = settings(&[])["data"]["source"].as_table().unwrap().clone();
                groups.extend(few);
            }
            // The default size is larger than the images.
            if let ("augment.train", "crop") = (&*place, &*kind) {
                let size = at(&mut table, &["augment", "train", "0", "size"].map(str::to_owned));
                *size = Value::Array(vec![Value::Integer(16); 2]);
            }
            // A small network, regardless of the published size.
            if let Some(width) = table["model"]["backbone"].get("width").and(Some(0.1)) {
                let backbone = at(&mut table, &["model", "backbone"].map(str::to_owned));
                let backbone = backbone.as_table_mut().unwrap();
                backbone.insert("width".to_owned(), Value::Float(width));
                if let Some(hidden) = backbone.get_mut("hidden") {
                    *hidden = Value::Integer(8);
                }
            }
            let Value::Table(table) = table else { unreachable!("it is a table") };
            check(&table, &place, &kind);
            whole.extend(is_further.then_some(table));
        }
    }
    check(&settings(&[]), "", "default");
    // The unchanged settings must not be refused, else the test proves little: no message contains this name.
    for table in whole {
        if let Err(what) = run(&table, "\0", &mut manifests) {
            wrong.push(format!("{what}:\n{table}"));
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}
