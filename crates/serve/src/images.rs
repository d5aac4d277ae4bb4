//! The images of a request to `/predict`: the parts of a form, the body itself, or base64 in JSON.

use axum::http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use base::task::Unit;
use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig},
    },
};
use bytes::Bytes;
use http_body_util::{BodyDataStream, Full};
use multer::Multipart;
use serde::Deserialize;

use crate::{error::ApiError, json::from_json};

/// The standard alphabet; padding may be missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What `/predict` accepts.
const ACCEPTED: &str =
    "expected `multipart/form-data`, `image/*`, `application/octet-stream` or `application/json`";

/// The name of an image that the request does not name: its body.
pub(crate) const UNNAMED: &str = "image";

/// An encoded image.
pub(crate) struct Upload {
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
}

/// The JSON body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Images {
    images: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected an image in base64, or {\"name\": ..., \"data\": base64}")]
enum Item {
    Data(String),
    Named { name: String, data: String },
}

/// Returns the images of a request, at least one.
///
/// # Errors
/// 400, 413 if there are too many, 415.
pub(crate) async fn images(
    headers: &HeaderMap,
    body: Bytes,
    max_images: usize,
) -> Result<Vec<Upload>, ApiError> {
    let unsupported = |what: String| {
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{what}: {ACCEPTED}"))
    };
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Err(unsupported("the request has no `Content-Type`".to_owned()));
    };
    let value = String::from_utf8_lossy(value.as_bytes());
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let all = match kind.as_str() {
        "multipart/form-data" => of_form(&value, body, max_images).await?,
        "application/json" => of_json(&body, max_images)?,
        "application/octet-stream" => vec![Upload { name: UNNAMED.to_owned(), bytes: body }],
        it if it.starts_with("image/") => vec![Upload { name: UNNAMED.to_owned(), bytes: body }],
        it => return Err(unsupported(format!("`Content-Type: {it}` is not supported"))),
    };
    match all.is_empty() {
        true => Err(ApiError::bad("the request has no image")),
        false => Ok(all),
    }
}

/// Fails if a request has more images than allowed.
pub(crate) fn check_number(n: usize, max_images: usize) -> Result<(), ApiError> {
    if n <= max_images {
        return Ok(());
    }
    let message = format!(
        "a request may have {} (`--max-images`): send several requests",
        Unit::Image.count(max_images)
    );
    Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message))
}

async fn of_form(kind: &str, body: Bytes, max_images: usize) -> Result<Vec<Upload>, ApiError> {
    let damaged = |err: multer::Error| ApiError::bad(format!("the form cannot be read: {err}"));
    let boundary = multer::parse_boundary(kind).map_err(damaged)?;
    let mut form = Multipart::new(BodyDataStream::new(Full::new(body)), boundary);
    let mut all = Vec::new();
    while let Some(mut field) = form.next_field().await.map_err(damaged)? {
        check_number(all.len() + 1, max_images)?;
        let name = field.file_name().or(field.name()).unwrap_or(UNNAMED).to_owned();
        // The whole form is there, so that a part is one piece: it is not copied.
        let mut bytes = field.chunk().await.map_err(damaged)?.unwrap_or_default();
        while let Some(more) = field.chunk().await.map_err(damaged)? {
            bytes = [bytes, more].concat().into();
        }
        all.push(Upload { name, bytes });
    }
    Ok(all)
}

fn of_json(body: &[u8], max_images: usize) -> Result<Vec<Upload>, ApiError> {
    let Images { images } = from_json(body)?;
    check_number(images.len(), max_images)?;
    let upload = |(idx, item): (usize, Item)| {
        let place = format!("images[{idx}]");
        let (name, data) = match item {
            Item::Data(data) => (place.clone(), data),
            Item::Named { name, data } => (name, data),
        };
        Ok(Upload { name, bytes: base64(&place, &data)? })
    };
    images.into_iter().enumerate().map(upload).collect()
}

/// Decodes an image in base64.
///
/// - `place`: where it is in the request.
pub(crate) fn base64(place: &str, text: &str) -> Result<Bytes, ApiError> {
    let decoded = BASE64.decode(text);
    decoded
        .map(Bytes::from)
        .map_err(|err| ApiError::bad(format!("at `{place}`: not base64: {err}")))
}

#[cfg(test)]
mod tests {
    use super::{base64, of_json};

    #[test]
    fn images_in_json_have_a_name_or_their_place() {
        let body = br#"{"images": ["aGk=", "aGk", {"name": "a.jpg", "data": "aGk="}]}"#;
        let all = of_json(body, 3).unwrap();
        let named: Vec<_> = all.iter().map(|it| (it.name.as_str(), &it.bytes[..])).collect();
        assert_eq!(named, [("images[0]", &b"hi"[..]), ("images[1]", b"hi"), ("a.jpg", b"hi")]);
        assert_eq!(of_json(body, 2).err().unwrap().status, 413);
    }

    #[test]
    fn what_is_wrong_with_json_is_said_with_its_place() {
        let message = |body: &str| of_json(body.as_bytes(), 9).err().unwrap().message;
        assert!(
            message("{\"images\": [\"aGk=\", 1]}").contains("at `images[1]`: expected an image")
        );
        assert!(message("{\"images\": [\"a\"]}").contains("at `images[0]`: not base64"));
        let unknown = "at `image`: there is no such field: did you mean `images`?";
        assert_eq!(message("{\"image\": []}"), unknown);
        assert!(base64("x", "a b=").is_err());
    }
}
