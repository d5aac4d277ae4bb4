//! What a person writes: the settings of a run, from `configs/default.toml` upwards.
//!
//! Sections have no defaults of their own: every setting stands, with a comment, in `default.toml`.

use std::path::{Path, PathBuf};

use augment::{MixOpConfig, StatisticsConfig, Step};
use base::{
    Clock, Epochs, Length, Seed,
    config::{ConfigError, Layer, load},
};
use data::{
    Context, Manifest, Remembered, Review, SamplerConfig, SourceConfig, SourceError, SplitConfig,
};
use losses::LossConfig;
use metrics::MetricConfig;
use models::{BackboneConfig, HeadConfig, Input};
use serde::{Deserialize, Serialize};
use track::TrackConfig;

use crate::{
    average::AverageConfig,
    clip::ClipConfig,
    freeze::Freeze,
    groups::GroupsSection,
    optim::OptimConfig,
    schedule::{Rates, ScheduleConfig},
    sizes::Size,
};

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
    /// What happens to images.
    pub augment: AugmentSection,
    /// The network.
    pub model: ModelSection,
    /// What is asked of its features.
    pub head: HeadConfig,
    /// What it descends on.
    pub loss: LossConfig,
    /// How it descends.
    pub optim: OptimConfig,
    /// Who learns how fast.
    pub groups: GroupsSection,
    /// How fast, and when.
    pub schedule: ScheduleConfig,
    /// What is averaged over time.
    pub average: AverageConfig,
    /// How long.
    pub train: TrainSection,
    /// How it is judged on the way.
    pub eval: EvalSection,
    /// What a killed run goes on from.
    pub checkpoint: CheckpointSection,
    /// Where its numbers go while it goes. Changes no result.
    pub track: Vec<TrackConfig>,
}

/// `[run]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSection {
    /// The run's folder in `dir`; empty for the experiment's name and the time.
    pub name: String,
    /// The folder of all runs.
    pub dir: PathBuf,
    /// Whether a run that needs more memory than is free is refused.
    pub check_memory: bool,
}

/// `[data]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// Where examples come from.
    pub source: SourceConfig,
    /// Who is held out.
    pub split: SplitConfig,
    /// Who is held out is drawn from this, and so stays when `seed` changes.
    pub split_seed: Seed,
    /// Which fold of the split is held out, from 0.
    pub fold: usize,
    /// Where ages are cut for training; empty for where they are scored.
    pub training_cuts: Vec<f64>,
    /// Reviewed tables of doubtful labels, whose decisions are carried out.
    pub reviewed: Vec<PathBuf>,
    /// Ages that are not trained on.
    pub leave_out_ages: Vec<f64>,
    /// Which examples an epoch sees.
    pub sampler: SamplerConfig,
    /// Threads that load images. Changes no result.
    pub num_workers: usize,
    /// Batches that wait in memory at most.
    pub prefetch: usize,
    /// Images with more pixels are refused.
    pub max_pixels: u64,
}

/// `[augment]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentSection {
    /// In training, in order.
    pub train: Vec<Step>,
    /// In validation and serving, in order.
    pub eval: Vec<Step>,
    /// What colours are normalised with.
    pub statistics: StatisticsConfig,
    /// What happens to the rows of a batch in training, in order.
    pub mix: Vec<MixOpConfig>,
}

/// `[model]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// What turns images into features.
    pub backbone: BackboneConfig,
    /// A file of published weights, or a name that the program finds one by; empty to start from
    /// scratch.
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
    /// Images a step.
    pub batch_size: usize,
    /// Whether an epoch leaves out the images that fill no batch.
    pub drop_last: bool,
    /// Parts that a batch goes through the network in, one after the other: the more, the less memory.
    pub accumulate: usize,
    /// What happens to gradients that are too large.
    pub clip: ClipConfig,
    /// Parts of the network that do not learn for a while.
    pub freeze: Vec<Freeze>,
    /// Smaller images in the first epochs.
    pub sizes: Vec<Size>,
    /// Evaluations without a better one after which the run ends; 0 for never.
    pub patience: usize,
}

/// `[eval]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSection {
    /// How often.
    pub every: Length,
    /// What the best model is the best by.
    pub best_by: MetricConfig,
    /// Images at once. Changes no result but by rounding.
    pub batch_size: usize,
}

/// `[checkpoint]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointSection {
    /// How often; and after each evaluation.
    pub every: Length,
    /// And after so many minutes; 0 for never by the clock.
    pub minutes: f64,
    /// How many stay.
    pub keep: usize,
}

/// Settings that change no result.
const WITHOUT_EFFECT: [&str; 7] = [
    "threads",
    "run",
    "data.num_workers",
    "data.prefetch",
    "data.max_pixels",
    "checkpoint",
    "track",
];

/// What differs between two tables of settings: where, what it was and what it is.
pub(crate) fn differences(before: &toml::Table, after: &toml::Table) -> Vec<String> {
    let mut found = Vec::new();
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        match (before.get(name), after.get(name)) {
            (Some(toml::Value::Table(before)), Some(toml::Value::Table(after))) => {
                let of_table = differences(before, after).into_iter();
                found.extend(of_table.map(|it| format!("{name}.{it}")));
            }
            (before, after) if before == after => {}
            (before, after) => {
                let said =
                    |it: Option<&toml::Value>| it.map_or("nothing".to_owned(), ToString::to_string);
                found.push(format!("{name} was {}, and is {}", said(before), said(after)));
            }
        }
    }
    found
}

/// The files and folders that a source names.
fn places_of<'a>(source: &'a SourceConfig, at: &str, places: &mut Vec<(String, &'a Path)>) {
    match source {
        SourceConfig::SyntheticPeople(_) => {}
        SourceConfig::MaskProfiles(it) => {
            places.push((format!("{at}.root"), &it.root));
            places.extend(numbered(&format!("{at}.label_fixes"), &it.label_fixes));
        }
        SourceConfig::Several(it) => {
            for (idx, root) in it.roots.iter().enumerate() {
                places_of(&root.source, &format!("{at}.roots[{idx}].source"), places);
            }
        }
    }
}

fn numbered<'a>(at: &str, paths: &'a [PathBuf]) -> impl Iterator<Item = (String, &'a Path)> {
    paths.iter().enumerate().map(move |(idx, it)| (format!("{at}[{idx}]"), it.as_path()))
}

impl Experiment {
    /// Lays `layers` over the default settings.
    ///
    /// Where they ask for published weights, on a network that is published, there is one more layer
    /// between: images as these weights want them. So they are what `[augment]` is where the layers
    /// leave it out. Once the file of weights is there, [`Experiment::load_with`] goes by what it says.
    ///
    /// # Errors
    /// The first layer that does not fit, and where.
    pub fn load(layers: &[Layer]) -> Result<Experiment, ConfigError> {
        let default = Layer::from_toml("configs/default.toml", DEFAULT)?;
        let experiment: Experiment = load(&default, layers)?;
        match experiment.published() {
            None => Ok(experiment),
            Some(it) => Experiment::load_over(layers, it.full_name(), &it.input),
        }
    }

    /// Lays `layers` over the default settings, with images as weights want them between.
    pub(crate) fn load_over(
        layers: &[Layer],
        name: String,
        input: &Input,
    ) -> Result<Experiment, ConfigError> {
        let default = Layer::from_toml("configs/default.toml", DEFAULT)?;
        let wanted = Layer::new(name, AugmentSection::wanted(input).layer());
        load(&default, &[&[wanted], layers].concat())
    }

    /// The experiment of a run's `config.toml`.
    ///
    /// # Errors
    /// A text that is none, or has settings that do not fit.
    pub(crate) fn of_run(config: &str) -> Result<Experiment, ConfigError> {
        Experiment::load(&[Layer::from_toml("config.toml", config)?])
    }

    /// Reads the data, and carries out what reviewed tables decide.
    ///
    /// # Errors
    /// Whatever is wrong with the data or the tables.
    pub fn manifest(&self, context: &Context<'_>) -> Result<Manifest, SourceError> {
        self.reviewed(self.data.source.get().read(context)?, context)
    }

    /// As [`Experiment::manifest`], without opening an image: what does not fit is left out.
    ///
    /// # Errors
    /// Data that cannot be listed, and whatever is wrong with the tables.
    pub fn listing(&self, context: &Context<'_>) -> Result<Manifest, SourceError> {
        self.reviewed(self.data.source.get().list(context)?.0, context)
    }

    fn reviewed(
        &self,
        mut manifest: Manifest,
        context: &Context<'_>,
    ) -> Result<Manifest, SourceError> {
        for path in &self.data.reviewed {
            let done = Review::read(path)
                .and_then(|it| it.apply(&mut manifest))
                .map_err(|err| SourceError::Settings(format!("{}: {err}", path.display())))?;
            manifest.notes.push(format!("{}: {done}", path.display()));
        }
        manifest.memory = context.cache.map(Remembered::within);
        Ok(manifest)
    }

    /// Steps done when the backbone begins to learn, if the schedule lets it rest; else after the warm-up.
    pub fn unfreezes(&self, epochs: &Epochs) -> usize {
        epochs.steps_of(self.awake_in_whole(epochs))
    }

    /// The same, in steps of the whole run where only some of them are taken.
    fn awake_in_whole(&self, epochs: &Epochs) -> usize {
        let rest = self.schedule.get().frozen().map_or(0, |it| it.of_whole(epochs));
        self.train.warmup.of_whole(epochs) + rest
    }

    /// What does not learn for a while: by the schedule, and by itself.
    pub(crate) fn freezes(&self, epochs: &Epochs) -> Vec<Freeze> {
        let until = |_| Length::Steps(self.awake_in_whole(epochs));
        let by_schedule = self.schedule.get().frozen().map(until).map(Freeze::backbone);
        by_schedule.into_iter().chain(self.train.freeze.iter().cloned()).collect()
    }

    /// What the optimizer is told after `step` steps.
    ///
    /// - `scores`: what evaluations so far came to.
    pub fn rates(&self, epochs: &Epochs, step: usize, scores: &[f64]) -> Rates {
        let at = |step| Clock { step, total: epochs.total(), epoch: epochs.epoch(step) };
        let warm = at(self.train.warmup.to_steps(epochs));
        let rates = self.schedule.rates(&at(step), &warm, &at(self.unfreezes(epochs)));
        let more_is_better = self.eval.best_by.get().more_is_better();
        let left = self.schedule.get().left(scores, more_is_better);
        Rates { lr: rates.lr * left, ..rates }
    }

    /// The files and folders that the data comes from, each with the setting that names it.
    pub fn places(&self) -> Vec<(String, &Path)> {
        let mut places = Vec::new();
        places_of(&self.data.source, "data.source", &mut places);
        places.extend(numbered("data.reviewed", &self.data.reviewed));
        places
    }

    /// The settings as a file that repeats the run.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("an experiment is TOML")
    }

    /// The settings as a table.
    pub(crate) fn to_table(&self) -> toml::Table {
        toml::Table::try_from(self).expect("an experiment is TOML")
    }

    /// The settings that results depend on: what a run goes on with as it began.
    pub fn essence(&self) -> toml::Table {
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
                note(&format!("{path}[{idx}]"), op.problem());
            }
        }
        let random = self.augment.eval.iter().find(|it| it.is_random());
        note(
            "augment.eval",
            random.map(|it| format!("`{}` is left to chance, which serving is not", it.op.kind())),
        );
        note("loss", self.loss.get().problem());
        note("data.sampler", self.data.sampler.get().problem());
        let age = self.data.leave_out_ages.iter().find(|it| !it.is_finite());
        note("data.leave_out_ages", age.map(|it| format!("an age is a number of years, not {it}")));
        for (idx, op) in self.augment.mix.iter().enumerate() {
            let path = format!("augment.mix[{idx}]");
            note(&path, op.get().problem());
            let is_never = op.get().until().is_some_and(Length::is_none);
            note(&path, is_never.then(|| "`until` is longer than nothing".to_owned()));
        }
        note("optim", self.optim.get().problem());
        note("groups", self.groups.problem());
        note("train.clip", self.train.clip.get().problem());
        note("schedule", self.schedule.get().problem());
        note("average", self.average.get().problem());
        note("model.backbone", self.model.backbone.get().problem());
        note("head", self.head.get().problem());
        let best_by = self.eval.best_by.get();
        note("eval.best_by", best_by.problem());
        // The heads that learn from ages are those that say years.
        let is_ageless = best_by.needs_years() && !self.head.get().needs_ages();
        let what = || {
            let (metric, head) = (self.eval.best_by.kind(), self.head.kind());
            format!("`{metric}` judges years, and the head `{head}` says none: choose another")
        };
        note("eval.best_by", is_ageless.then(what));
        let statistics = self.augment.statistics.get().known();
        note("augment.statistics", statistics.and_then(|it| it.problem()));
        let count = |n: usize, most: usize| {
            (n == 0 || n > most).then(|| format!("is from 1 to {most}, not {n}"))
        };
        note("threads", count(self.threads.max(1), 1024));
        note("data.num_workers", count(self.data.num_workers, 1024));
        note("data.prefetch", count(self.data.prefetch, 1024));
        note("train.batch_size", count(self.train.batch_size, 1 << 20));
        for (idx, Size { size, batch_size, .. }) in self.train.sizes.iter().enumerate() {
            let is_size = size.iter().all(|it| (1..=1 << 14).contains(it));
            let what = || "is [height, width], each at least 1 and at most 16384".to_owned();
            note(&format!("train.sizes[{idx}].size"), (!is_size).then(what));
            let batch_size = count(batch_size.unwrap_or(1), 1 << 20);
            note(&format!("train.sizes[{idx}].batch_size"), batch_size);
        }
        note("train.accumulate", count(self.train.accumulate, 1 << 20));
        let batch_sizes = self.train.sizes.iter().filter_map(|it| it.batch_size);
        let smallest = batch_sizes.fold(self.train.batch_size, usize::min);
        let is_cut_up = self.train.accumulate > smallest;
        let what = || format!("a batch of {smallest} has no more than {smallest} parts");
        note("train.accumulate", is_cut_up.then(what));
        note("checkpoint.keep", count(self.checkpoint.keep, 1 << 20));
        let CheckpointSection { every, minutes, .. } = self.checkpoint;
        note("checkpoint.every", every.is_none().then(|| "is longer than nothing".to_owned()));
        let is_time = (0.0..1e9).contains(&minutes);
        note("checkpoint.minutes", (!is_time).then(|| format!("is 0 or more, not {minutes}")));
        for (idx, it) in self.track.iter().enumerate() {
            let path = format!("track[{idx}]");
            note(&path, it.get().problem());
            let is_twice = self.track[..idx].iter().any(|before| before.kind() == it.kind());
            note(&path, is_twice.then(|| format!("`{}` is there twice", it.kind())));
        }
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
