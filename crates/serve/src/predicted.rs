//! What is predicted for the images of a request.

use std::sync::Arc;

use augment::{DecodeError, PipelineError};
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
    /// It has too many pixels.
    TooLarge(String),
    /// The server failed.
    Server(String),
}

impl Failure {
    /// Why an image cannot be decoded or preprocessed.
    pub(crate) fn of(err: &PipelineError) -> Failure {
        match err {
            PipelineError::Decode(DecodeError::TooLarge { width, height, limit }) => {
                Failure::TooLarge(format!(
                    "{width}x{height} pixels exceed the limit of {limit} (`--max-pixels`, or `max_pixels` of the \
                     bundle): send a smaller image"
                ))
            }
            err => Failure::Image(err.to_string()),
        }
    }

    pub(crate) fn message(&self) -> &str {
        let (Failure::Image(it) | Failure::TooLarge(it) | Failure::Server(it)) = self;
        it
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Failure::Image(_) => StatusCode::BAD_REQUEST,
            Failure::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::Server(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
