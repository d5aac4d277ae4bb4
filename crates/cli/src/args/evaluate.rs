//! The arguments of `maskfit evaluate`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::ModelArgs;

/// The models to evaluate, and the labelled images.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EvaluateArgs {
    #[command(flatten)]
    pub(crate) models: ModelArgs,
    /// Experiment file, or recipe, whose data has the images [default: the settings of the first run].
    #[arg(long, value_name = "CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Override a setting of the data, for example `data.source.root=DIR`. May be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// Images to predict: the test set, the validation set of `data.split`, or all of the data.
    #[arg(long, value_enum, value_name = "SIDE", default_value = "test")]
    pub(crate) side: Side,
    /// Treat the groups of `--config` as new, even those with the name of a group that a model was trained
    /// on. Images whose file it was trained on are refused all the same.
    #[arg(long, requires = "config")]
    pub(crate) new_groups: bool,
    /// Folder to write: new or empty.
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) output: PathBuf,
}

/// The labelled images to predict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    Test,
    Valid,
    All,
}

impl Side {
    /// Returns the name of the table, which is that of a run.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Side::Valid => "valid",
            Side::Test | Side::All => "test",
        }
    }
}
