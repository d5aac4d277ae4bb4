//! A part of the report, and what all parts use.

use anyhow::bail;
use serde_json::{Value, json};

/// A part of the report: what is printed, and all its numbers.
pub(super) struct Section {
    /// Its name in the JSON.
    pub(super) name: &'static str,
    pub(super) text: String,
    pub(super) json: Value,
    /// What failed, as a number of cases.
    pub(super) n_failed: usize,
}

/// Ends the command where it was interrupted.
pub(super) fn heed(should_stop: &dyn Fn() -> bool) -> anyhow::Result<()> {
    if should_stop() { bail!("stopped") } else { Ok(()) }
}

/// A number, or `null` where it is infinite or no number.
pub(super) fn finite(number: f64) -> Value {
    json!(Some(number).filter(|it| it.is_finite()))
}
