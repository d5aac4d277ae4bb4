//! The arguments of `maskfit device`.

use std::path::PathBuf;

use clap::{Subcommand, builder::PossibleValuesParser};
use trainer::DeviceSetting;

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Check a GPU: compare every kernel with f64 on the CPU, and with `--all` time typical layers as well.
    ///
    /// It is what to run first on a new card. Kernels are run on odd shapes in f32, bf16 and f16; a case fails where a
    /// number is further from f64 than rounding explains, or where a second run has other bits. If one fails, the exit
    /// code is 1. Needs NVIDIA's driver and a card of compute capability 8.0 or later, and no CUDA.
    Check(CheckArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Run all cases: every shape in every type. Also time typical layers at batch 128 beside the least time that the
    /// card could take, and training steps of PyTorch if `python3` has it.
    #[arg(long)]
    pub(crate) all: bool,
    /// Card: `cuda:0`, `cuda:1`, ...
    #[arg(long, value_name = "DEVICE", default_value = "cuda:0", value_parser = card)]
    pub(crate) device: usize,
    /// Only these families of kernels, separated by commas, and no training steps.
    #[arg(long, value_name = "FAMILY", value_delimiter = ',', value_parser = PossibleValuesParser::new(gpu_check::families()))]
    pub(crate) only: Vec<String>,
    /// Folder to write: `check.json`, all numbers, and `check.txt`, what is printed.
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) output: Option<PathBuf>,
}

/// Parses a card: its number, from 0.
fn card(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(DeviceSetting::Cuda(it)) => Ok(it),
        _ => Err("must be a card such as `cuda:0`".to_owned()),
    }
}
