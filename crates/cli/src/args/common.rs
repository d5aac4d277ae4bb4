//! Arguments that several commands have.

use std::path::PathBuf;

use trainer::DeviceSetting;

use super::values::number;
use crate::output::begin_events;

/// The experiment.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExperimentArgs {
    /// Experiment file, with the settings that differ from the defaults; or a recipe of `list recipes`.
    pub(crate) config: Option<PathBuf>,
    /// Override a setting, for example `optim.lr=1e-4`. May be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
}

/// Where networks are trained.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct DeviceArgs {
    /// Device of the networks, as `--set device=DEVICE`: auto (a card if there is one), cpu, or a card such as cuda:0.
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<DeviceSetting>,
}

impl DeviceArgs {
    /// Returns it as an argument of `--set`.
    pub(crate) fn sets(self) -> Vec<String> {
        self.device.iter().map(|it| format!("device={it}")).collect()
    }
}

/// The models to predict with.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ModelArgs {
    /// Runs, cross-validations or bundles, or `latest`; the predictions of several are averaged.
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// Batch size.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = number)]
    pub(crate) batch_size: usize,
    /// Number of threads that load images.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = number)]
    pub(crate) num_workers: usize,
    /// Device of the networks: cpu, auto (a card if there is one), or a card such as cuda:0, whose predictions differ
    /// by rounding.
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSetting::Cpu)]
    pub(crate) device: DeviceSetting,
}

/// Which models are joined.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct JoinArgs {
    /// Multiply the probabilities of models that predict different factors of one task, such as one for the mask
    /// and one for the age. Not needed where one of the models predicts all factors.
    #[arg(long)]
    pub(crate) join_factors: bool,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct JsonArgs {
    /// Print the result as JSON for other programs, an object a line; what people read goes to stderr.
    #[arg(long)]
    json: bool,
}

impl JsonArgs {
    /// Applies it to everything that is printed from now on.
    pub(crate) fn apply(self) {
        if self.json {
            begin_events();
        }
    }

    /// Returns whether events are printed.
    pub(crate) fn is_on(self) -> bool {
        self.json
    }
}
