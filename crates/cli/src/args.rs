//! The command line.

mod bench;
mod common;
mod data;
mod device;
mod ensemble;
mod evaluate;
mod explain;
mod export;
mod kfold;
mod pseudo;
mod serve;
mod soup;
mod values;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use metrics::{LabelScore, MetricConfig};

use self::values::{level, metric, number, rate, score};
pub(crate) use self::{
    bench::{BenchCommand, CompareArgs, MeasureArgs, NetworkArgs, OtherArgs, ScaleStep},
    common::{DeviceArgs, ExperimentArgs, JoinArgs, JsonArgs, ModelArgs},
    data::{DataCommand, ShowArgs},
    device::{CheckArgs, DeviceCommand, STEPS, TRAINING},
    ensemble::EnsembleArgs,
    evaluate::{EvaluateArgs, Side},
    explain::{ExplainArgs, LabelledSide},
    export::{ExportArgs, Format},
    kfold::{KfoldArgs, KfoldCommand},
    pseudo::{LabelKind, PseudoArgs},
    serve::ServeArgs,
    soup::SoupArgs,
};
use crate::{exit, style::Colour};

/// The name of the program.
pub(crate) const NAME: &str = "maskfit";

/// Train, cross-validate and submit image classifiers.
///
/// Settings are merged from three layers, later ones override earlier ones: configs/default.toml (built in,
/// documents every setting), one experiment file or recipe, and any number of `--set path.to.key=value`.
#[derive(Debug, Parser)]
#[command(
    name = NAME,
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_long_help = exit::help()
)]
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
        #[command(flatten)]
        device: DeviceArgs,
        /// Resume a stopped run: its folder, or `latest`. It keeps its settings, except those that `--set`
        /// overrides.
        #[arg(long, value_name = "RUN", conflicts_with = "config")]
        resume: Option<PathBuf>,
        /// Train on all images, for the length that the folds of a finished cross-validation found; without
        /// a config, with the settings of the cross-validation.
        #[arg(long, value_name = "KFOLD", conflicts_with_all = ["resume", "overfit"])]
        all_data: Option<PathBuf>,
        /// Resume even if `--set` changes settings that affect the results.
        #[arg(long, requires = "resume")]
        allow_changes: bool,
        #[command(flatten)]
        dry: DryArgs,
        /// Print a time profile at the end of the run.
        #[arg(long)]
        profile: bool,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Cross-validate: train a model per fold, and score the out-of-fold predictions.
    ///
    /// Does all of `kfold plan`, `kfold run` and `kfold join`. Folds are numbered from 0.
    #[command(args_conflicts_with_subcommands = true)]
    Kfold(KfoldArgs),
    /// Predict test images, and write a submission with the rows and columns of a sample file.
    Submit {
        #[command(flatten)]
        models: ModelArgs,
        #[command(flatten)]
        join: JoinArgs,
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
        /// CSV file to write; `-` for stdout. Nothing is written if an image cannot be predicted. An earlier
        /// submission for the same images is replaced, any other file is not.
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
        #[command(flatten)]
        join: JoinArgs,
        /// Image, or folder of images.
        #[arg(long, value_name = "PATH")]
        images: PathBuf,
        /// Add a column `set`: the classes that hold the true one with this probability, such as 0.9. For bundles
        /// of `ensemble --sets`.
        #[arg(long, value_name = "LEVEL", value_parser = level)]
        sets: Option<f64>,
        /// CSV file to write; `-` for stdout. A table of this command is replaced, any other file is not
        /// [default: probabilities.csv; none with `--json`].
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Serve bundles over HTTP: predictions, metrics, and a page to try them.
    ///
    /// The probabilities are those of `predict`, bit for bit. A bundle is opened anew when its files are replaced,
    /// without a lost request. Ctrl-C or SIGTERM finishes what was accepted; a second Ctrl-C stops at once.
    Serve(ServeArgs),
    /// Combine runs into one bundle, with weights, calibration and thresholds fitted on held-out predictions.
    ///
    /// The held-out predictions are those of images that a run did not train on: `oof.csv` of a
    /// cross-validation, `valid.csv` of a run; all runs must hold out the same images. What is fitted on images
    /// scores too well on them, so every fit is also scored nested: fitted on some groups, scored on others.
    Ensemble(EnsembleArgs),
    /// Predict the labelled images of a test or validation set, and score them.
    ///
    /// The folder that it writes can be compared like a run. Images of groups that a model was trained on are
    /// refused.
    Evaluate(EvaluateArgs),
    /// Export a model for other programs: to ONNX, or its weights under timm's names.
    ///
    /// The ONNX file has one graph from images to probabilities for all models and what was fitted on their
    /// predictions; its metadata has the class names and the preprocessing.
    Export(ExportArgs),
    /// Average the weights of several models into one (a model soup), and save it as a bundle.
    Soup(SoupArgs),
    /// Label images with the predictions of models, to train on them (pseudo-labels).
    ///
    /// Images are labelled by models that were not trained on them: those among the data of a cross-validation only
    /// by the folds that held their group out. The file is a setting of training, `data.pseudo`.
    Pseudo(PseudoArgs),
    /// Compare runs by a metric, with a paired bootstrap over groups.
    Compare(RunsArgs),
    /// Write a page on a run, or on several side by side: scores, errors, calibration, groups, labels and data.
    ///
    /// It is one HTML file, which opens without a network. A run is reported on its test set, or on its validation set
    /// without one; a cross-validation on its out-of-fold predictions, with its scores on the test set beside them.
    /// `train` and `kfold` end with it, unless `run.report=false`.
    Report {
        /// Runs, cross-validations, or folders of `ensemble`, `soup` or `evaluate`; or `latest`. The others are
        /// compared with the first.
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<PathBuf>,
        /// Page to write, required for several runs; `-` for stdout. A page is replaced, any other file is not
        /// [default: `report.html` in the run].
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Explain predictions: draw which parts of an image raise the score of a class, with Grad-CAM, Grad-CAM++ or
    /// occlusion.
    ///
    /// The image is drawn as the network reads it, and beside it the map over it, from black (no effect) to light
    /// yellow (the largest in this image).
    Explain(ExplainArgs),
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
        /// Override a setting of the run's data, for example `data.source.root=DIR` if it has moved. May be repeated.
        #[arg(long, value_name = "PATH=VALUE")]
        set: Vec<String>,
    },
    /// Plot an experiment's learning-rate schedule, without training.
    Schedule {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// PNG to write; `-` for stdout. One that maskfit has drawn is replaced, any other file is not.
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
        /// PNG of the curve to write; `-` for stdout. One that maskfit has drawn is replaced, any other file is not.
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
        /// Experiment file, or folder of labelled images in a layout that `init` recognises [default: synthetic
        /// people].
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
    /// Show the resolved settings of a config or a run, what differs between two, or the schema of configs.
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
        #[command(flatten)]
        json: JsonArgs,
        #[command(subcommand)]
        command: Option<RunsCommand>,
    },
    /// List the components that a config may name, with descriptions and default settings; or the recipes.
    List {
        /// Registry to list: sources, splits, samplers, transforms, mixes, statistics, views, models, heads, losses,
        /// class-weights, optimizers, stage-rates, schedules, averages, clips, metrics, submissions, trackers,
        /// combinations or calibrations; or recipes, the experiments that are built in [default: all registries].
        registry: Option<String>,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Inspect files of pretrained weights.
    Weights {
        #[command(subcommand)]
        command: WeightsCommand,
    },
    /// Check GPUs.
    Device {
        #[command(subcommand)]
        command: DeviceCommand,
    },
    /// Measure training, inference and data loading speed.
    Bench {
        #[command(subcommand)]
        command: BenchCommand,
    },
    /// Print a script that completes commands and arguments in a shell.
    Completions {
        /// The shell, such as bash, zsh or fish.
        #[arg(value_enum, value_name = "SHELL")]
        shell: Shell,
    },
    /// Write the man pages of all commands to a folder, or print one page.
    Man {
        /// Command whose page is printed, such as `kfold plan` [default: the page of maskfit itself].
        #[arg(value_name = "COMMAND", conflicts_with = "output")]
        command: Vec<String>,
        /// Folder to write a page for each command to. Pages of maskfit are replaced, other files are not.
        #[arg(short, long, value_name = "FOLDER")]
        output: Option<PathBuf>,
    },
}

impl Command {
    /// Returns how the result is printed.
    pub(crate) fn json(&self) -> JsonArgs {
        match self {
            Command::Train { json, .. }
            | Command::Predict { json, .. }
            | Command::Data { command: DataCommand::Check { json, .. } }
            | Command::Runs { json, .. }
            | Command::List { json, .. } => *json,
            Command::Kfold(args) => args.json(),
            Command::Compare(args) => args.json,
            Command::Device { command: DeviceCommand::Check(args) } => args.json,
            _ => JsonArgs::default(),
        }
    }
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
    /// Print the JSON Schema of a config, by which editors complete and check settings.
    Schema,
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
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WeightsCommand {
    /// Show the contents of a weight file, and which published networks it fits. Executes none of it.
    Inspect {
        /// A `.safetensors` or `.pth` file, or another value that `model.pretrained` accepts: a name in the
        /// folder of MASKFIT_WEIGHTS, or hf:owner/name.
        #[arg(value_hint = ValueHint::AnyPath)]
        file: String,
        /// Show every tensor.
        #[arg(long)]
        all: bool,
    },
}
