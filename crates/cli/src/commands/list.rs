//! `maskfit list`

use anyhow::bail;
use augment::{MixOpConfig, StatisticsConfig, Step, TransformConfig, ViewsConfig};
use base::hint;
use data::{SamplerConfig, SourceConfig, SplitConfig};
use ensemble::{CalibrationConfig, CombineConfig};
use infer::SubmitConfig;
use losses::{ClassWeightsConfig, LossConfig};
use metrics::MetricConfig;
use models::{BackboneConfig, HeadConfig, published};
use serde::Serialize;
use serde_json::json;
use toml::Table;
use track::TrackConfig;
use trainer::{AverageConfig, ClipConfig, OptimConfig, ScheduleConfig, StageLrConfig};

use crate::{
    End,
    json::emit,
    recipes::RECIPES,
    style::{HEADING, headed, paint},
    wrap::{columns, fold, wrapped},
};

/// A registry: the components that one place of a config may name.
pub(crate) struct Registry {
    pub(crate) name: &'static str,
    /// Path of its members in a config; several are separated by commas.
    pub(crate) place: &'static str,
    /// The Rust type of an entry of the config.
    #[cfg(test)]
    pub(crate) entry: &'static str,
    /// The path of the Rust type of the registry.
    #[cfg(test)]
    pub(crate) registry: &'static str,
    pub(crate) members: Vec<Member>,
}

/// A member of a registry.
pub(crate) struct Member {
    pub(crate) kind: &'static str,
    pub(crate) doc: String,
    /// Its default settings, with its kind.
    pub(crate) settings: Table,
    /// The name of its Rust type, and more: as its `Debug` prints it.
    #[cfg(test)]
    pub(crate) debug: String,
}

macro_rules! registry {
    ($name:literal, $place:literal, $registry:ident) => {
        registry!($name, $place, $registry as $registry)
    };
    // A config entry that wraps a member.
    ($name:literal, $place:literal, $registry:ident as $entry:ident) => {
        Registry {
            name: $name,
            place: $place,
            #[cfg(test)]
            entry: stringify!($entry),
            #[cfg(test)]
            registry: std::any::type_name::<$registry>(),
            members: <$registry>::KINDS
                .iter()
                .zip(<$registry>::zoo())
                .map(|(&(kind, doc), (_, member))| Member {
                    kind,
                    doc: doc.lines().map(str::trim).collect::<Vec<_>>().join(" "),
                    #[cfg(test)]
                    debug: format!("{member:?}"),
                    settings: settings(&<$entry>::from(member)),
                })
                .collect(),
        }
    };
}

/// Returns all registries.
pub(crate) fn registries() -> Vec<Registry> {
    vec![
        registry!("sources", "data.source", SourceConfig),
        registry!("splits", "data.split", SplitConfig),
        registry!("samplers", "data.sampler", SamplerConfig),
        registry!("transforms", "augment.train, augment.eval", TransformConfig as Step),
        registry!("mixes", "augment.mix", MixOpConfig),
        registry!("statistics", "augment.statistics", StatisticsConfig),
        registry!("views", "tta", ViewsConfig),
        registry!("models", "model.backbone", BackboneConfig),
        registry!("heads", "head", HeadConfig),
        registry!("losses", "loss", LossConfig),
        registry!("class-weights", "loss.weights", ClassWeightsConfig),
        registry!("optimizers", "optim", OptimConfig),
        registry!("stage-rates", "groups.stage_lr", StageLrConfig),
        registry!("schedules", "schedule", ScheduleConfig),
        registry!("averages", "average", AverageConfig),
        registry!("clips", "train.clip", ClipConfig),
        registry!("metrics", "eval.best_by", MetricConfig),
        registry!("submissions", "submit", SubmitConfig),
        registry!("trackers", "track", TrackConfig),
        registry!("combinations", "ensemble --combine", CombineConfig),
        registry!("calibrations", "ensemble --calibrate", CalibrationConfig),
    ]
}

/// A member, for `--json`.
#[derive(Serialize)]
struct MemberEvent<'a> {
    registry: &'a str,
    place: &'a str,
    kind: &'a str,
    description: &'a str,
    settings: &'a Table,
}

/// What is listed beside the registries.
const OF_RECIPES: &str = "recipes";
/// What the lines about a member begin with.
const INDENT: &str = "      ";

pub(crate) fn list(registry: Option<&str>) -> anyhow::Result<End> {
    if registry == Some(OF_RECIPES) {
        say!("{} (maskfit train NAME)", paint(HEADING, OF_RECIPES));
        for it in RECIPES {
            let (name, description) = (it.name, it.summary());
            say!("  {name}\n{}", wrapped(INDENT, description));
            emit("recipe", json!({ "name": name, "description": description }));
        }
        return Ok(End::Done);
    }
    let registries = registries();
    let names: Vec<&str> = registries.iter().map(|it| it.name).chain([OF_RECIPES]).collect();
    if let Some(unknown) = registry.filter(|it| !names.contains(it)) {
        bail!("there is no registry `{unknown}`: {}", hint(unknown, &names));
    }
    let shown = registries.iter().filter(|it| registry.is_none_or(|name| name == it.name));
    for (idx, it) in shown.enumerate() {
        if idx > 0 {
            say!("");
        }
        say!("{} ({})", paint(HEADING, it.name), it.place);
        for Member { kind, doc, settings, .. } in &it.members {
            let (registry, description) = (it.name, doc.as_str());
            emit("member", MemberEvent { registry, place: it.place, kind, description, settings });
            say!("  {kind}\n{}", wrapped(INDENT, doc));
            let fields = settings.iter().filter(|(key, _)| *key != "kind");
            let fields: Vec<String> = fields.map(|(key, it)| format!("{key} = {it}")).collect();
            if !fields.is_empty() {
                say!("{}", fold(INDENT, &fields.join(", ")));
            }
        }
    }
    match registry {
        Some("models") => say!("\n{}", networks()?),
        None => say!(
            "\nFor published networks and the input of their weights, see `list models`;\n\
             for experiments that are built in, `list recipes`."
        ),
        Some(_) => {}
    }
    Ok(End::Done)
}

/// Formats the published networks as a table.
fn networks() -> anyhow::Result<String> {
    let header = ["network, weights", "params", "GMACs", "size", "crop", "filter", "mean/std"];
    let mut rows = vec![header.map(str::to_owned)];
    for it in published() {
        let ([h, w], n_parameters) = (it.input.size, it.n_parameters()?);
        let millions = n_parameters as f64 / 1e6;
        emit(
            "network",
            json!({
                "name": it.name,
                "weights": it.has_weights().then_some(it.tag),
                "parameters": n_parameters,
                "multiply_adds": it.multiply_adds,
                "size": it.input.size,
                "crop": it.input.crop,
                "filter": it.input.interpolation.name(),
                "normalisation": it.input.normalisation(),
            }),
        );
        rows.push([
            format!("{}\n  {}", it.name, if it.has_weights() { it.tag } else { "none" }),
            format!("{millions:.2} M"),
            format!("{:.2}", it.multiply_adds as f64 / 1e9),
            if h == w { h.to_string() } else { format!("{h}x{w}") },
            it.input.crop.to_string(),
            it.input.interpolation.name().to_owned(),
            it.input.normalisation(),
        ]);
    }
    let notes = "Parameters are for 1000 classes, GMACs (billions of multiply-adds) for one image of the given \
                 size; the shorter side is resized to size / crop. Download the weights with \
                 `pretrained = \"hf:timm/NAME.WEIGHTS\"`.";
    let right = [false, true, true, true, true, false, false];
    Ok(format!("{}\n{}", headed(&columns(&rows, &right)), wrapped("", notes)))
}

/// Returns the settings of a member.
fn settings(member: &impl Serialize) -> Table {
    Table::try_from(member).expect("a config serialises to TOML")
}
