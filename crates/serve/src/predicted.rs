//! What is predicted for the images of a request.

use std::sync::Arc;

use augment::{DecodeError, PipelineError};
use axum::http::StatusCode;
use infer::Prediction;

use crate::{batching::Worker, images::UNNAMED};

/// What is predicted for the images of a request.
pub(crate) struct Predicted {
    /// The model as it was when they were accepted.
    pub(crate) by: Arc<Worker>,
    /// The name and the prediction of each image, in order.
    pub(crate) images: Vec<(String, Result<Prediction, Failure>)>,
}

impl Predicted {
    /// Returns the status and the error of the request, if none of its images has a prediction.
    pub(crate) fn error(&self) -> Option<(StatusCode, String)> {
        let failed = self.images.iter().map(|(name, it)| Some((name, it.as_ref().err()?)));
        let failed: Vec<_> = failed.collect::<Option<_>>()?;
        let (name, first) = failed.first()?;
        let why = match name.as_str() {
            UNNAMED => first.message().to_owned(),
            name => format!("`{name}`: {}", first.message()),
        };
        let error = match failed.len() {
            1 => why,
            n => format!("none of the {n} images can be predicted: {why}"),
        };
        Some((first.status(), error))
    }
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
