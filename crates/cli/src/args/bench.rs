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
