//! The arguments of `maskfit export`.

use std::path::{Path, PathBuf};

use super::JoinArgs;

/// The models of an export, and its format.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// Runs, cross-validations or bundles, or `latest`; the predictions of several are averaged.
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) join: JoinArgs,
    /// What to write.
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "onnx")]
    pub(crate) format: Format,
    /// Begin the graph with the preprocessing: it takes decoded images (RGB, uint8, `[batch, height, width, 3]`) of any
    /// size, and resizes, crops and normalises them. Pipelines with other transforms are refused.
    #[arg(long)]
    pub(crate) preprocessing: bool,
    /// Export the prediction of the image alone, without the bundle's test-time augmentation; only `flip` can be in
    /// a graph.
    #[arg(long)]
    pub(crate) no_tta: bool,
    /// File to write, new; `-` for stdout [default: model.onnx or model.safetensors].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// The format of an exported model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// ONNX: the prediction of a bundle as one graph, for runtimes without this program.
    Onnx,
    /// The weights of one network under timm's names, for `timm.create_model`.
    SafetensorsTimm,
}

impl ExportArgs {
    /// The file to write.
    pub(crate) fn path(&self) -> PathBuf {
        let usual = || PathBuf::from(format!("model.{}", self.format.ending()));
        self.output.clone().unwrap_or_else(usual)
    }
}

impl Format {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Onnx => "onnx",
            Format::SafetensorsTimm => "safetensors-timm",
        }
    }

    /// The usual ending of its files.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Format::Onnx => "onnx",
            Format::SafetensorsTimm => "safetensors",
        }
    }

    /// The format that an ending stands for, if it does for any.
    pub(crate) fn of_ending(path: &Path) -> Option<Format> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        [Format::Onnx, Format::SafetensorsTimm].into_iter().find(|it| it.ending() == ending)
    }
}
