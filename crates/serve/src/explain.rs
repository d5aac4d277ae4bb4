//! `POST /explain`: the parts of an image that a prediction depends on, as a PNG.
//!
//! The query has the options of `maskfit explain`: `factor`, `target`, `method`, `stage` and `member`; and `layer`:
//! `overlay` (the image with the map over it), `map` or `image`. The body is that of `/predict`, with one image.
//!
//! The thread of the model explains between two batches. Occlusion would keep it from predicting for about a hundred
//! forward passes, and is refused.

use std::{io::Cursor, sync::Arc};

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use base::Seed;
use explain::{ExplainError, Method};
use image::ImageFormat;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    task::spawn_blocking,
    time::timeout,
};

use crate::{
    batching::Worker,
    body::{self, Held, Unread},
    error::ApiError,
    explainers::{Ask, Layer, Question},
    images::{Upload, images},
    predict::{Counted, check_room, full},
    predicted::Failure,
    query::{Pairs, Parameters},
    state::Shared,
};

/// The parameters of the query.
const PARAMETERS: [&str; 7] = ["model", "factor", "target", "method", "stage", "member", "layer"];

/// `POST /explain`.
pub(crate) async fn explain(
    State(shared): State<Arc<Shared>>,
    query: Pairs,
    Extension(unread): Extension<Unread>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = Parameters::of(query, &PARAMETERS)?;
    let model = shared.model(query.text("model"))?;
    let text = |name| query.text(name).map(str::to_owned);
    let layer = query.text("layer").map_or(Ok(Layer::default()), str::parse);
    let question = Question {
        member: query.number("member", "an index from 0")?.unwrap_or(0),
        // That of the page for the joint classes is empty.
        factor: text("factor").filter(|it| !it.is_empty()),
        target: text("target"),
        method: method(query.text("method"))?,
        stage: text("stage"),
        layer: layer.map_err(|err: String| ApiError::bad(format!("`layer`: {err}")))?,
    };
    check_room(model)?;
    let Held { bytes, memory: _memory } =
        body::read(&unread, &shared.limits, &shared.memory).await?;
    let uploads = images(&headers, bytes, shared.limits.max_images).await?;
    let Ok([upload]) = <[Upload; 1]>::try_from(uploads) else {
        return Err(ApiError::bad("one image is explained at a time: send one"));
    };
    let by = model.worker();
    let place = model.queue().enter(1).ok_or_else(full)?;
    let explained = timeout(shared.limits.timeout, explained(&shared, by, upload, question, place));
    let png = explained.await.map_err(|_| {
        let message = "the image was not explained in time: send the request again later";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })??;
    let mut response = ([(CONTENT_TYPE, "image/png")], png).into_response();
    response.extensions_mut().insert(Counted(1));
    Ok(response)
}

fn method(name: Option<&str>) -> Result<Method, ApiError> {
    let method = name.map_or(Ok(Method::default()), str::parse);
    match method.map_err(|err: String| ApiError::bad(format!("`method`: {err}")))? {
        Method::Occlusion => Err(ApiError::bad(
            "`method`: `occlusion` takes a hundred forward passes: use `maskfit explain`",
        )),
        method => Ok(method),
    }
}

/// Returns the PNG of an explained image.
///
/// - `place`: its place in the queue.
async fn explained(
    shared: &Shared,
    by: Arc<Worker>,
    upload: Upload,
    question: Question,
    place: OwnedSemaphorePermit,
) -> Result<Vec<u8>, ApiError> {
    let bug = |_| {
        let message = "this is a bug in maskfit, please report it with the image";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    };
    let Some(pipeline) = by.about.pipelines.get(question.member).cloned() else {
        let n = by.about.pipelines.len();
        return Err(failed(&ExplainError::NoMember { member: question.member, n }));
    };
    let turn = shared.decoders.line().turn().await;
    let prepared = spawn_blocking(move || {
        // The pipeline of a member is deterministic.
        let rng = &mut Seed(0).stream("explain");
        let prepared = pipeline.apply(&upload.bytes, rng, None);
        drop(turn);
        prepared
    });
    let image = prepared.await.map_err(bug)?.map_err(|err| {
        let failure = Failure::of(&err);
        ApiError::new(failure.status(), failure.message())
    })?;
    let gone = |_| {
        let message = "the explanation has failed: please report it with the image";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    };
    let drawn = match question.layer {
        Layer::Image => image,
        Layer::Overlay | Layer::Map => {
            let (reply, drawn) = oneshot::channel();
            by.explain(Ask { image, question, reply, place });
            drawn.await.map_err(gone)?.map_err(|err| failed(&err))?
        }
    };
    let encode = move || {
        let mut png = Cursor::new(Vec::new());
        drawn.write_to(&mut png, ImageFormat::Png).map(|()| png.into_inner())
    };
    let encoded = spawn_blocking(encode).await.map_err(bug)?;
    encoded.map_err(|err| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, err.to_string()))
}

fn failed(err: &ExplainError) -> ApiError {
    let status = match err {
        ExplainError::NoMember { .. }
        | ExplainError::NoStage { .. }
        | ExplainError::NoTarget(_)
        | ExplainError::Image(_) => StatusCode::BAD_REQUEST,
        ExplainError::NotFinite(_) | ExplainError::Tensor(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    ApiError::new(status, err.to_string())
}
