//! From the predictions of several models to one: how they are combined, calibrated and turned into classes,
//! and how all of that is fitted on held-out predictions without overstating the score.
//!
//! Works on plain numbers: a model's prediction for an image is its probabilities of the joint classes. What is
//! fitted here is stored in a bundle, and applied to each image by itself.

mod calibration;
mod combine;
mod conformal;
mod contribution;
mod decision;
mod fit;
mod held_out;
mod image_sums;
mod minimise;
mod nested;
mod predicted;
mod reliability;
mod whitening;

pub use calibration::{Calibration, CalibrationConfig};
pub use combine::{Combine, CombineConfig, SoftVote, Stack};
pub use conformal::{Conformal, Coverage, Scores};
pub use contribution::{error_correlation, leave_one_out, nested_combination};
pub use decision::{Decision, FactorThresholds, Tune};
pub use fit::{By, Fit, Weights};
pub use held_out::HeldOut;
pub use nested::{N_PARTS, NestedFits, parts};
pub use predicted::Predicted;
pub use reliability::{Bin, ClassReliability, Reliability, ReliabilityReport};
