//! What `--json` prints: the results of a command as events for other programs, a JSON object a line, on stdout.
//!
//! `docs/src/reference/json.md` describes every event, and `tests/cli/json.rs` compares what is printed with it.

use serde::Serialize;

use crate::output;

/// The version of the events. It rises when a field is removed or means something else, not when one is added.
const VERSION: u32 = 1;

/// An event: the version, its name and its own fields.
#[derive(Serialize)]
struct Event<'a, T> {
    version: u32,
    event: &'a str,
    #[serde(flatten)]
    fields: T,
}

/// Prints an event, with `--json`. A number that is not finite is `null`.
///
/// - `fields`: a struct or a map.
pub(crate) fn emit(event: &str, fields: impl Serialize) {
    if output::has_events() {
        let line = serde_json::to_string(&Event { version: VERSION, event, fields });
        output::event(&line.expect("the fields of an event have names"));
    }
}
