//! Learning curves.

use serde::{Deserialize, Serialize};

/// A learning curve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Empty, or `fold 0`.
    pub name: String,
    /// The metric of [`CurvePoint::score`].
    pub metric: String,
    /// The evaluations, in order.
    pub points: Vec<CurvePoint>,
}

/// An evaluation during training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Steps done.
    pub step: usize,
    /// Epochs done.
    pub epoch: f64,
    /// The mean training loss since the last evaluation: with augmentation, dropout, and all terms of the loss.
    pub train_loss: Option<f64>,
    /// The log loss of the joint classes on the validation set.
    pub valid_loss: Option<f64>,
    /// Macro F1 of the joint classes on the validation set.
    pub macro_f1: Option<f64>,
    /// Accuracy of the joint classes on the validation set.
    pub accuracy: Option<f64>,
    /// The metric by which the best model is selected.
    pub score: Option<f64>,
    /// Whether it was the best until then.
    pub is_best: bool,
}
