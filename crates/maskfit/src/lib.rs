//! Maskfit as a library: predict with a bundle, and train with parts of one's own.
//!
//! - [`Classifier`] opens a bundle and predicts images, decoded or encoded. It needs no file but those of the bundle, and is `Send`
//!   and `Sync`.
//! - [`experiment`] loads settings from TOML, [`train`] trains them and calls a [`Callback`] after each step and
//!   evaluation.
//! - [`loss`], [`operation`] and [`backbone`] have what a loss, an image operation and a backbone of one's own are made
//!   of. Added once, under a kind, they are members of the registries: a config sets them by `kind = "..."`, and
//!   checkpoints, bundles, resuming, memory estimates and cards work as for the others.
//!
//! ```no_run
//! use maskfit::{Classifier, decode};
//!
//! let classifier = Classifier::open("runs/a/best".as_ref())?;
//! let image = decode(&std::fs::read("face.jpg")?, 64_000_000)?;
//! let prediction = &classifier.predict(&[image])?[0];
//! let names = classifier.class_names();
//! println!("{}: {:.3}", names[prediction.predicted], prediction.probabilities[prediction.predicted]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The program `maskfit` is another crate; what it does beside this (downloads, reports, exports, the server) is not
//! here. The other crates of the workspace are no stable interface.

mod classifier;
mod training;

pub use augment::{DecodeError, Image, PipelineError, decode};
pub use base::{
    Task,
    config::ConfigError,
    own::Taken,
    task::{Factor, Scope},
};
/// The tensors that losses and backbones compute with.
pub use candle;
pub use infer::{BundleError, PredictError, Prediction};
pub use trainer::{
    Callback, Ended, EpochReport, Experiment, FitError, MainScores, Outcome, StepReport,
};

pub use self::{
    classifier::{Classifier, ClassifierError},
    training::{TrainError, experiment, train},
};

/// What a loss of one's own is made of: a [`LossKind`](loss::LossKind), the settings, binds a
/// [`Loss`](loss::Loss) to each output of the head. [`LossConfig::add`](loss::LossConfig::add) adds it.
pub mod loss {
    pub use base::Clock;
    pub use losses::{
        Binding, Counts, HeadOutput, Loss, LossConfig, LossKind, LossTerms, Targets, Term,
        TermValue,
    };
    pub use ops::{Form, Output};
}

/// What an image operation of one's own is made of: a [`Transform`](operation::Transform) changes a
/// [`Canvas`](operation::Canvas). [`TransformConfig::add`](operation::TransformConfig::add) adds it.
pub mod operation {
    pub use augment::{Canvas, Filter, Image, OpError, Transform, TransformConfig};
    pub use base::Rng;
}

/// What a backbone of one's own is made of: an [`Architecture`](backbone::Architecture) lists its stages, whose layers
/// compute with the functions here. [`BackboneConfig::add`](backbone::BackboneConfig::add) adds it.
///
/// Tensors are `[n, h, w, c]`. Each function records its own gradient, and what an export needs.
pub mod backbone {
    pub use models::{Architecture, BackboneConfig, Builder, Init, Kind, Layer, Naming, Stage};
    pub use ops::{
        Activation, Padding, Pass, RunningStatistics, Value, Window, activate, add, avg_pool,
        batch_norm, concat, conv2d, depthwise, dropout, global_avg_pool, linear, max_pool,
    };
}
