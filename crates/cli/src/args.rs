//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use metrics::{DoubtScore, MetricConfig};

/// Trains, cross-validates and submits image classifiers.
///
/// Settings come from three layers, the last wins: configs/default.toml (built in, every setting with
/// its meaning), one experiment file, and any number of `--set path.to.key=value`.
#[derive(Debug, Parser)]
#[command(name = "maskfit", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model. Without a config: on synthetic people, in about three minutes.
    Train {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// Go on with a run that was stopped: its folder, or `latest`. Its settings are as it began,
        /// but for those that `--set` says.
        #[arg(long, value_name = "RUN", conflicts_with = "config")]
        resume: Option<PathBuf>,
        /// Go on even where `--set` changes what results depend on.
        #[arg(long, requires = "resume")]
        allow_changes: bool,
        #[command(flatten)]
        dry: DryArgs,
        /// Say at the end where the time went.
        #[arg(long)]
        profile: bool,
    },
    /// Train a model for each fold, and score what each says of the people it never saw.
    Kfold {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// How many folds [default: as the config says, else 5].
        #[arg(long, value_name = "N", conflicts_with = "resume")]
        folds: Option<usize>,
        /// Go on with a cross-validation that was stopped, as it was begun: its folder, or `latest`.
        #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "set"])]
        resume: Option<PathBuf>,
    },
    /// Answer the competition's evaluation images: `ImageID,ans` in the order of `info.csv`.
    Submit {
        #[command(flatten)]
        models: ModelArgs,
        /// The folder of `info.csv` and `images/`.
        #[arg(long, value_name = "DIR")]
        images: PathBuf,
        /// Where to write; `-` is the output. Nothing is written where an image has no prediction.
        #[arg(short, long, value_name = "FILE", default_value = "output.csv")]
        output: PathBuf,
    },
    /// Predict images: a row each with the probabilities of all classes.
    ///
    /// Of a folder every image is predicted, whatever its name ends in, and of the folders in it; what is
    /// no image is counted and named. Images that cannot be predicted are listed, the others have their
    /// rows, and the exit code is 1.
    Predict {
        #[command(flatten)]
        models: ModelArgs,
        /// An image, or a folder of images.
        #[arg(long, value_name = "PATH")]
        images: PathBuf,
        /// Where to write; `-` is the output.
        #[arg(short, long, value_name = "FILE", default_value = "probabilities.csv")]
        output: PathBuf,
    },
    /// Say whether one run is better than another, on the same people drawn again and again.
    Compare(RunsArgs),
    /// Find labels that are likely wrong, by what models say of people they never saw.
    Labels {
        /// A cross-validation, so that everybody is judged; or a run, for those it held out; or
        /// `latest`.
        run: PathBuf,
        /// The folder to write: `labels.csv` to be reviewed, and `sheet.png` to look at.
        #[arg(short, long, value_name = "FOLDER")]
        output: PathBuf,
        /// What labels are ranked by: the probability of the label (self-confidence), or its lead
        /// over the most probable other one (margin).
        #[arg(long, value_name = "SCORE", default_value = "self-confidence", value_parser = score)]
        by: DoubtScore,
        /// Images on the sheet.
        #[arg(long, value_name = "N", default_value_t = 48, value_parser = number)]
        images: usize,
    },
    /// Draw the learning rate over a run, before there is one.
    Schedule {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// The PNG to write; `-` is the output.
        #[arg(short, long, value_name = "FILE", default_value = "schedule.png")]
        output: PathBuf,
    },
    /// Find a learning rate: train a copy while the rate rises, and see where the loss falls.
    LrFind {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// Begin from a run's last checkpoint, with its settings; the run stays as it is.
        #[arg(long, value_name = "RUN", conflicts_with = "config")]
        run: Option<PathBuf>,
        /// The first rate.
        #[arg(long, value_name = "RATE", default_value_t = 1e-7, value_parser = rate)]
        from: f64,
        /// The last rate.
        #[arg(long, value_name = "RATE", default_value_t = 10.0, value_parser = rate)]
        to: f64,
        /// Steps from one to the other.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = number)]
        steps: usize,
        /// The PNG to write, of the curve; `-` is the output.
        #[arg(short, long, value_name = "FILE", default_value = "lr-find.png")]
        output: PathBuf,
    },
    /// Look at data, check it, draw some.
    Data {
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Look at data before training on it: classes, people, ages, sizes, colours, images that are
    /// there twice or cannot be read, and a sheet of photographs for each class.
    Eda {
        /// An experiment's file, or a folder with `train.csv` and `images/` (or the folder above,
        /// where that is `train/`) [default: synthetic people].
        data: Option<PathBuf>,
        /// Override one setting, for example `data.max_pixels=1000000`. May be repeated.
        #[arg(long, value_name = "PATH=VALUE")]
        set: Vec<String>,
        /// Draw sheets for so many classes: those with the most images.
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = number)]
        sheets: usize,
        /// The folder to write: a new one, or an empty one.
        #[arg(short, long, value_name = "FOLDER", default_value = "eda")]
        output: PathBuf,
    },
    /// Print what a config may name, with what it is and its settings.
    List {
        /// sources, splits, samplers, images, mixes, statistics, models, heads, losses, optimizers,
        /// schedules or metrics [default: all].
        registry: Option<String>,
    },
    /// Look at files of published weights.
    Weights {
        #[command(subcommand)]
        command: WeightsCommand,
    },
    /// Measure how fast this machine trains and answers.
    Bench {
        #[command(subcommand)]
        command: BenchCommand,
    },
}

/// Which experiment.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExperimentArgs {
    /// The experiment: a file like those in `configs/`, saying what differs from the default.
    pub(crate) config: Option<PathBuf>,
    /// Override one setting, for example `optim.lr=1e-4`. May be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
}

/// Whether a run is only tried.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(multiple = false, conflicts_with = "resume")]
pub(crate) struct DryArgs {
    /// Take a few steps of everything (the first, the last, one after each change on the way), to see
    /// that it works, and keep nothing.
    #[arg(long)]
    pub(crate) fast: bool,
    /// Learn so many images by heart, to see that it can, and keep nothing.
    #[arg(long, value_name = "N", value_parser = number)]
    pub(crate) overfit: Option<usize>,
}

/// Which runs are compared, by what.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunsArgs {
    /// Two or more runs or cross-validations; each is compared with the first.
    #[arg(value_name = "RUN", conflicts_with_all = ["a", "b"])]
    pub(crate) runs: Vec<PathBuf>,
    /// The runs of one side, such as several seeds: their scores are averaged.
    #[arg(long, value_name = "RUN", num_args = 1.., requires = "b")]
    pub(crate) a: Vec<PathBuf>,
    /// The runs of the other side.
    #[arg(long, value_name = "RUN", num_args = 1.., requires = "a")]
    pub(crate) b: Vec<PathBuf>,
    /// Compare on the people that the finished models are scored on (`scored.csv`), not on those
    /// held out.
    #[arg(long)]
    pub(crate) scored: bool,
    /// What is compared: see `list metrics`.
    #[arg(long, value_name = "METRIC", default_value = "macro_f1", value_parser = metric)]
    pub(crate) by: MetricConfig,
}

/// Which models answer.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ModelArgs {
    /// Runs, cross-validations or bundles, or `latest`; the answers of several are averaged.
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// Images at once.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = number)]
    pub(crate) batch: usize,
    /// Threads that load images.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = number)]
    pub(crate) loaders: usize,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Draw people to a folder in the competition's layout: `train/`, and `eval/` with its answers.
    SyntheticPeople {
        /// The folder to write.
        dir: PathBuf,
        /// People to train on.
        #[arg(long, default_value_t = 1000, value_parser = number)]
        people: usize,
        /// Further people for `eval/`, with right labels.
        #[arg(long, default_value_t = 300)]
        scored: usize,
        /// Height and width of the images.
        #[arg(long, value_name = "HxW", default_value = "128x96", value_parser = size)]
        size: [usize; 2],
        /// The share of people to train on with a wrong label.
        #[arg(long, default_value_t = 0.03)]
        wrong_labels: f64,
        /// Other people for another number.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Read an experiment's data, say what is wrong with it, and count its classes.
    Check {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// Measure the mean and deviation of the colours of the images that are trained on.
    Stats {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// Find the faces and people that the settings' operations ask for, so that the first epoch is as
    /// quick as the others, and say in how many images they were found.
    Prepare {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// Decode the images once, do to them what the settings always do, and keep the pixels in one
    /// file: training uses it by itself.
    Pack {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// Draw images as the network sees them, several draws of each; or what one operation does.
    Show(ShowArgs),
    /// Draw a batch as the network sees it in training, and print what each row is labelled.
    Mixed {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// The PNG to write; `-` is the output.
        #[arg(short, long, value_name = "FILE", default_value = "mixed.png")]
        output: PathBuf,
        /// Which batch: that of this step, from 0.
        #[arg(long, value_name = "N", default_value_t = 0)]
        step: usize,
    },
}

/// What is drawn.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
    /// The PNG to write; `-` is the output.
    #[arg(short, long, value_name = "FILE", default_value = "show.png")]
    pub(crate) output: PathBuf,
    /// Images, from all over those that are trained on; 6, or 1 with `--op`.
    #[arg(long, value_name = "N", value_parser = number)]
    pub(crate) images: Option<usize>,
    /// Draws of each image.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = number)]
    pub(crate) draws: usize,
    /// One operation instead of the settings', such as `rotate` or `{ kind = "rotate", degrees = 30 }`,
    /// on images as they are in their files.
    #[arg(long, value_name = "OP")]
    pub(crate) op: Option<String>,
    /// One of its settings at several values, a row each, such as `degrees=5,15,45`; without, its
    /// first number halved, as it is, and doubled.
    #[arg(long, value_name = "SETTING=V,V", requires = "op")]
    pub(crate) values: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WeightsCommand {
    /// Say what a weight file holds, and which published networks it fits. Runs nothing in it.
    Inspect {
        /// A `.safetensors` or `.pth` file; or what else `model.pretrained` takes: a name that the
        /// folder of MASKFIT_WEIGHTS has, or hf:owner/name.
        file: String,
        /// Show every tensor.
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Time training steps and answers on random pixels: a table by kind of layer, and a line of
    /// JSON.
    Train(NetworkArgs),
    /// Time answers alone.
    Infer(NetworkArgs),
    /// Time every shape of layer in a training step, beside what the machine could do at best.
    Ops(NetworkArgs),
    /// Time reading, decoding and augmenting images on one core, stage by stage.
    Load {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// Images to load.
        #[arg(long, value_name = "N", default_value_t = 500, value_parser = number)]
        images: usize,
    },
    /// Run `bench train` and another program in turn, and print the ratios.
    Compare(CompareArgs),
    /// Do one step of what grows with the data, for `cargo xtask scale` to measure.
    #[command(hide = true)]
    Scale {
        #[command(subcommand)]
        step: ScaleStep,
    },
}

/// A step of what grows with the data. Predictions and hashes are made up.
#[derive(Debug, Subcommand)]
pub(crate) enum ScaleStep {
    /// List the images, and open none.
    List {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// List, and say who is held out and how long an epoch is.
    Split {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// List, split, and make the batches of one epoch.
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
        /// All within a few bits of each other.
        #[arg(long)]
        alike: bool,
    },
}

/// Which network, on what.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NetworkArgs {
    /// For example efficientnet_b0 or tf_efficientnet_lite0.
    #[arg(long, default_value = "efficientnet_b0")]
    pub(crate) model: String,
    /// Images a step.
    #[arg(long, default_value_t = 16, value_parser = number)]
    pub(crate) batch: usize,
    /// Height and width of the images: one number, or HxW.
    #[arg(long, value_name = "HxW", default_value = "224", value_parser = size)]
    pub(crate) size: [usize; 2],
    /// Steps to take the median of.
    #[arg(long, default_value_t = 8, value_parser = number)]
    pub(crate) steps: usize,
    /// Threads; 0 for all.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
}

/// What to run in turn.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// The other program, for example "python3 torch_throughput.py": it gets MODEL BATCH SIZE, and
    /// ends with a line of JSON like that of `bench train`.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) peer: String,
    /// How often each runs.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = number)]
    pub(crate) rounds: usize,
}

/// Reads the name of a metric, which gets its default settings.
fn metric(text: &str) -> Result<MetricConfig, String> {
    let names: Vec<&str> = MetricConfig::KINDS.iter().map(|it| it.0).collect();
    let metric = MetricConfig::zoo().into_iter().find(|it| it.0 == text);
    metric.map(|it| it.1).ok_or_else(|| format!("is one of {}", names.join(", ")))
}

/// Reads the name of a score of labels.
fn score(text: &str) -> Result<DoubtScore, String> {
    match text {
        "self-confidence" => Ok(DoubtScore::SelfConfidence),
        "margin" => Ok(DoubtScore::NormalisedMargin),
        _ => Err("is `self-confidence` or `margin`".to_owned()),
    }
}

/// Reads a learning rate.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|it: &f64| *it > 0.0 && it.is_finite());
    rate.ok_or_else(|| "is a number above 0, such as 1e-7".to_owned())
}

/// Reads a count, as large as makes sense for any of them.
fn number(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=1_000_000) => Ok(n),
        _ => Err("is a whole number from 1".to_owned()),
    }
}

/// Reads `128x96` or `224`.
fn size(text: &str) -> Result<[usize; 2], String> {
    let (h, w) = text.split_once('x').unwrap_or((text, text));
    match (h.parse(), w.parse()) {
        (Ok(h), Ok(w)) if h > 0 && w > 0 => Ok([h, w]),
        _ => Err("a size is height and width in pixels, for example 128x96".to_owned()),
    }
}
