//! The arguments of `maskfit device`.

use std::path::PathBuf;

use clap::{Subcommand, builder::PossibleValuesParser};
use trainer::DeviceSetting;

use super::JsonArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Check a GPU: compare every kernel with f64 on the CPU, and ten steps with the CPU's; with `--all` time layers and
    /// training as well.
    ///
    /// It is what to run first on a new card. Kernels are run on odd shapes in f32, bf16 and f16; a case fails where a
    /// number is further from f64 than rounding explains, or where a second run has other bits. Then tiny networks are
    /// trained for ten steps on the card and on the CPU. If anything fails, the exit code is 1. Needs NVIDIA's driver and a card of compute capability 8.0 or later, and no CUDA.
    Check(CheckArgs),
}

/// What `--only` may name besides families of kernels.
pub(crate) const STEPS: &str = "steps";
pub(crate) const TRAINING: &str = "training";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Run all cases: every shape in every type, and ten steps of more networks. Also time typical layers at batch 128
    /// beside the least time that the card could take, and training steps, beside PyTorch's if `python3` has it.
    #[arg(long)]
    pub(crate) all: bool,
    /// Card: `cuda:0`, `cuda:1`, ...
    #[arg(long, value_name = "DEVICE", default_value = "cuda:0", value_parser = card)]
    pub(crate) device: usize,
    /// Only these families of kernels, separated by commas; `steps`, ten steps against the CPU; `training`, the time of
    /// training steps.
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = PossibleValuesParser::new(gpu_check::families().chain([STEPS, TRAINING])))]
    pub(crate) only: Vec<String>,
    /// Folder to write: `check.json`, all numbers, and `check.txt`, what is printed.
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

/// Parses a card: its number, from 0.
fn card(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(DeviceSetting::Cuda(it)) => Ok(it),
        _ => Err("must be a card such as `cuda:0`".to_owned()),
    }
}
