//! The settings of a run: a config's layers over `configs/default.toml`.
//!
//! Sections have no defaults in code: every setting is in `default.toml`, with a comment.

mod problems;

use std::{collections::BTreeMap, path::PathBuf};

use augment::{MixOpConfig, StatisticsConfig, Step, ViewsConfig};
use base::{
    Length, Seed,
    config::{ConfigError, Layer, load},
    names::quoted,
};
use data::{
    CacheDir, Context, Manifest, Pseudo, Review, SamplerConfig, SourceConfig, SourceError,
    SplitConfig,
};
use infer::SubmitConfig;
use losses::LossConfig;
use metrics::MetricConfig;
use models::{BackboneConfig, HeadConfig, Input};
use serde::{Deserialize, Serialize};
use track::TrackConfig;

use crate::{
    amp::{AmpDtype, AmpSection},
    average::AverageConfig,
    clip::ClipConfig,
    device::DeviceSetting,
    freeze::Freeze,
    groups::GroupsSection,
    optim::OptimConfig,
    phase::PhaseSection,
    schedule::ScheduleConfig,
    sizes::Size,
};

/// The bottom layer of every experiment.
pub const DEFAULT: &str = include_str!("../../../configs/default.toml");

/// The first line of a run's `config.toml`. Its number changes with names of settings, files or columns.
const FORMAT: &str = "# maskfit run, format 3";

/// All settings of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The root of all randomness.
    pub seed: Seed,
    /// Compute threads; 0 for all of the machine's. Does not change results.
    pub threads: usize,
    /// The device that networks run on. Changes results by rounding only.
    pub device: DeviceSetting,
    /// The run's folder.
    pub run: RunSection,
    /// The data set.
    pub data: DataSection,
    /// Preprocessing and augmentation.
    pub augment: AugmentSection,
    /// The network.
    pub model: ModelSection,
    /// The head on the network's features.
    pub head: HeadConfig,
    /// The training loss.
    pub loss: LossConfig,
    /// The optimizer.
    pub optim: OptimConfig,
    /// Automatic mixed precision on a card.
    pub amp: AmpSection,
    /// The parameter groups: learning rates and weight decay.
    pub groups: GroupsSection,
    /// The learning-rate schedule.
    pub schedule: ScheduleConfig,
    /// The averaging of weights.
    pub average: AverageConfig,
    /// The training loop.
    pub train: TrainSection,
    /// The phases, one after the other; empty for one.
    pub phase: Vec<PhaseSection>,
    /// Evaluation during training.
    pub eval: EvalSection,
    /// Test-time augmentation of the best bundle, with which its final tables are predicted; evaluations during
    /// training have none.
    pub tta: ViewsConfig,
    /// Checkpoints, which an interrupted run resumes from.
    pub checkpoint: CheckpointSection,
    /// The trackers that log metrics. Does not change results.
    pub track: Vec<TrackConfig>,
    /// What `maskfit submit` writes of each test image. Does not change results.
    pub submit: SubmitConfig,
}

/// `[run]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSection {
    /// The run's folder in `dir`; empty for the experiment's name and the time.
    pub name: String,
    /// The folder of all runs.
    pub dir: PathBuf,
    /// Whether to refuse a run that needs more memory than is free.
    pub check_memory: bool,
    /// Whether `train` and `kfold` end with `report.html`, the page of `maskfit report`. Does not change results.
    pub report: bool,
}

/// `[data]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// The source of the examples.
    pub source: SourceConfig,
    /// The split into training and validation sets.
    pub split: SplitConfig,
    /// The seed of the split, which stays the same when `seed` changes.
    pub split_seed: Seed,
    /// The validation fold of the split, from 0 to below its number of folds.
    pub fold: usize,
    /// Ascending class limits in training, by numeric factor: `{ age = [29, 59] }`; empty: those of scoring.
    pub training_cuts: BTreeMap<String, Vec<f64>>,
    /// Reviewed tables of label issues, whose decisions are applied.
    pub reviewed: Vec<PathBuf>,
    /// Numbers of numeric factors whose images are excluded from training: `{ age = [57, 58, 59] }`.
    pub leave_out: BTreeMap<String, Vec<f64>>,
    /// Pseudo-labelled images, which are added to the training set.
    pub pseudo: Pseudo,
    /// The sampler, which selects the examples of an epoch.
    pub sampler: SamplerConfig,
    /// Loader threads. Does not change results.
    pub num_workers: usize,
    /// The maximum number of batches loaded ahead.
    pub prefetch: usize,
    /// The maximum number of pixels of an image; larger ones are refused.
    pub max_pixels: u64,
}

/// `[augment]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentSection {
    /// The transforms of training images, in order.
    pub train: Vec<Step>,
    /// The transforms in validation and inference, in order.
    pub eval: Vec<Step>,
    /// The mean and standard deviation of the normalisation.
    pub statistics: StatisticsConfig,
    /// The mixing of the rows of a training batch, in order.
    pub mix: Vec<MixOpConfig>,
}

/// `[model]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// The backbone, which computes features from images.
    pub backbone: BackboneConfig,
    /// A file of published weights, or a name by which the program finds one; or the folder of a run, a bundle or a
    /// fold, whose model training continues from; empty for random initialisation.
    pub pretrained: PathBuf,
}

/// `[train]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSection {
    /// The length of the run.
    pub total: Length,
    /// The length of the learning-rate warm-up.
    pub warmup: Length,
    /// Images per step.
    pub batch_size: usize,
    /// Whether to skip the images of an epoch that do not fill a batch.
    pub drop_last: bool,
    /// Gradient accumulation: parts per batch. More parts need less memory.
    pub accumulate: usize,
    /// Gradient clipping.
    pub clip: ClipConfig,
    /// Parts of the network that are frozen for some time.
    pub freeze: Vec<Freeze>,
    /// Progressive resizing: smaller images in the first epochs.
    pub sizes: Vec<Size>,
    /// Early stopping: evaluations without improvement after which the run ends; 0 for never.
    pub patience: usize,
}

/// `[eval]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSection {
    /// The interval between evaluations.
    pub every: Length,
    /// The metric that selects the best model.
    pub best_by: MetricConfig,
    /// Images per batch. Changes results by rounding only.
    pub batch_size: usize,
}

/// `[checkpoint]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointSection {
    /// The interval between checkpoints; one is also saved after each evaluation. None of these is left out: where
    /// steps are shorter than writing takes, training waits. So which ones there are depends on the settings only.
    pub every: Length,
    /// The maximum number of minutes between checkpoints; 0 for no limit. A checkpoint saved by the clock or at an
    /// interruption is removed once there is a newer one, and `soup --last` does not take it.
    pub minutes: f64,
    /// The number of checkpoints kept, of those by `every` and after evaluations.
    pub keep: usize,
}

/// Settings that do not change results; the device does by rounding, like the instruction set of the CPU.
const WITHOUT_EFFECT: [&str; 9] = [
    "threads",
    "device",
    "run",
    "data.num_workers",
    "data.prefetch",
    "data.max_pixels",
    "checkpoint",
    "track",
    "submit",
];

/// Returns the differences between two tables of settings: the setting, its old value and its new one.
pub(crate) fn differences(before: &toml::Table, after: &toml::Table) -> Vec<String> {
    let line = |(name, before, after)| format!("{name} was {before}, now {after}");
    differing(before, after).into_iter().map(line).collect()
}

/// Returns the name of each setting that differs between two tables, with its value in each.
pub(crate) fn differing(a: &toml::Table, b: &toml::Table) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for name in names {
        match (a.get(name), b.get(name)) {
            (Some(toml::Value::Table(a)), Some(toml::Value::Table(b))) => {
                let of_table = differing(a, b).into_iter();
                found.extend(of_table.map(|(it, a, b)| (format!("{name}.{it}"), a, b)));
            }
            (a, b) if a == b => {}
            (a, b) => {
                let text =
                    |it: Option<&toml::Value>| it.map_or("not set".to_owned(), ToString::to_string);
                found.push((name.clone(), text(a), text(b)));
            }
        }
    }
    found
}

impl Experiment {
    /// Returns a note on settings of the loss scale that are not the default ones, where there is no loss scale.
    pub(crate) fn note_on_loss_scale(&self) -> Option<String> {
        if self.amp.dtype == AmpDtype::F16 {
            return None;
        }
        let default = AmpSection { dtype: self.amp.dtype, ..Experiment::load(&[]).ok()?.amp };
        let [default, own] =
            [default, self.amp].map(|it| toml::Table::try_from(it).expect("settings are TOML"));
        let names = differing(&default, &own).into_iter().map(|it| format!("amp.{}", it.0));
        let names: Vec<String> = names.collect();
        (!names.is_empty()).then(|| {
            let names = quoted(names);
            format!("without effect: {names}: only `amp.dtype = \"f16\"` has a loss scale")
        })
    }

    /// Loads an experiment from `layers` over the default settings.
    ///
    /// If they set published weights, for a network that has some, the preprocessing of these weights is a
    /// layer in between: the `[augment]` section where the layers leave it out. Once the weights file is
    /// available, [`Experiment::load_with`] uses the preprocessing that the file determines.
    ///
    /// # Errors
    /// The first invalid layer, and where.
    pub fn load(layers: &[Layer]) -> Result<Experiment, ConfigError> {
        let default = Layer::from_toml("configs/default.toml", DEFAULT)?;
        let experiment: Experiment = load(&default, layers)?;
        match experiment.published() {
            None => Ok(experiment),
            Some(it) => Experiment::load_over(layers, it.full_name(), &it.input),
        }
    }

    /// Loads an experiment from `layers` over the default settings, with the preprocessing of weights in
    /// between.
    ///
    /// - `name`: the name of the weights, for error messages.
    pub(crate) fn load_over(
        layers: &[Layer],
        name: String,
        input: &Input,
    ) -> Result<Experiment, ConfigError> {
        let default = Layer::from_toml("configs/default.toml", DEFAULT)?;
        let published = Layer::new(name, AugmentSection::of_input(input).layer());
        load(&default, &[&[published], layers].concat())
    }

    /// Returns the settings of a checkpoint; those that did not exist when it was written have their defaults.
    pub(crate) fn settings_of(checkpoint: &toml::Table) -> toml::Table {
        let layer = Layer::new("checkpoint".to_owned(), checkpoint.clone());
        Experiment::load(&[layer]).map_or_else(|_| checkpoint.clone(), |it| it.result_settings())
    }

    /// Parses a run's `config.toml`.
    ///
    /// # Errors
    /// The text is not a config, or has invalid settings.
    pub(crate) fn of_run(config: &str) -> Result<Experiment, ConfigError> {
        Experiment::load(&[Experiment::layer_of_run("config.toml", config)?])
    }

    /// Parses a run's `config.toml` as a layer.
    ///
    /// - `name`: the name of the file in errors.
    ///
    /// # Errors
    /// The text is not a config, or another version of the program wrote it.
    pub fn layer_of_run(name: &str, config: &str) -> Result<Layer, ConfigError> {
        match config.lines().next() {
            Some(FORMAT) => Layer::from_toml(name, config),
            _ => Err(ConfigError::Format { name: name.to_owned(), expected: FORMAT }),
        }
    }

    /// Reads the data, applies the decisions of reviewed tables, and adds pseudo-labelled images.
    ///
    /// # Errors
    /// Everything that is wrong with the data or the tables.
    pub fn manifest(&self, context: &Context<'_>) -> Result<Manifest, SourceError> {
        self.completed(self.data.source.get().read(context)?, context, true)
    }

    /// As [`Experiment::manifest`], without opening an image: inconsistent data is left out.
    ///
    /// # Errors
    /// The data cannot be listed, or a table is invalid.
    pub fn listing(&self, context: &Context<'_>) -> Result<Manifest, SourceError> {
        self.completed(self.data.source.get().list(context)?.0, context, false)
    }

    /// Applies reviewed tables, and adds pseudo-labelled images.
    fn completed(
        &self,
        mut manifest: Manifest,
        context: &Context<'_>,
        opens_images: bool,
    ) -> Result<Manifest, SourceError> {
        for path in &self.data.reviewed {
            let done = Review::read(path)
                .and_then(|it| it.apply(&mut manifest))
                .map_err(|err| SourceError::Settings(format!("{}: {err}", path.display())))?;
            manifest.notes.push(format!("{}: {done}", path.display()));
        }
        self.data.pseudo.add_to(&mut manifest, context, opens_images)?;
        manifest.cache = context.cache.map(CacheDir::within);
        Ok(manifest)
    }

    /// Formats the settings as a config that repeats the run.
    pub fn to_toml(&self) -> String {
        format!("{FORMAT}\n{}", toml::to_string(self).expect("an experiment is TOML"))
    }

    /// Returns the settings as a table.
    pub(crate) fn to_table(&self) -> toml::Table {
        toml::Table::try_from(self).expect("an experiment is TOML")
    }

    /// Returns the settings that results depend on: those that must not change when a run is resumed.
    pub fn result_settings(&self) -> toml::Table {
        let mut table = self.to_table();
        for path in WITHOUT_EFFECT {
            let (section, name) = path.split_once('.').unwrap_or(("", path));
            match table.get_mut(section).and_then(toml::Value::as_table_mut) {
                Some(it) => drop(it.remove(name)),
                None => drop(table.remove(path)),
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::{Experiment, Layer};

    #[test]
    fn mixed_precision_on_the_cpu_is_refused() {
        let with = |device: &str| {
            let sets = [format!("device={device}"), "amp.dtype=bf16".to_owned()];
            let layers = sets.map(|it| Layer::from_set(&it).unwrap());
            Experiment::load(&layers).unwrap().problems()
        };
        let problems = with("cpu");
        assert!(
            problems[0].starts_with("at `amp.dtype`: mixed precision runs on a card"),
            "{problems:?}"
        );
        assert!(with("auto").is_empty() && with("cuda:1").is_empty());
        let layer = Layer::from_set("device=gpu").unwrap();
        let err = Experiment::load(&[layer]).unwrap_err().to_string();
        assert!(
            err.contains("at `device`") && err.contains("such as `cuda:0`, not `gpu`"),
            "{err}"
        );
        let layer = Layer::from_set("amp.dtype=bfloat16").unwrap();
        let err = Experiment::load(&[layer]).unwrap_err().to_string();
        assert!(err.contains("unknown value `bfloat16`: did you mean `bf16`?"), "{err}");
    }

    #[test]
    fn settings_that_a_checkpoint_does_not_have_are_the_default_ones() {
        let settings = Experiment::load(&[]).unwrap().result_settings();
        let mut earlier = settings.clone();
        earlier.remove("tta").unwrap();
        earlier["data"].as_table_mut().unwrap().remove("pseudo").unwrap();
        assert_eq!(Experiment::settings_of(&earlier), settings);
        // Others are kept.
        let mut other = settings.clone();
        other["seed"] = toml::Value::Integer(7);
        assert_eq!(Experiment::settings_of(&other), other);
    }

    #[test]
    fn settings_of_the_loss_scale_are_noted_where_there_is_none() {
        let note = |sets: &[&str]| {
            let layers: Vec<Layer> = sets.iter().map(|it| Layer::from_set(it).unwrap()).collect();
            Experiment::load(&layers).unwrap().note_on_loss_scale()
        };
        let [scale, interval] = ["amp.init_scale=1024", "amp.growth_interval=9"];
        for dtype in ["amp.dtype=bf16", "amp.dtype=off"] {
            let want = "without effect: `amp.growth_interval`, `amp.init_scale`: only `amp.dtype = \"f16\"` has a \
                        loss scale";
            assert_eq!(note(&[dtype, scale, interval]).unwrap(), want);
            assert_eq!(note(&[dtype]), None);
            // As it is by default.
            assert_eq!(note(&[dtype, "amp.init_scale=65536"]), None);
        }
        assert_eq!(note(&["amp.dtype=f16", scale, interval]), None);
    }
}
