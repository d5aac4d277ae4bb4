//! The arguments of `maskfit kfold`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{DeviceArgs, ExperimentArgs, JsonArgs, values::seconds};

/// A cross-validation in one command, or one of its steps.
#[derive(Debug, clap::Args)]
pub(crate) struct KfoldArgs {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
    /// Number of stratified folds [default: the split of the config, else 5].
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    pub(crate) folds: Option<usize>,
    /// Resume a stopped cross-validation with its original settings: its folder, or `latest`.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "set"])]
    pub(crate) resume: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) claim: ClaimArgs,
    #[command(flatten)]
    json: JsonArgs,
    #[command(subcommand)]
    pub(crate) command: Option<KfoldCommand>,
}

impl KfoldArgs {
    /// Returns how the result of the cross-validation, or of its step, is printed.
    pub(crate) fn json(&self) -> JsonArgs {
        use KfoldCommand::{Join, Plan, Run};
        match &self.command {
            None => self.json,
            Some(Plan { json, .. } | Run { json, .. } | Join { json, .. }) => *json,
        }
    }
}

/// When to take a fold over.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct ClaimArgs {
    /// Take over a fold of another process after so many seconds without its heartbeat. Where the process ran on
    /// this machine, its end is noticed at once.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    pub(crate) claim_timeout: f64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KfoldCommand {
    /// Split the data into folds: create the cross-validation's folder with the partition, and print how even the
    /// folds are. Trains nothing.
    Plan {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// Number of stratified folds [default: the split of the config, else 5].
        #[arg(long, value_name = "N")]
        folds: Option<usize>,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Train folds. Several processes, on this machine or on others, may work on one folder: each trains a fold that
    /// nobody else does, and takes over those whose process has died.
    Run {
        /// Folder of the cross-validation, or `latest`.
        run: PathBuf,
        /// Folds to train, from 0, separated by commas [default: all].
        #[arg(long, value_name = "LIST", value_delimiter = ',')]
        folds: Vec<usize>,
        /// Override a setting for this process: where its data is, as `data.source.root=DIR`, or one that does not
        /// change results, as `threads=4`. May be repeated.
        #[arg(long, value_name = "PATH=VALUE")]
        set: Vec<String>,
        #[command(flatten)]
        device: DeviceArgs,
        #[command(flatten)]
        claim: ClaimArgs,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Join the finished folds: write `oof.csv` and `report.toml`, and print the scores.
    Join {
        /// Folder of the cross-validation, or `latest`.
        run: PathBuf,
        /// Override where the data is for this process, as `data.source.root=DIR`. May be repeated.
        #[arg(long, value_name = "PATH=VALUE")]
        set: Vec<String>,
        #[command(flatten)]
        json: JsonArgs,
    },
}
