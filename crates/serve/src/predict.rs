//! `POST /predict`, and how every route predicts: accepted into the queue, decoded, predicted in a batch.
//!
//! All images of a request enter the queue or none does, and requests take turns at decoding (`decoding.rs`). An image
//! that cannot be decoded fails alone.

use std::{
    io::Cursor,
    sync::Arc,
    time::{Duration, Instant},
};

use augment::{View, apply_views_checked, read_size};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use base::mix::whole;
use bytes::Bytes;
use data::Batch;
use infer::Prediction;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    task::{JoinSet, spawn_blocking},
    time::timeout,
};

use crate::{
    batching::{Job, Worker},
    body::{self, Held, Unread},
    decoding::Line,
    error::ApiError,
    images::{Upload, images},
    models::Model,
    predicted::{Failure, Predicted},
    query::{Pairs, Parameters},
    response,
    state::Shared,
};

/// The parameters of the query of `/predict`.
const PARAMETERS: [&str; 2] = ["model", "sets"];

/// How many times the pixels of the largest allowed image those of a request may be together.
const MOST_PIXELS: u64 = 16;

/// The number of images of a request; an extension of its response, for the log.
#[derive(Clone, Copy)]
pub(crate) struct Counted(pub(crate) usize);

/// `POST /predict`.
pub(crate) async fn predict(
    State(shared): State<Arc<Shared>>,
    query: Pairs,
    Extension(unread): Extension<Unread>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = Parameters::of(query, &PARAMETERS)?;
    let sets = query.number("sets", "a number between 0 and 1, such as 0.9")?;
    let model = shared.model(query.text("model"))?;
    check_room(model)?;
    let Held { bytes, memory: _memory } =
        body::read(&unread, &shared.limits, &shared.memory).await?;
    let uploads = images(&headers, bytes, shared.limits.max_images).await?;
    let predicted = predict_all(&shared, model, uploads, sets).await?;
    let n_images = predicted.images.len();
    let (status, error) = match predicted.error() {
        Some((status, error)) if n_images == 1 => return Err(ApiError::new(status, error)),
        Some((status, error)) => (status, Some(error)),
        None => (StatusCode::OK, None),
    };
    let body = Json(response::predicted(model.name(), &predicted, error.as_deref()));
    let mut response = (status, body).into_response();
    response.extensions_mut().insert(Counted(n_images));
    Ok(response)
}

/// Fails if the queue is full, before the body is read.
pub(crate) fn check_room(model: &Model) -> Result<(), ApiError> {
    if model.queue().is_full() { Err(full()) } else { Ok(()) }
}

pub(crate) fn full() -> ApiError {
    let message = "the queue is full: send the request again later";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, message)
}

/// Predicts the images of a request.
///
/// - `level`: the probability with which sets hold the true class, if they are asked for.
///
/// # Errors
/// 400 if the model has no sets, 413 if the images have too many pixels together, 429 if the queue has no place for
/// all of them, 503 if they were not predicted in time.
pub(crate) async fn predict_all(
    shared: &Arc<Shared>,
    model: &Model,
    uploads: Vec<Upload>,
    level: Option<f64>,
) -> Result<Predicted, ApiError> {
    let by = model.worker();
    check_level(&by, level)?;
    check_pixels(&uploads, by.about.max_pixels).await?;
    let line = Arc::new(shared.decoders.line());
    let mut places = model.queue().enter(uploads.len()).ok_or_else(full)?;
    // Dropping it ends its tasks: what a request that was not predicted in time does.
    let mut tasks = JoinSet::new();
    let mut images = Vec::with_capacity(uploads.len());
    for (idx, Upload { name, bytes }) in uploads.into_iter().enumerate() {
        let place = places.split(1).ok_or_else(full)?;
        let (line, by, named) = (Arc::clone(&line), Arc::clone(&by), name.clone());
        let one = async move { (idx, predict_one(&line, by, named, bytes, level, place).await) };
        tasks.spawn(one);
        let failed = "this is a bug in maskfit, please report it with the image".to_owned();
        images.push((name, Err(Failure::Server(failed))));
    }
    let all = async {
        while let Some(joined) = tasks.join_next().await {
            // A panic leaves the failure that is there.
            if let Ok((idx, result)) = joined
                && let Some(image) = images.get_mut(idx)
            {
                image.1 = result;
            }
        }
    };
    let limit: Duration = shared.limits.timeout;
    if timeout(limit, all).await.is_err() {
        let message = format!(
            "the images were not predicted within {} s: send fewer at once, or again later",
            limit.as_secs_f64()
        );
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message));
    }
    for (_, result) in &images {
        shared.metrics.image(model.name(), result.is_ok());
    }
    Ok(Predicted { by, images })
}

fn check_level(by: &Worker, level: Option<f64>) -> Result<(), ApiError> {
    match level {
        Some(level) if !(level > 0.0 && level < 1.0) => {
            Err(ApiError::bad(format!("`sets` must be between 0 and 1, not {level}")))
        }
        Some(_) if !by.about.has_sets => Err(ApiError::bad(
            "`sets`: the bundle has no scores of held-out images, from which sets follow: make one with \
             `maskfit ensemble RUNS --sets`",
        )),
        _ => Ok(()),
    }
}

/// Fails if the images of a request that may be decoded have too many pixels together.
///
/// - `max_pixels`: the largest number of pixels of an image.
async fn check_pixels(uploads: &[Upload], max_pixels: u64) -> Result<(), ApiError> {
    if uploads.len() as u64 <= MOST_PIXELS {
        return Ok(());
    }
    let all: Vec<Bytes> = uploads.iter().map(|it| it.bytes.clone()).collect();
    let pixels = |bytes: &Bytes| match read_size(Cursor::new(bytes)) {
        Ok(Ok([height, width])) => (height as u64).saturating_mul(width as u64),
        // It fails alone.
        _ => 0,
    };
    let sum =
        move || all.iter().map(pixels).filter(|&it| it <= max_pixels).fold(0, u64::saturating_add);
    // After a panic, which was printed, each image is decoded alone.
    let (sum, most) =
        (spawn_blocking(sum).await.unwrap_or(0), max_pixels.saturating_mul(MOST_PIXELS));
    if sum <= most {
        return Ok(());
    }
    let message = format!(
        "the images have {sum} pixels together, and may have {most}: {MOST_PIXELS} times as many as one image \
         (`--max-pixels`): send several requests"
    );
    Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message))
}

/// Predicts an image.
///
/// - `line`: that of its request.
/// - `place`: its place in the queue.
async fn predict_one(
    line: &Line,
    by: Arc<Worker>,
    name: String,
    bytes: Bytes,
    level: Option<f64>,
    place: OwnedSemaphorePermit,
) -> Result<Prediction, Failure> {
    let turn = line.turn().await;
    let worker = Arc::clone(&by);
    let loaded = spawn_blocking(move || {
        let loaded = load(&worker.about.views, &bytes);
        // Held until here, even if the request is given up meanwhile.
        drop(turn);
        loaded
    });
    let views = match loaded.await {
        Ok(loaded) => loaded?,
        Err(_) => {
            let message = "this is a bug in maskfit, please report it with the image";
            return Err(Failure::Server(message.to_owned()));
        }
    };
    let (reply, result) = oneshot::channel();
    by.submit(Job { name, views, level, since: Instant::now(), reply, place });
    match result.await {
        Ok(result) => result.map_err(Failure::Server),
        Err(_) => Err(Failure::Server(
            "the model has ended: restart the server, and please report it".to_owned(),
        )),
    }
}

/// Returns the views of an image, a batch of one each. Its size is checked before it is decoded.
fn load(views: &[View], bytes: &[u8]) -> Result<Vec<Batch>, Failure> {
    let images = apply_views_checked(views, bytes).map_err(|err| Failure::of(&err))?;
    let batch = |image: augment::Image| {
        let size = [image.height() as usize, image.width() as usize];
        Batch { images: image.into_raw(), size, samples: whole(1), examples: vec![0] }
    };
    Ok(images.into_iter().map(batch).collect())
}
