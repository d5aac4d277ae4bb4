//! What a person writes: the settings of a run, from `configs/default.toml` upwards.
//!
//! Sections have no defaults of their own: every setting stands, with a comment, in `default.toml`.

use std::path::PathBuf;

use augment::{PictureOpConfig, StatisticsConfig};
use base::{
    Seed,
    config::{ConfigError, Layer, load},
};
use data::{SamplerConfig, SourceConfig, SplitConfig};
use losses::LossConfig;
use metrics::MetricConfig;
use models::{BackboneConfig, HeadConfig};
use serde::{Deserialize, Serialize};

use crate::{freeze::Freeze, length::Length, optim::OptimConfig, schedule::ScheduleConfig};

/// The bottom layer of every experiment.
pub const DEFAULT: &str = include_str!("../../../configs/default.toml");

/// All settings of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The root of all randomness.
    pub seed: Seed,
    /// Threads that compute; 0 for all of the machine's. Changes no result.
    pub threads: usize,
    /// Where the run is kept.
    pub run: RunSection,
    /// What is trained on.
    pub data: DataSection,
    /// What happens to pictures.
    pub augment: AugmentSection,
    /// The network.
    pub model: ModelSection,
    /// What is asked of its features.
    pub head: HeadConfig,
    /// What it descends on.
    pub loss: LossConfig,
    /// How it descends.
    pub optim: OptimConfig,
    /// How fast, and when.
    pub schedule: ScheduleConfig,
    /// How long.
    pub train: TrainSection,
    /// How it is judged on the way.
    pub eval: EvalSection,
}

/// `[run]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSection {
    /// The run's folder in `dir`; empty for the experiment's name and the time.
    pub name: String,
    /// The folder of all runs.
    pub dir: PathBuf,
}

/// `[data]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// Where examples come from.
    pub source: SourceConfig,
    /// Who is held out.
    pub split: SplitConfig,
    /// Which fold of the split is held out, from 0.
    pub fold: usize,
    /// Where ages are cut for training; empty for where they are scored.
    pub training_cuts: Vec<f64>,
    /// Ages that are not trained on.
    pub leave_out_ages: Vec<f64>,
    /// Which examples an epoch sees.
    pub sampler: SamplerConfig,
    /// Threads that load pictures. Changes no result.
    pub n_loaders: usize,
    /// Batches that wait in memory at most.
    pub n_ahead: usize,
    /// Pictures with more pixels are refused.
    pub max_pixels: u64,
}

/// `[augment]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentSection {
    /// In training, in order.
    pub train: Vec<PictureOpConfig>,
    /// In validation and serving, in order.
    pub eval: Vec<PictureOpConfig>,
    /// What colours are normalised with.
    pub statistics: StatisticsConfig,
}

/// `[model]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// What turns pictures into features.
    pub backbone: BackboneConfig,
    /// A file of published weights; empty to start from scratch.
    pub pretrained: PathBuf,
}

/// `[train]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSection {
    /// The whole run.
    pub total: Length,
    /// How long the learning rate rises at the beginning.
    pub warmup: Length,
    /// Pictures a step.
    pub batch_size: usize,
    /// Whether an epoch leaves out the pictures that fill no batch.
    pub drop_last: bool,
    /// Parts of the network that do not learn for a while.
    pub freeze: Vec<Freeze>,
}

/// `[eval]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSection {
    /// How often.
    pub every: Length,
    /// What the best model is the best by.
    pub best_by: MetricConfig,
    /// Pictures at once. Changes no result but by rounding.
    pub batch_size: usize,
}

impl Experiment {
    /// Lays `layers` over the default settings.
    ///
    /// # Errors
    /// The first layer that does not fit, and where.
    pub fn load(layers: &[Layer]) -> Result<Experiment, ConfigError> {
        load(&Layer::from_toml("configs/default.toml", DEFAULT)?, layers)
    }

    /// The settings as a file that repeats the run.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("an experiment is TOML")
    }

    /// What is wrong with settings that fit their types: where, and what.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut note = |path: &str, problem: Option<String>| {
            problems.extend(problem.map(|it| format!("at `{path}`: {it}")));
        };
        for (path, ops) in
            [("augment.train", &self.augment.train), ("augment.eval", &self.augment.eval)]
        {
            for (idx, op) in ops.iter().enumerate() {
                note(&format!("{path}[{idx}]"), op.get().problem());
            }
        }
        let random = self.augment.eval.iter().find(|it| it.get().is_random());
        note(
            "augment.eval",
            random.map(|it| format!("`{}` is left to chance, which serving is not", it.kind())),
        );
        note("optim", self.optim.get().problem());
        note("schedule", self.schedule.get().problem());
        note("model.backbone", self.model.backbone.get().problem());
        note("head", self.head.get().problem());
        let is_scale = |it: augment::Statistics| {
            it.std.iter().all(|&it| it > 0.0 && it.is_finite())
                && it.mean.iter().all(|it| it.is_finite())
        };
        let is_scale = self.augment.statistics.get().known().is_none_or(is_scale);
        note("augment.statistics", (!is_scale).then(|| "every `std` is above 0".to_owned()));
        let count = |n: usize, most: usize| {
            (n == 0 || n > most).then(|| format!("is from 1 to {most}, not {n}"))
        };
        note("threads", count(self.threads.max(1), 1024));
        note("data.n_loaders", count(self.data.n_loaders, 1024));
        note("data.n_ahead", count(self.data.n_ahead, 1024));
        note("train.batch_size", count(self.train.batch_size, 1 << 20));
        note("eval.batch_size", count(self.eval.batch_size, 1 << 20));
        note("eval.every", self.eval.every.is_none().then(|| "is longer than nothing".to_owned()));
        let name = self.run.name.as_str();
        let is_name = !name.contains(['/', '\\']) && !name.starts_with('.') && name == name.trim();
        note("run.name", (!is_name).then(|| "is a folder's name, without `/`".to_owned()));
        let is_taken = name == "latest";
        note("run.name", is_taken.then(|| "`latest` stands for the newest run".to_owned()));
        let no_dir = self.run.dir.as_os_str().is_empty();
        note("run.dir", no_dir.then(|| "is the folder of all runs, such as \"runs\"".to_owned()));
        problems
    }
}
