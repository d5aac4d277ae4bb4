//! The log's records: `Record`s of `wandb_internal.proto`.

use serde_json::json;

use crate::protobuf::Message;

/// The fields of a `Record`.
pub(super) const HISTORY: u32 = 2;
pub(super) const SUMMARY: u32 = 3;
pub(super) const FILES: u32 = 6;
pub(super) const RUN: u32 = 17;
pub(super) const EXIT: u32 = 18;
pub(super) const HEADER: u32 = 21;

/// What the time since a run's beginning is called.
pub(super) const RUNTIME: &str = "_runtime";

/// A `Record` under its number.
pub(super) fn numbered(n: u64, record: &[u8]) -> Vec<u8> {
    [Message::new().whole(1, n).as_bytes(), record].concat()
}

/// A `HistoryItem` or `SummaryItem`: its name whole, for one with dots is no path.
pub(super) fn item(name: &str, json: &str) -> Message {
    Message::new().text(2, name).text(16, json)
}

/// A number as Python's JSON has it, which knows infinity and what is no number.
pub(super) fn number(x: f64) -> String {
    match x {
        _ if x.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => json!(x).to_string(),
    }
}
