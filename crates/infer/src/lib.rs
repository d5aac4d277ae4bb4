//! PredictedBatch: the bundle that a training run leaves, the predictor that serves it, submissions, and
//! answers beside the truth.
//!
//! Validation is inference: the predictor here is the only evaluation there is.

mod bundle;
mod folder;
mod graded;
mod predictor;
mod submission;
mod table;

pub use bundle::{Bundle, BundleError, Member};
pub use folder::{Folder, PassedOver, list_images};
pub use graded::{Graded, GradedReader, GradedWriter, Index, Indexed, Row, TableError, mean};
pub use predictor::{PredictError, PredictedBatch, Prediction, Predictor, Serving};
pub use submission::{SubmissionError, TestImages, read_info, submission_csv};
pub use table::{probabilities_header, probabilities_row};
