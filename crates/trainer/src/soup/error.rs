//! Why no soup can be made.

use infer::BundleError;
use models::WeightsError;

use crate::{error::FitError, plan::PlanError, run::RunError};

/// Why no soup can be made.
#[derive(Debug, thiserror::Error)]
pub enum SoupError {
    /// A run has no single model.
    #[error("{run}: {reason}")]
    NoModel {
        /// The run's folder.
        run: String,
        /// Why.
        reason: String,
    },
    /// The models are not alike.
    #[error(
        "the weights of different models have no mean:\n  {}\nname runs with the same network, classes and \
         `augment.eval`; `maskfit ensemble` combines the predictions of any",
        .0.join("\n  ")
    )]
    Differ(Vec<String>),
    /// No image is held out by all models.
    #[error(
        "every image of the data was trained on by one of the models, so no held-out score can choose among \
         them: use `--kind uniform`, or name runs with the same validation set"
    )]
    NoneHeldOut,
    /// The data is not that of the models.
    #[error("the data is not that of the models: {0}")]
    OtherData(String),
    /// Images of the same name are not the same.
    #[error(
        "images of the same name are not the same, so what each model held out is unknown:\n  {}\nname runs of the \
         same data and labels, and restore the data that they trained on",
        .0.join("\n  ")
    )]
    OtherLabels(Vec<String>),
    /// The images cannot be trained on.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A model fails.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// A file of a run cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A bundle cannot be read or written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The weights of a checkpoint are not those of the run's network.
    #[error("{path}: {source}")]
    Weights {
        /// The checkpoint.
        path: String,
        /// The difference.
        source: WeightsError,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}
