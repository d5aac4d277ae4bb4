//! The arguments of `maskfit bench`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{
    ExperimentArgs,
    values::{number, size},
};

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Time training steps and inference on random pixels: print a table by layer kind, and a line of JSON.
    Train(MeasureArgs),
    /// Time inference only: opening a bundle, the first forward pass and the later ones, with their memory.
    Infer(MeasureArgs),
    /// Time every layer shape of a training step, next to its lower bound on this machine (roofline).
    Ops(NetworkArgs),
    /// Time reading, decoding and augmenting images on one core, stage by stage.
    Load {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// Number of images to load.
        #[arg(long, value_name = "N", default_value_t = 500, value_parser = number)]
        images: usize,
        /// File to append the line of JSON to.
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
    },
    /// Compare with an older build, with another program or with saved measurements: print the ratios.
    ///
    /// Both programs run in each round, in random order, so that other load on the machine affects both. A ratio
    /// is this program's figure divided by the other's in the same round.
    Compare(CompareArgs),
    /// Write a bundle of a network with random weights, for `bench infer` to open.
    #[command(hide = true)]
    Fresh { model: String, dir: PathBuf },
    /// Use a core until stdin ends: a neighbour of `--busy`.
    #[command(hide = true)]
    Spin,
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
    /// Model name, for example efficientnet_b0 or tf_efficientnet_lite0. Several are separated by commas.
    #[arg(long, default_value = "efficientnet_b0", value_delimiter = ',')]
    pub(crate) model: Vec<String>,
    /// Batch size, in images. Several are separated by commas.
    #[arg(long, value_name = "N", default_value = "16", value_delimiter = ',', value_parser = number)]
    pub(crate) batch_size: Vec<usize>,
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

/// The network, what else runs, and where the result is kept.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct MeasureArgs {
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// Number of busy neighbours: processes that each use a core during the measurement.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024))]
    pub(crate) busy: u16,
    /// File to append the lines of JSON to.
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
}

/// What to compare.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    pub(crate) measure: MeasureArgs,
    #[command(flatten)]
    pub(crate) other: OtherArgs,
    /// Measure inference only.
    #[arg(long)]
    pub(crate) infer: bool,
    /// Number of times each program runs.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = number)]
    pub(crate) rounds: usize,
}

/// What to compare with.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct OtherArgs {
    /// An older build of this program, or a file of `--save`. A file was measured under other load: small
    /// differences need two programs.
    #[arg(long, value_name = "PROGRAM|FILE")]
    pub(crate) before: Option<PathBuf>,
    /// Other program, for example "python3 torch_throughput.py": it gets the arguments MODEL BATCH SIZE, and
    /// ends with a line of JSON like that of `bench train`.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) peer: Option<String>,
}
