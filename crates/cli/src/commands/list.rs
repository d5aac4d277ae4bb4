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

use crate::{
    End,
    style::{HEADING, headed, paint},
    tables::columns,
};

/// A registry to print.
struct Registry {
    name: &'static str,
    /// Path of its members in a config.
    place: &'static str,
    /// Kind, documentation and default settings of each member.
    members: Vec<(&'static str, &'static str, String)>,
}

macro_rules! registry {
    ($name:literal, $place:literal, $registry:ty) => {
        registry!($name, $place, $registry as $registry)
    };
    // A config entry that wraps a member.
    ($name:literal, $place:literal, $registry:ty as $entry:ty) => {
        Registry {
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
    let registries = [
        registry!("sources", "data.source", SourceConfig),
        registry!("splits", "data.split", SplitConfig),
        registry!("samplers", "data.sampler", SamplerConfig),
        registry!("images", "augment.train, augment.eval", TransformConfig as Step),
        registry!("mixes", "augment.mix", MixOpConfig),
        registry!("statistics", "augment.statistics", StatisticsConfig),
        registry!("models", "model.backbone", BackboneConfig),
        registry!("heads", "head", HeadConfig),
        registry!("losses", "loss", LossConfig),
        registry!("optimizers", "optim", OptimConfig),
        registry!("stage-rates", "groups.stage_lr", StageLrConfig),
        registry!("schedules", "schedule", ScheduleConfig),
        registry!("averages", "average", AverageConfig),
        registry!("clips", "train.clip", ClipConfig),
        registry!("metrics", "eval.best_by", MetricConfig),
        registry!("trackers", "track", TrackConfig),
    ];
    let names: Vec<&str> = registries.iter().map(|it| it.name).collect();
    if let Some(unknown) = registry.filter(|it| !names.contains(it)) {
        bail!("there is no registry `{unknown}`: choose one of {}", names.join(", "));
    }
    let shown = registries.iter().filter(|it| registry.is_none_or(|name| name == it.name));
    for (idx, it) in shown.enumerate() {
        if idx > 0 {
            say!("");
        }
        say!("{} ({})", paint(HEADING, it.name), it.place);
        for (kind, doc, settings) in &it.members {
            let doc: Vec<&str> = doc.lines().map(str::trim).collect();
            say!("  {kind}\n      {}", doc.join(" "));
            if !settings.is_empty() {
                say!("      {settings}");
            }
        }
    }
    match registry {
        Some("models") => say!("\n{}", networks()?),
        None => say!("\nFor published networks and the input of their weights, see `list models`."),
        Some(_) => {}
    }
    Ok(End::Done)
}

/// Formats the published networks as a table.
fn networks() -> anyhow::Result<String> {
    let mut rows = vec![
        [
            "published network",
            "parameters",
            "multiply-adds",
            "size",
            "crop",
            "interpolation",
            "mean/std",
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
            if it.is_trainable() { it.tag.to_owned() } else { "none".to_owned() },
        ]);
    }
    let notes = "Parameters are for 1000 classes, multiply-adds for one image of the given size; the shorter \
                 side is resized\nto size / crop. Download the weights with \
                 `pretrained = \"hf:timm/NAME.WEIGHTS\"`.";
    Ok(format!(
        "{}\n{notes}",
        headed(&columns(&rows, &[false, true, true, true, true, false, false, false]))
    ))
}

/// Formats the default settings of a member on one line.
fn settings(member: &impl Serialize) -> String {
    let table = toml::Table::try_from(member).expect("a config serialises to TOML");
    let fields = table.iter().filter(|(key, _)| *key != "kind");
    fields.map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ")
}
