//! Inference: the bundle that a training run saves, the predictor that runs it, submissions, and
//! predictions together with true labels.
//!
//! Validation is inference: every evaluation uses the predictor of this crate.

mod bundle;
mod labelled;
mod predictor;
mod submission;
mod table;

pub use bundle::{Bundle, BundleError, Member};
pub use labelled::{
    Index, Indexed, LabelledPredictions, LabelledReader, LabelledWriter, Row, TableError, mean,
};
pub use predictor::{PredictError, Prediction, Predictor, Serving};
pub use submission::{Submission, SubmissionError, Submit, SubmitConfig};
pub use table::PredictionTable;
