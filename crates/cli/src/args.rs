//! The command line.

mod values;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use metrics::{LabelScore, MetricConfig};

use self::values::{metric, number, rate, score, size};
use crate::style::Colour;

/// Train, cross-validate and submit image classifiers.
///
/// Settings are merged from three layers, later ones override earlier ones: configs/default.toml (built in,
/// documents every setting), one experiment file or recipe, and any number of `--set path.to.key=value`.
#[derive(Debug, Parser)]
#[command(name = "maskfit", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Args {
    /// When to print colours: auto (on a terminal), always or never. `NO_COLOR=1` and `TERM=dumb` turn them off as well.
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(crate) color: Colour,
    /// Print results and errors only: no progress, notes and status.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print details as well: the instruction set, the layers of the settings, the time profile of a run.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a config for a folder of images: a table with labels, a folder for each class, or the mask
    /// competition's layout.
    Init {
        /// Folder of the images.
        dir: PathBuf,
        /// Config to write [default: the folder's name with `.toml`].
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Train a model. Without a config: on synthetic people, in about three minutes.
    Train {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// Resume a stopped run: its folder, or `latest`. It keeps its settings, except those that `--set`
        /// overrides.
        #[arg(long, value_name = "RUN", conflicts_with = "config")]
        resume: Option<PathBuf>,
        /// Resume even if `--set` changes settings that affect the results.
        #[arg(long, requires = "resume")]
        allow_changes: bool,
        #[command(flatten)]
        dry: DryArgs,
        /// Print a time profile at the end of the run.
        #[arg(long)]
        profile: bool,
    },
    /// Cross-validate: train a model per fold, and score the out-of-fold predictions.
    Kfold {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// Number of folds [default: set by the config, else 5].
        #[arg(long, value_name = "N", conflicts_with = "resume")]
        folds: Option<usize>,
        /// Resume a stopped cross-validation with its original settings: its folder, or `latest`.
        #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "set"])]
        resume: Option<PathBuf>,
    },
    /// Predict test images, and write a submission with the rows and columns of a sample file.
    Submit {
        #[command(flatten)]
        models: ModelArgs,
        /// Folder of the test images, or of `images/`.
        #[arg(long, value_name = "DIR")]
        images: PathBuf,
        /// Sample file [default: DIR's `info.csv`, or `sample_submission.csv` in or beside DIR; without
        /// one, a row for each image].
        #[arg(long, value_name = "FILE")]
        sample: Option<PathBuf>,
        /// Override a setting of `[submit]` of the first run, for example `submit.kind=probabilities`. May be
        /// repeated.
        #[arg(long, value_name = "PATH=VALUE")]
        set: Vec<String>,
        /// CSV file to write; `-` for stdout. Nothing is written if an image cannot be predicted.
        #[arg(short, long, value_name = "FILE", default_value = "output.csv")]
        output: PathBuf,
    },
    /// Predict images: write a CSV row per image with the probabilities of all classes.
    ///
    /// All images of a folder and its subfolders are predicted, whatever their file extension; files that
    /// are not images are counted and named. If some images cannot be predicted, they are listed, the
    /// others get their rows, and the exit code is 1.
    Predict {
        #[command(flatten)]
        models: ModelArgs,
        /// Image, or folder of images.
        #[arg(long, value_name = "PATH")]
        images: PathBuf,
        /// CSV file to write; `-` for stdout.
        #[arg(short, long, value_name = "FILE", default_value = "probabilities.csv")]
        output: PathBuf,
    },
    /// Compare runs by a metric, with a paired bootstrap over groups.
    Compare(RunsArgs),
    /// Find likely label errors from held-out predictions.
    Labels {
        /// Cross-validation, which covers all groups; or run, which covers its validation set; or `latest`.
        run: PathBuf,
        /// Folder to write: `labels.csv` for review, and `sheet.png`, a contact sheet.
        #[arg(short, long, value_name = "FOLDER")]
        output: PathBuf,
        /// Score to rank labels by: the predicted probability of the given label (self-confidence), or its
        /// margin over the most probable other label (margin).
        #[arg(long, value_name = "SCORE", default_value = "self-confidence", value_parser = score)]
        by: LabelScore,
        /// Number of images on the contact sheet.
        #[arg(long, value_name = "N", default_value_t = 48, value_parser = number)]
        images: usize,
    },
    /// Plot an experiment's learning-rate schedule, without training.
    Schedule {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// PNG to write; `-` for stdout.
        #[arg(short, long, value_name = "FILE", default_value = "schedule.png")]
        output: PathBuf,
    },
    /// Find a learning rate with a range test: train a copy at a rising rate, and plot the loss.
    LrFind {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// Start from a run's last checkpoint, with its settings; the run is not changed.
        #[arg(long, value_name = "RUN", conflicts_with = "config")]
        run: Option<PathBuf>,
        /// First learning rate.
        #[arg(long, value_name = "RATE", default_value_t = 1e-7, value_parser = rate)]
        from: f64,
        /// Last learning rate.
        #[arg(long, value_name = "RATE", default_value_t = 10.0, value_parser = rate)]
        to: f64,
        /// Number of steps from the first to the last.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = number)]
        steps: usize,
        /// PNG of the curve to write; `-` for stdout.
        #[arg(short, long, value_name = "FILE", default_value = "lr-find.png")]
        output: PathBuf,
    },
    /// Check, prepare and show data, or generate synthetic data.
    Data {
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Explore a data set before training: classes, groups, numbers, image sizes, colours, duplicate and
    /// unreadable images, and a contact sheet for each class.
    Eda {
        /// Experiment file, or folder with `train.csv` and `images/`, directly or in its subfolder `train/`
        /// [default: synthetic people].
        data: Option<PathBuf>,
        /// Override a setting, for example `data.max_pixels=1000000`. May be repeated.
        #[arg(long, value_name = "PATH=VALUE")]
        set: Vec<String>,
        /// Draw contact sheets of the N classes with the most images.
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = number)]
        sheets: usize,
        /// Folder to write: new or empty.
        #[arg(short, long, value_name = "FOLDER", default_value = "eda")]
        output: PathBuf,
    },
    /// Show the resolved settings of a config or a run, or what differs between two.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// List the runs: their state, best score, time, and settings that differ from the defaults.
    #[command(args_conflicts_with_subcommands = true)]
    Runs {
        /// Folder of runs [default: `run.dir` of the default settings].
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
        #[command(subcommand)]
        command: Option<RunsCommand>,
    },
    /// List the components that a config may name, with descriptions and default settings; or the recipes.
    List {
        /// Registry to list: sources, splits, samplers, transforms, mixes, statistics, models, heads, losses,
        /// class-weights, optimizers, stage-rates, schedules, averages, clips, metrics, submissions or
        /// trackers [default: all]; or recipes, the experiments that are built in.
        registry: Option<String>,
    },
    /// Inspect files of pretrained weights.
    Weights {
        #[command(subcommand)]
        command: WeightsCommand,
    },
    /// Measure training, inference and data loading speed.
    Bench {
        #[command(subcommand)]
        command: BenchCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the resolved settings as TOML, each with the layer that it comes from.
    Show {
        /// Experiment file, recipe or run [default: the default settings].
        config: Option<PathBuf>,
        /// Override a setting, for example `optim.lr=1e-4`. May be repeated.
        #[arg(long, value_name = "PATH=VALUE")]
        set: Vec<String>,
    },
    /// Print the settings that differ between two runs or experiment files, side by side.
    Diff {
        /// Run or experiment file.
        a: PathBuf,
        /// Run or experiment file.
        b: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// Remove runs or cross-validations, after asking. A run in use is refused.
    Rm {
        /// Folders of runs, or names in `runs/`.
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<PathBuf>,
        /// Remove without asking.
        #[arg(short, long)]
        yes: bool,
    },
}

/// The experiment.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExperimentArgs {
    /// Experiment file, with the settings that differ from the defaults; or a recipe of `list recipes`.
    pub(crate) config: Option<PathBuf>,
    /// Override a setting, for example `optim.lr=1e-4`. May be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
}

/// Dry runs, which save nothing.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(multiple = false, conflicts_with = "resume")]
pub(crate) struct DryArgs {
    /// Run a few steps of everything (the first, the last, one after each scheduled change), to check that
    /// it works, and save nothing.
    #[arg(long)]
    pub(crate) fast: bool,
    /// Overfit N images, to check that the model can learn them, and save nothing.
    #[arg(long, value_name = "N", value_parser = number)]
    pub(crate) overfit: Option<usize>,
}

/// The runs to compare, and the metric.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunsArgs {
    /// Two or more runs or cross-validations; each is compared with the first.
    #[arg(value_name = "RUN", conflicts_with_all = ["a", "b"])]
    pub(crate) runs: Vec<PathBuf>,
    /// Runs of side A, such as several seeds; their scores are averaged.
    #[arg(long, value_name = "RUN", num_args = 1.., requires = "b")]
    pub(crate) a: Vec<PathBuf>,
    /// Runs of side B.
    #[arg(long, value_name = "RUN", num_args = 1.., requires = "a")]
    pub(crate) b: Vec<PathBuf>,
    /// Compare on the test set (`test.csv`), not on the validation set.
    #[arg(long)]
    pub(crate) test: bool,
    /// Metric to compare by: a name of `list metrics`, or a table with settings.
    #[arg(long, value_name = "METRIC", default_value = "macro_f1", value_parser = metric)]
    pub(crate) by: MetricConfig,
}

/// The models to predict with.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ModelArgs {
    /// Runs, cross-validations or bundles, or `latest`; the predictions of several are averaged.
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// Batch size.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = number)]
    pub(crate) batch_size: usize,
    /// Number of threads that load images.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = number)]
    pub(crate) num_workers: usize,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Generate synthetic people in the competition's layout: `train/`, and `eval/` with its true labels.
    SyntheticPeople {
        /// Folder to write.
        dir: PathBuf,
        /// Number of people in `train/`.
        #[arg(long, default_value_t = 1000, value_parser = number)]
        people: usize,
        /// Number of further people in `eval/`, with correct labels.
        #[arg(long, default_value_t = 300)]
        test: usize,
        /// Height and width of the images.
        #[arg(long, value_name = "HxW", default_value = "128x96", value_parser = size)]
        size: [usize; 2],
        /// Share of the people in `train/` with a wrong label.
        #[arg(long, default_value_t = 0.03)]
        wrong_labels: f64,
        /// Random seed.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Check an experiment's data: report everything that is wrong, and count the classes.
    Check {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// Compute the mean and standard deviation of each colour channel over the training images.
    Stats {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// Detect the faces and people that the configured transforms need, so that the first epoch is as fast
    /// as the others, and report in how many images they were found.
    Prepare {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// Decode the images once, apply the leading deterministic transforms, and cache the pixels in one
    /// file, which training uses automatically.
    Pack {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// Draw images as the network receives them, several random augmentations of each; or the effect of
    /// one transform.
    Show(ShowArgs),
    /// Draw a training batch as the network receives it, and print the labels of each row.
    Mixed {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// PNG to write; `-` for stdout.
        #[arg(short, long, value_name = "FILE", default_value = "mixed.png")]
        output: PathBuf,
        /// Training step of the batch, from 0.
        #[arg(long, value_name = "N", default_value_t = 0)]
        step: usize,
    },
}

/// The images and augmentations to draw.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
    /// PNG to write; `-` for stdout.
    #[arg(short, long, value_name = "FILE", default_value = "show.png")]
    pub(crate) output: PathBuf,
    /// Number of images, spread over the training set [default: 6, or 1 with `--op`].
    #[arg(long, value_name = "N", value_parser = number)]
    pub(crate) images: Option<usize>,
    /// Number of random augmentations of each image.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = number)]
    pub(crate) samples: usize,
    /// One transform instead of the configured ones, such as `rotate` or
    /// `{ kind = "rotate", degrees = 30 }`, applied to the original images.
    #[arg(long, value_name = "OP")]
    pub(crate) op: Option<String>,
    /// Values of one of its settings, a row each, such as `degrees=5,15,45` [default: its first number
    /// halved, unchanged, and doubled].
    #[arg(long, value_name = "SETTING=V,V", requires = "op")]
    pub(crate) values: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WeightsCommand {
    /// Show the contents of a weight file, and which published networks it fits. Executes none of it.
    Inspect {
        /// A `.safetensors` or `.pth` file, or another value that `model.pretrained` accepts: a name in the
        /// folder of MASKFIT_WEIGHTS, or hf:owner/name.
        file: String,
        /// Show every tensor.
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Time training steps and inference on random pixels: print a table by layer kind, and a line of JSON.
    Train(NetworkArgs),
    /// Time inference only.
    Infer(NetworkArgs),
    /// Time every layer shape of a training step, next to its lower bound on this machine (roofline).
    Ops(NetworkArgs),
    /// Time reading, decoding and augmenting images on one core, stage by stage.
    Load {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// Number of images to load.
        #[arg(long, value_name = "N", default_value_t = 500, value_parser = number)]
        images: usize,
    },
    /// Run `bench train` and another program alternately, and print the ratios.
    Compare(CompareArgs),
    /// Run one step whose cost grows with the data, for `cargo xtask scale` to measure.
    #[command(hide = true)]
    Scale {
        #[command(subcommand)]
        step: ScaleStep,
    },
}

/// A step whose cost grows with the data. Predictions and hashes are synthetic.
#[derive(Debug, Subcommand)]
pub(crate) enum ScaleStep {
    /// List the images without opening them.
    List {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// List, split into training and validation set, and count the steps of an epoch.
    Split {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// List, split, and make the batches of an epoch.
    Plan {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// Write the table of `predict`.
    Table { images: usize, classes: usize, output: PathBuf },
    /// Score predictions, with intervals.
    Evaluate { images: usize, classes: usize },
    /// Write runs for `compare`.
    Runs { dir: PathBuf, runs: usize, images: usize, classes: usize },
    /// Find near-duplicates among hashes.
    Hashes {
        images: usize,
        /// Hashes that are all within a few bits of each other.
        #[arg(long)]
        alike: bool,
    },
}

/// The network and its input.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NetworkArgs {
    /// Model name, for example efficientnet_b0 or tf_efficientnet_lite0.
    #[arg(long, default_value = "efficientnet_b0")]
    pub(crate) model: String,
    /// Batch size, in images.
    #[arg(long, default_value_t = 16, value_parser = number)]
    pub(crate) batch_size: usize,
    /// Height and width of the images: one number, or HxW.
    #[arg(long, value_name = "HxW", default_value = "224", value_parser = size)]
    pub(crate) size: [usize; 2],
    /// Number of steps to take the median of.
    #[arg(long, default_value_t = 8, value_parser = number)]
    pub(crate) steps: usize,
    /// Number of threads; 0 for all.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
}

/// The programs to compare.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// Other program, for example "python3 torch_throughput.py": it gets the arguments MODEL BATCH SIZE, and
    /// ends with a line of JSON like that of `bench train`.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) peer: String,
    /// Number of times each program runs.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = number)]
    pub(crate) rounds: usize,
}
