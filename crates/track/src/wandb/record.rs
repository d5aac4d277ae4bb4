//! The records of the log: `Record`s of `wandb_internal.proto`.

use serde_json::json;

use crate::protobuf::Message;

/// The fields of a `Record`.
pub(super) const HISTORY: u32 = 2;
pub(super) const SUMMARY: u32 = 3;
pub(super) const FILES: u32 = 6;
pub(super) const RUN: u32 = 17;
pub(super) const EXIT: u32 = 18;
pub(super) const HEADER: u32 = 21;

/// The name of the time since the start of the run, in seconds.
pub(super) const RUNTIME: &str = "_runtime";

/// Encodes a `Record` with its number.
pub(super) fn numbered(n: u64, record: &[u8]) -> Vec<u8> {
    [Message::new().whole(1, n).as_bytes(), record].concat()
}

/// Builds a `HistoryItem` or `SummaryItem`. The name is not split: dots in it do not denote nesting.
pub(super) fn item(name: &str, json: &str) -> Message {
    Message::new().text(2, name).text(16, json)
}

/// Formats a number as Python's `json` does, which writes `Infinity` and `NaN`.
pub(super) fn number(x: f64) -> String {
    match x {
        _ if x.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => json!(x).to_string(),
    }
}
