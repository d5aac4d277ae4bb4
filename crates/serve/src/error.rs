//! The error of a request: a status, and `{"error": "..."}`.

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde_json::json;

/// The status of a request whose client has gone before it was complete: nginx's, for logs and metrics.
pub(crate) fn aborted() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

/// The longest message, in bytes: one may quote the request.
const LONGEST: usize = 1000;

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> ApiError {
        let mut message = message.into();
        if message.len() > LONGEST {
            message.truncate(message.floor_char_boundary(LONGEST));
            message.push('…');
        }
        ApiError { status, message }
    }

    /// The request is wrong.
    pub(crate) fn bad(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, message)
    }

    /// There is no model of this name.
    pub(crate) fn no_model(name: &str, known: &[&str]) -> ApiError {
        let known = known.join("`, `");
        let message = format!("there is no model `{name}`: expected one of `{known}`");
        ApiError::new(StatusCode::NOT_FOUND, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.message }));
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        match self.status {
            // Soon: a queue is as long as some seconds at most.
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::ApiError;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(ApiError::bad("short").message, "short");
        // 998 bytes, and characters of three.
        let message = ApiError::bad("a".repeat(998) + &"가".repeat(1000)).message;
        assert_eq!(message, "a".repeat(998) + "…");
    }
}
