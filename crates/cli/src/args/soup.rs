//! The arguments of `maskfit soup`.

use std::path::PathBuf;

use trainer::SoupKind;

use super::values::number;

/// The models of a soup, and how they are combined.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SoupArgs {
    /// Runs, or cross-validations, whose folds are the models.
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// Models that are averaged: all (uniform), or from the best held-out macro F1 down those that do not
    /// lower it (greedy). With `ensemble` their predictions are averaged instead: an ensemble of all.
    #[arg(long, value_name = "KIND", default_value = "uniform", value_parser = kind)]
    pub(crate) kind: SoupKind,
    /// Take the last K checkpoints of each run, not its best model: of those that `checkpoint.every` and evaluations
    /// save. `checkpoint.keep` is how many a run has.
    #[arg(long, value_name = "K", value_parser = number)]
    pub(crate) last: Option<usize>,
    /// Average the running statistics of batch norms too, rather than measure them over the training images.
    #[arg(long)]
    pub(crate) average_norms: bool,
    /// Override a setting of the first run, such as where its data is: `data.source.root=DIR`. May be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// Folder of the bundle to write: new or empty.
    #[arg(short, long, value_name = "BUNDLE")]
    pub(crate) output: PathBuf,
}

/// Parses the kind of a soup.
fn kind(text: &str) -> Result<SoupKind, String> {
    let kinds = [SoupKind::Uniform, SoupKind::Greedy, SoupKind::Ensemble];
    let found = kinds.into_iter().find(|it| it.to_string() == text);
    found.ok_or_else(|| "must be `uniform`, `greedy` or `ensemble`".to_owned())
}
