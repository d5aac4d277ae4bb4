//! `GET /models` and `GET /metrics`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use base::task::{Factor, Scope};
use serde_json::{Value, json};

use crate::{error::ApiError, metrics, models::Model, state::Shared};

/// `GET /models`.
pub(crate) async fn models(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let factor = |it: &Factor| json!({ "factor": it.name, "levels": it.levels });
    let of_model = |model: &Model| {
        let worker = model.worker();
        let about = &worker.about;
        json!({
            "name": model.name(),
            "version": about.version,
            "classes": about.task.class_names(Scope::Joint),
            "factors": about.task.factors.iter().map(factor).collect::<Vec<_>>(),
            "number": about.number,
            "has_sets": about.has_sets,
            "max_pixels": about.max_pixels,
            "explains": true,
        })
    };
    let models: Vec<Value> = shared.models().iter().map(of_model).collect();
    let limits = json!({
        "max_images": shared.limits.max_images,
        "max_body_bytes": shared.limits.max_body,
    });
    Json(json!({ "models": models, "limits": limits }))
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let queues = shared.models().iter().map(|it| (it.name(), it.queue().len()));
    let text = shared.metrics.text(queues).map_err(|err| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics: {err}"))
    })?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}
