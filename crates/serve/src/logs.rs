//! Structured logs on stderr: a JSON object a line, or text on a terminal.

use tracing::Level;
use tracing_subscriber::fmt;

/// The form of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object a line, with `timestamp`, `level`, `message` and the fields of the event.
    Json,
    /// Text, for people.
    Text {
        /// Whether it is coloured.
        is_coloured: bool,
    },
}

/// Writes the logs of this process to stderr from now on; only the first call has an effect.
///
/// - `most`: the most detailed level that is written.
pub fn log_to_stderr(format: LogFormat, most: Level) {
    let logs = fmt().with_writer(std::io::stderr).with_max_level(most).with_target(false);
    let set = match format {
        LogFormat::Json => logs
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
        LogFormat::Text { is_coloured } => logs.with_ansi(is_coloured).try_init(),
    };
    drop(set);
}
