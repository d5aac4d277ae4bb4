//! The networks, the settings and the data of the checks: a few tiny synthetic people.

use base::config::{ConfigError, Layer};
use candle::Device;
use data::Context;
use gpu::Storage;

use crate::{
    callback::Callback,
    experiment::Experiment,
    plan::{Plan, PlanError},
};

/// A network.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// Its name in tables.
    pub name: &'static str,
    /// The setting `model.backbone`.
    backbone: &'static str,
}

/// A tiny EfficientNet, with dropped paths.
pub const EFFICIENTNET: Network = Network {
    name: "EfficientNet",
    backbone: "{ kind = \"efficientnet\", variant = \"b0\", width = 0.25, depth = 0.1, drop_path = 0.1 }",
};
/// A tiny ResNet, with dropped paths.
pub const RESNET: Network = Network {
    name: "ResNet",
    backbone: "{ kind = \"resnet\", depth = 18, width = 0.125, drop_path = 0.1 }",
};
/// A tiny ConvNeXt.
pub const CONVNEXT: Network = Network {
    name: "ConvNeXt",
    backbone: "{ kind = \"convnext\", size = \"tiny\", width = 0.125, layer_scale = 0.1 }",
};
/// EfficientNet B0, under timm's name.
pub const B0: Network = Network {
    name: "efficientnet_b0",
    backbone: "{ kind = \"efficientnet\", variant = \"b0\", drop_path = 0.0 }",
};
/// EfficientNet B3, under timm's name.
pub const B3: Network = Network {
    name: "efficientnet_b3",
    backbone: "{ kind = \"efficientnet\", variant = \"b3\", drop_path = 0.0 }",
};
/// EfficientNet B4, under timm's name.
pub const B4: Network = Network {
    name: "efficientnet_b4",
    backbone: "{ kind = \"efficientnet\", variant = \"b4\", drop_path = 0.0 }",
};

/// The settings that differ from the defaults.
const SETTINGS: &str = r#"
[data]
source = { kind = "synthetic_people", n_people = 4, n_test = 0, size = [40, 36], wrong_labels = 0.0, seed = 5 }
split = { kind = "profile", ratio = 0.25 }

[augment]
train = [{ kind = "random_crop", size = [36, 32] }, { kind = "horizontal_flip" }]
eval = [{ kind = "center_crop", size = [36, 32] }]

[train]
total = "2 epochs"
batch_size = 6

[run]
check_memory = false
report = false
"#;

/// Returns the setting of how a card stores activations.
pub(super) fn amp_of(storage: Storage) -> &'static str {
    match storage {
        Storage::F32 => "amp.dtype=off",
        Storage::Bf16 => "amp.dtype=bf16",
        Storage::F16 => "amp.dtype=f16",
    }
}

/// Returns a tiny experiment: 18 images of 36x32 for training, three batches.
///
/// - `sets`: further settings, as `--set` takes them.
///
/// # Errors
/// A setting is invalid.
pub fn experiment(network: &Network, sets: &[&str]) -> Result<Experiment, PlanError> {
    let invalid = |err: ConfigError| PlanError::Settings(vec![err.to_string()]);
    let mut layers = vec![Layer::from_toml("the settings of a check", SETTINGS).map_err(invalid)?];
    let backbone = format!("model.backbone={}", network.backbone);
    let sets = std::iter::once(backbone).chain(sets.iter().map(|it| (*it).to_owned()));
    layers.extend(Layer::from_sets(&sets.collect::<Vec<_>>()).map_err(invalid)?);
    Experiment::load(&layers).map_err(invalid)
}

/// Returns the plan of such an experiment.
///
/// # Errors
/// A setting is invalid.
pub fn plan(experiment: &Experiment) -> Result<Plan, PlanError> {
    let context =
        Context { cache: None, max_pixels: experiment.data.max_pixels, progress: &|_, _| {} };
    let manifest = experiment.manifest(&context);
    let manifest = manifest.map_err(|err| PlanError::Settings(vec![err.to_string()]))?;
    Plan::new(experiment, &manifest, 0, &Device::Cpu, &Silent)
}

/// A callback that reports nothing.
struct Silent;

impl Callback for Silent {}
