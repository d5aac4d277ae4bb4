//! `maskfit list`

use anyhow::bail;
use augment::{MixOpConfig, StatisticsConfig, Step, TransformConfig};
use data::{SamplerConfig, SourceConfig, SplitConfig};
use losses::LossConfig;
use metrics::MetricConfig;
use models::{BackboneConfig, HeadConfig, published};
use serde::Serialize;
use track::TrackConfig;
use trainer::{AverageConfig, ClipConfig, OptimConfig, ScheduleConfig, StageLrConfig};

use crate::{End, tables::columns};

/// A registry as it is printed.
struct Shelf {
    name: &'static str,
    /// Where in a config its members stand.
    place: &'static str,
    /// Each kind, its doc, and its settings.
    members: Vec<(&'static str, &'static str, String)>,
}

macro_rules! shelf {
    ($name:literal, $place:literal, $registry:ty) => {
        shelf!($name, $place, $registry as $registry)
    };
    // An entry that is a member and something beside it.
    ($name:literal, $place:literal, $registry:ty as $entry:ty) => {
        Shelf {
            name: $name,
            place: $place,
            members: <$registry>::KINDS
                .iter()
                .zip(<$registry>::zoo())
                .map(|(&(kind, doc), (_, member))| (kind, doc, settings(&<$entry>::from(member))))
                .collect(),
        }
    };
}

pub(crate) fn list(registry: Option<&str>) -> anyhow::Result<End> {
    let shelves = [
        shelf!("sources", "data.source", SourceConfig),
        shelf!("splits", "data.split", SplitConfig),
        shelf!("samplers", "data.sampler", SamplerConfig),
        shelf!("images", "augment.train, augment.eval", TransformConfig as Step),
        shelf!("mixes", "augment.mix", MixOpConfig),
        shelf!("statistics", "augment.statistics", StatisticsConfig),
        shelf!("models", "model.backbone", BackboneConfig),
        shelf!("heads", "head", HeadConfig),
        shelf!("losses", "loss", LossConfig),
        shelf!("optimizers", "optim", OptimConfig),
        shelf!("stage-rates", "groups.stage_lr", StageLrConfig),
        shelf!("schedules", "schedule", ScheduleConfig),
        shelf!("averages", "average", AverageConfig),
        shelf!("clips", "train.clip", ClipConfig),
        shelf!("metrics", "eval.best_by", MetricConfig),
        shelf!("trackers", "track", TrackConfig),
    ];
    let names: Vec<&str> = shelves.iter().map(|it| it.name).collect();
    if let Some(asked) = registry.filter(|it| !names.contains(it)) {
        bail!("there is no list of `{asked}`, there are: {}", names.join(", "));
    }
    let shown = shelves.iter().filter(|it| registry.is_none_or(|name| name == it.name));
    for (idx, shelf) in shown.enumerate() {
        if idx > 0 {
            say!("");
        }
        say!("{} ({})", shelf.name, shelf.place);
        for (kind, doc, settings) in &shelf.members {
            let doc: Vec<&str> = doc.lines().map(str::trim).collect();
            say!("  {kind}\n      {}", doc.join(" "));
            if !settings.is_empty() {
                say!("      {settings}");
            }
        }
    }
    match registry {
        Some("models") => say!("\n{}", networks()?),
        None => say!("\nPublished networks and what their weights want: `list models`."),
        Some(_) => {}
    }
    Ok(End::Done)
}

/// The published networks as a table.
fn networks() -> anyhow::Result<String> {
    let mut rows = vec![
        [
            "published network",
            "parameters",
            "multiply-adds",
            "size",
            "crop",
            "resized",
            "colours",
            "weights",
        ]
        .map(str::to_owned),
    ];
    for it in published() {
        let ([h, w], millions) = (it.input.size, it.n_parameters()? as f64 / 1e6);
        rows.push([
            it.name.to_owned(),
            format!("{millions:.2} M"),
            format!("{:.2} G", it.multiply_adds as f64 / 1e9),
            if h == w { h.to_string() } else { format!("{h}x{w}") },
            it.input.crop.to_string(),
            it.input.interpolation.name().to_owned(),
            it.input.colours(),
            if it.is_trained() { it.tag.to_owned() } else { "none by this name".to_owned() },
        ]);
    }
    let parameters = "Parameters with 1000 classes; multiply-adds for an image of that size; the shorter \
                      side is resized\nto size / crop. `pretrained = \"hf:timm/NAME.WEIGHTS\"` fetches \
                      the weights.";
    Ok(format!(
        "{}\n{parameters}",
        columns(&rows, &[false, true, true, true, true, false, false, false])
    ))
}

/// The settings of a member at their defaults, on one line.
fn settings(member: &impl Serialize) -> String {
    let table = toml::Table::try_from(member).expect("a config is TOML");
    let fields = table.iter().filter(|(key, _)| *key != "kind");
    fields.map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ")
}
