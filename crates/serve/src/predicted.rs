//! What is predicted for the images of a request.

use std::sync::Arc;

use axum::http::StatusCode;
use infer::Prediction;

use crate::batching::Worker;

/// What is predicted for the images of a request.
pub(crate) struct Predicted {
    /// The model as it was when they were accepted.
    pub(crate) by: Arc<Worker>,
    /// The name and the prediction of each image, in order.
    pub(crate) images: Vec<(String, Result<Prediction, Failure>)>,
}

/// Why an image has no prediction.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It cannot be decoded, or not be preprocessed.
    Image(String),
    /// The server failed.
    Server(String),
}

impl Failure {
    pub(crate) fn message(&self) -> &str {
        let (Failure::Image(it) | Failure::Server(it)) = self;
        it
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Failure::Image(_) => StatusCode::BAD_REQUEST,
            Failure::Server(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
