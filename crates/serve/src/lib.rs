//! Serves bundles over HTTP: predictions with dynamic batching, and a page to try them.
//!
//! The probabilities are those of `maskfit predict`, bit for bit, alone or in any batch.
//!
//! | route | what |
//! | --- | --- |
//! | `POST /predict` | predicts one image or many: `multipart/form-data` (each part is an image), the bytes of one image (`image/*` or `application/octet-stream`), or JSON `{"images": ["<base64>", {"name": "a.jpg", "data": "<base64>"}]}` |
//! | `POST /explain` | a PNG that shows which parts of one image a prediction depends on; query: `model`; `factor`, `target`, `method`, `stage`, `member`, as the options of `maskfit explain`; `layer`: `overlay` (the default), `map` or `image` |
//! | `GET /models` | the models that are served, the default first: what the page needs |
//! | `GET /v2/health/live`, `GET /v2/health/ready` | 200 if the process runs; 200 if it takes requests, else 503 |
//! | `GET /v2` | name and version of the server |
//! | `GET /v2/models/NAME`, `GET /v2/models/NAME/ready` | inputs and outputs of a model; whether it is ready |
//! | `POST /v2/models/NAME/infer` | predicts, by the Open Inference Protocol v2 |
//! | `GET /metrics` | for Prometheus |
//! | `GET /`, and what it loads | the page (`page.rs`) |
//!
//! Query of `/predict`: `model=NAME` (default: the first), `sets=0.9` (only for bundles with scores of held-out
//! images). Its response:
//!
//! ```json
//! {"model": "people", "version": "1a2b3c4d5e6f",
//!  "images": [
//!    {"name": "a.jpg", "predicted": "worn male <30", "index": 0,
//!     "probabilities": [{"class": "worn male <30", "probability": 0.93}],
//!     "factors": [{"factor": "mask", "predicted": "worn", "probabilities": [{"class": "worn", "probability": 0.97}]}],
//!     "number": {"factor": "age", "value": 24.8},
//!     "set": ["worn male <30", "worn male 30-59"]},
//!    {"name": "b.jpg", "error": "the image is truncated"}]}
//! ```
//!
//! `probabilities` has every class, in the order of the task; `number` and `set` are left out where there are none.
//! A task of one factor has that factor in `factors` too. An image that cannot be predicted has an `error` in place
//! of a prediction; the status is 200 if at least one image was predicted. Else it is that of the first error, the
//! response has an `error` too, and if there was one image nothing else.
//!
//! The response of `/models`:
//!
//! ```json
//! {"models": [
//!   {"name": "people", "version": "1a2b3c4d5e6f", "classes": ["worn male <30"],
//!    "factors": [{"factor": "mask", "levels": ["worn", "incorrect", "not worn"]}],
//!    "number": "age", "has_sets": true, "max_pixels": 50000000, "explains": true}],
//!  "limits": {"max_images": 64, "max_body_bytes": 33554432}}
//! ```
//!
//! Every error, of any route, is `{"error": "..."}`: 400 (the request is wrong), 401 (no token, or a wrong one;
//! with `WWW-Authenticate: Bearer`), 404, 405, 408 (the body came too slowly), 413 (too large, too many images, or
//! too many pixels of one or of all together), 415 (another content type), 429 (the queue is full; with `Retry-After`), 503
//! (too slow, out of memory for bodies, or stopping). Every response has the header `x-request-id`, but for those to
//! what is not a request of HTTP/1.1: 400, or 414 and 431 for too long a path and too large a header. Requests whose
//! client has gone count as 499 in logs and metrics.
//!
//! A token is sent as `Authorization: Bearer TOKEN`. Only the page and `/v2/health/*` need none.
//!
//! | file | what |
//! | --- | --- |
//! | `options.rs`, `token.rs` | what is served to whom, and the limits |
//! | `server.rs`, `refusals.rs` | connections, graceful stop; JSON for what is not a request |
//! | `signals.rs`, `logs.rs` | the signals that a server heeds, and what it logs |
//! | `routes.rs`, `observe.rs` | the routes, and what all have in common: request ids, logs, metrics, the token |
//! | `query.rs`, `body.rs`, `json.rs`, `images.rs` | from a request to its parameters, and the bytes of its images |
//! | `decoding.rs` | whose image is decoded next |
//! | `batching.rs`, `explainers.rs` | the thread of a model: batches of decoded images, and heat maps |
//! | `models.rs`, `reload.rs` | the models by name, and their replacement when their files are |
//! | `predict.rs`, `predicted.rs`, `response.rs`, `explain.rs`, `v2.rs`, `info.rs` | the routes above |

mod batching;
mod body;
mod decoding;
mod error;
mod explain;
mod explainers;
mod images;
mod info;
mod json;
mod logs;
mod metrics;
mod models;
mod observe;
mod options;
mod page;
mod predict;
mod predicted;
mod query;
mod refusals;
mod reload;
mod response;
mod routes;
mod server;
mod server_error;
mod signals;
mod state;
mod token;
mod v2;

pub use logs::{LogFormat, Logs, log_to_stderr};
pub use options::{Batching, Limits, Options, Source};
pub use server::{Control, Server, serve};
pub use server_error::ServeError;
pub use signals::{Signal, on_signals};
pub use token::Token;
pub use tracing::Level;
