//! The routes, and what every request passes through.

use std::{any::Any, sync::Arc};

use axum::{
    Router,
    extract::{MatchedPath, Request},
    http::{StatusCode, Uri},
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    body::linger,
    error::ApiError,
    explain::explain,
    info,
    observe::{authorise, demand_host, observe},
    page,
    predict::predict,
    state::Shared,
    v2,
};

/// Returns the routes of a server.
pub(crate) fn routes(shared: Arc<Shared>) -> Router {
    let mut router = Router::new()
        .route("/predict", post(predict))
        .route("/explain", post(explain))
        .route("/models", get(info::models))
        .route("/metrics", get(info::metrics))
        .route("/v2/health/live", get(v2::live))
        .route("/v2/health/ready", get(v2::ready))
        .route("/v2", get(v2::server));
    for model in ["/v2/models/{name}", "/v2/models/{name}/versions/{version}"] {
        router = router
            .route(model, get(v2::model))
            .route(&format!("{model}/ready"), get(v2::model_ready))
            .route(&format!("{model}/infer"), post(v2::infer));
    }
    // The last layer is the first that a request passes.
    router
        .merge(page::routes())
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(Arc::clone(&shared), authorise))
        .layer(from_fn(demand_host))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(linger))
        .layer(from_fn_with_state(Arc::clone(&shared), observe))
        .with_state(shared)
}

async fn no_route(uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("there is no route `{}`", uri.path()))
}

async fn no_method(request: Request) -> ApiError {
    let route = request.extensions().get().map_or("", MatchedPath::as_str);
    let is_post = matches!(route, "/predict" | "/explain") || route.ends_with("/infer");
    let takes = if is_post { "POST" } else { "GET" };
    let (path, method) = (request.uri().path(), request.method());
    let message = format!("`{path}` takes `{takes}`, not `{method}`");
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

fn panicked(_: Box<dyn Any + Send>) -> Response {
    let message = "this is a bug in maskfit, please report it with the request";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
}
