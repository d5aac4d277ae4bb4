//! The Open Inference Protocol v2 (KServe's), in its JSON form.
//!
//! A model has one input, `image`: BYTES of shape `[n]`, encoded images in base64. Its outputs are `probabilities`
//! (FP64 `[n, classes]`), `index` (INT64 `[n]`) and `class` (BYTES `[n]`) of the predicted class, `number` (FP64
//! `[n]`) of models that predict one, and `set` (BOOL `[n, classes]`) where the parameter `sets` of the request gives
//! the probability with which it holds the true class.
//! A tensor has no place for an error: an image that cannot be predicted fails the request.
//!
//! Source: <https://github.com/kserve/open-inference-protocol>, `specification/protocol/inference_rest.md`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use base::task::{Scope, Unit};
use infer::Prediction;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    batching::{About, Worker},
    body::{self, Held, Unread},
    error::ApiError,
    images::{Upload, base64, check_number},
    json::from_json,
    models::Model,
    predict::{Counted, check_room, predict_all},
    state::Shared,
};

/// The name of the input.
const INPUT: &str = "image";

/// The platform of models, which the protocol asks for.
const PLATFORM: &str = "maskfit_bundle";

/// A model in a path.
#[derive(Deserialize)]
pub(crate) struct Named {
    name: String,
    version: Option<String>,
}

/// The body of `/infer`; fields that the protocol may gain are ignored.
#[derive(Deserialize)]
struct Request {
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    inputs: Vec<Input>,
    outputs: Option<Vec<Wanted>>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    sets: Option<f64>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    data: Data,
}

/// Tensor data are flat, or nested by shape.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of images in base64")]
enum Data {
    Flat(Vec<String>),
    Nested(Vec<Vec<String>>),
}

#[derive(Deserialize)]
struct Wanted {
    name: String,
}

/// An output, in metadata without `data`.
#[derive(Serialize)]
struct Tensor {
    name: &'static str,
    datatype: &'static str,
    /// -1 is any number.
    shape: Vec<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

/// `GET /v2/health/live`.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

/// `GET /v2/health/ready`.
pub(crate) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    match shared.is_stopping() {
        false => Json(json!({ "ready": true })).into_response(),
        true => {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping").into_response()
        }
    }
}

/// `GET /v2`.
pub(crate) async fn server() -> Json<Value> {
    let version = env!("CARGO_PKG_VERSION");
    Json(json!({ "name": "maskfit", "version": version, "extensions": [] }))
}

/// `GET /v2/models/NAME`.
pub(crate) async fn model(
    State(shared): State<Arc<Shared>>,
    Path(named): Path<Named>,
) -> Result<Json<Value>, ApiError> {
    let (model, worker) = find(&shared, &named)?;
    let About { version, .. } = &worker.about;
    let input = Tensor { name: INPUT, datatype: "BYTES", shape: vec![-1], data: None };
    Ok(Json(json!({
        "name": model.name(),
        "versions": [version],
        "platform": PLATFORM,
        "inputs": [input],
        "outputs": outputs(&worker.about, None),
    })))
}

/// `GET /v2/models/NAME/ready`.
pub(crate) async fn model_ready(
    State(shared): State<Arc<Shared>>,
    Path(named): Path<Named>,
) -> Result<Json<Value>, ApiError> {
    let (model, _) = find(&shared, &named)?;
    Ok(Json(json!({ "name": model.name(), "ready": true })))
}

/// `POST /v2/models/NAME/infer`.
pub(crate) async fn infer(
    State(shared): State<Arc<Shared>>,
    Path(named): Path<Named>,
    Extension(unread): Extension<Unread>,
) -> Result<Response, ApiError> {
    let (model, _) = find(&shared, &named)?;
    check_room(model)?;
    let Held { bytes, memory: _memory } =
        body::read(&unread, &shared.limits, &shared.memory).await?;
    let Request { id, parameters, inputs, outputs: wanted } = from_json(&bytes)?;
    drop(bytes);
    let uploads = uploads(inputs, shared.limits.max_images)?;
    let n_images = uploads.len();
    let predicted = predict_all(&shared, model, uploads, parameters.sets).await?;
    let about = &predicted.by.about;
    let mut predictions = Vec::new();
    for (name, result) in predicted.images {
        predictions.push(result.map_err(|failure| {
            ApiError::new(failure.status(), format!("at `{name}`: {}", failure.message()))
        })?);
    }
    let outputs = chosen(outputs(about, Some(&predictions)), wanted.as_deref())?;
    let mut body = Map::new();
    body.insert("model_name".to_owned(), model.name().into());
    body.insert("model_version".to_owned(), about.version.as_str().into());
    body.extend(id.map(|id| ("id".to_owned(), id.into())));
    body.insert("outputs".to_owned(), json!(outputs));
    let mut response = Json(body).into_response();
    response.extensions_mut().insert(Counted(n_images));
    Ok(response)
}

/// Returns the model of a path.
fn find<'a>(shared: &'a Shared, named: &Named) -> Result<(&'a Model, Arc<Worker>), ApiError> {
    let model = shared.model(Some(&named.name))?;
    let worker = model.worker();
    let current = &worker.about.version;
    match &named.version {
        Some(version) if version != current => {
            let message = format!("`{}` has the version `{current}`, not `{version}`", named.name);
            Err(ApiError::new(StatusCode::NOT_FOUND, message))
        }
        _ => Ok((model, worker)),
    }
}

/// Returns the images of the inputs of a request.
fn uploads(inputs: Vec<Input>, max_images: usize) -> Result<Vec<Upload>, ApiError> {
    let Ok([Input { name, shape, datatype, data }]) = <[Input; 1]>::try_from(inputs) else {
        return Err(ApiError::bad(format!("at `inputs`: expected one input, `{INPUT}`")));
    };
    if name != INPUT {
        return Err(ApiError::bad(format!(
            "at `inputs[0].name`: there is no input `{name}`: expected `{INPUT}`"
        )));
    }
    if datatype != "BYTES" {
        return Err(ApiError::bad(format!(
            "at `inputs[0].datatype`: expected `BYTES` (encoded images in base64), not `{datatype}`"
        )));
    }
    let texts: Vec<String> = match data {
        Data::Flat(it) => it,
        Data::Nested(it) => it.into_iter().flatten().collect(),
    };
    if texts.is_empty() {
        let message = "at `inputs[0].data`: there is no image: send at least one";
        return Err(ApiError::bad(message));
    }
    let n = shape.iter().try_fold(1_usize, |n, it| n.checked_mul(*it));
    if n != Some(texts.len()) {
        let n = texts.len();
        return Err(ApiError::bad(format!(
            "at `inputs[0].shape`: {shape:?} does not fit `data`, which has {}: expected [{n}]",
            Unit::Image.count(n)
        )));
    }
    check_number(texts.len(), max_images)?;
    let upload = |(idx, text): (usize, &String)| {
        let place = format!("inputs[0].data[{idx}]");
        let bytes = base64(&place, text)?;
        Ok(Upload { name: place, bytes })
    };
    texts.iter().enumerate().map(upload).collect()
}

/// Returns the outputs of a model: with the data of some predictions, or of any.
fn outputs(about: &About, of: Option<&[Prediction]>) -> Vec<Tensor> {
    let n = of.map_or(-1, |all| all.len() as i64);
    let n_classes = about.task.n_classes();
    let per_class = vec![n, n_classes as i64];
    let all = |value: &dyn Fn(&Prediction) -> Value| {
        of.map(|all| all.iter().map(value).collect::<Vec<Value>>().into())
    };
    let flat = |value: &dyn Fn(&Prediction) -> Vec<Value>| {
        of.map(|all| all.iter().flat_map(value).collect::<Vec<Value>>().into())
    };
    let class = |it: &Prediction| about.task.class_name(it.predicted, Scope::Joint).into();
    let set = |it: &Prediction| {
        let set = it.set.as_deref().unwrap_or_default();
        (0..n_classes).map(|class| set.contains(&class).into()).collect()
    };
    let mut outputs = vec![
        Tensor {
            name: "probabilities",
            datatype: "FP64",
            shape: per_class.clone(),
            data: flat(&|it| it.probabilities.iter().map(|&p| p.into()).collect()),
        },
        Tensor {
            name: "index",
            datatype: "INT64",
            shape: vec![n],
            data: all(&|it| it.predicted.into()),
        },
        Tensor { name: "class", datatype: "BYTES", shape: vec![n], data: all(&class) },
    ];
    if about.number.is_some() {
        let data = all(&|it| it.number.into());
        outputs.push(Tensor { name: "number", datatype: "FP64", shape: vec![n], data });
    }
    let has_sets = of.map_or(about.has_sets, |all| all.iter().all(|it| it.set.is_some()));
    if has_sets {
        outputs.push(Tensor { name: "set", datatype: "BOOL", shape: per_class, data: flat(&set) });
    }
    outputs
}

/// Returns the outputs that a request asks for: all, or those that it names, in its order.
fn chosen(outputs: Vec<Tensor>, wanted: Option<&[Wanted]>) -> Result<Vec<Tensor>, ApiError> {
    let Some(wanted) = wanted.filter(|it| !it.is_empty()) else { return Ok(outputs) };
    let mut left: Vec<Option<Tensor>> = outputs.into_iter().map(Some).collect();
    let choose = |(idx, Wanted { name }): (usize, &Wanted)| {
        let is_it = |it: &&mut Option<Tensor>| it.as_ref().is_some_and(|it| it.name == name);
        left.iter_mut().find(is_it).and_then(Option::take).ok_or_else(|| {
            ApiError::bad(format!(
                "at `outputs[{idx}]`: there is no output `{name}`, or it is asked for twice; `set` needs the \
                 parameter `sets`"
            ))
        })
    };
    wanted.iter().enumerate().map(choose).collect()
}

#[cfg(test)]
mod tests {
    use super::{Request, uploads};
    use crate::{error::ApiError, json::from_json};

    fn parsed(inputs: &str) -> Result<usize, ApiError> {
        let text = format!("{{\"inputs\": {inputs}, \"new\": 1}}");
        let request: Request = from_json(text.as_bytes())?;
        Ok(uploads(request.inputs, 3)?.len())
    }

    #[test]
    fn data_may_be_flat_or_nested() {
        let input = |shape: &str, data: &str| {
            format!(
                "[{{\"name\": \"image\", \"shape\": {shape}, \"datatype\": \"BYTES\", \"data\": {data}}}]"
            )
        };
        assert_eq!(parsed(&input("[2]", "[\"aGk=\", \"aGk=\"]")).unwrap(), 2);
        assert_eq!(parsed(&input("[2, 1]", "[[\"aGk=\"], [\"aGk=\"]]")).unwrap(), 2);
        for (shape, data, want) in [
            (
                "[3]",
                "[\"aGk=\"]",
                "at `inputs[0].shape`: [3] does not fit `data`, which has 1 image: expected [1]",
            ),
            ("[0]", "[]", "at least one"),
            ("[18446744073709551615, 2]", "[\"aGk=\"]", "at `inputs[0].shape`"),
            (
                "[-1]",
                "[\"aGk=\"]",
                "at `inputs[0].shape[0]`: expected a whole number from 0, not `-1`",
            ),
            ("[1]", "[\"?\"]", "at `inputs[0].data[0]`: not base64"),
            ("[1]", "[1]", "at `inputs[0].data`: expected a list of images"),
            ("[4]", "[\"\", \"\", \"\", \"\"]", "may have 3 images"),
        ] {
            let err = parsed(&input(shape, data)).unwrap_err().message;
            assert!(err.contains(want), "{shape} {data}: {err}");
        }
        assert!(parsed("[]").unwrap_err().message.contains("expected one input"));
        let other = "[{\"name\": \"x\", \"shape\": [1], \"datatype\": \"FP32\", \"data\": [\"\"]}]";
        assert!(parsed(other).unwrap_err().message.contains("there is no input `x`"));
    }
}
