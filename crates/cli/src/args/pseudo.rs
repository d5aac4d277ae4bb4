//! The arguments of `maskfit pseudo`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::{JoinArgs, ModelArgs};

/// The models, the images, and which of them get a label.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PseudoArgs {
    #[command(flatten)]
    pub(crate) models: ModelArgs,
    #[command(flatten)]
    pub(crate) join: JoinArgs,
    /// Folder of the images to label.
    #[arg(long, value_name = "DIR")]
    pub(crate) images: PathBuf,
    /// Labels to write: the predicted level of each factor (hard), or the probability of each class (soft).
    #[arg(long, value_enum, value_name = "KIND", default_value = "hard")]
    pub(crate) labels: LabelKind,
    /// Take images whose predicted class has at least this probability.
    #[arg(long, value_name = "P", default_value_t = 0.9, value_parser = share, conflicts_with = "top")]
    pub(crate) threshold: f64,
    /// Take this share of the images of each predicted class: those with the highest probability.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) top: Option<f64>,
    /// Experiment file, or recipe, with the data that the models were trained on [default: the settings of each
    /// run].
    #[arg(long, value_name = "CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Override a setting of that data, such as where it is: `data.source.root=DIR`. May be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// CSV file to write; `-` for stdout. A table of this command is replaced, any other file is not.
    #[arg(short, long, value_name = "FILE", default_value = "pseudo.csv")]
    pub(crate) output: PathBuf,
}

/// The kind of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LabelKind {
    Hard,
    Soft,
}

/// Parses a share or a probability.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|it: &f64| *it > 0.0 && *it <= 1.0);
    share.ok_or_else(|| "must be a number above 0 and at most 1, such as 0.9".to_owned())
}
