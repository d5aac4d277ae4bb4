//! Structured logs on stderr: a JSON object a line, or text on a terminal.
//!
//! A thread of their own writes them, and a line is dropped where too many wait for it: a full disk, or a reader of
//! the logs that has stopped reading, holds up no request.

use std::io::stderr;

use tracing::Level;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt;

/// The most lines that wait to be written.
const WAITING: usize = 4096;

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

/// The thread that writes the logs; dropping it waits a moment for the lines that are left.
#[must_use]
pub struct Logs {
    _thread: WorkerGuard,
}

/// Writes the logs of this process to stderr as long as the result lives; only the first call has an effect.
///
/// - `most`: the most detailed level that is written.
pub fn log_to_stderr(format: LogFormat, most: Level) -> Logs {
    let lines = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING);
    let (writer, thread) = lines.finish(stderr());
    let logs = fmt()
        .with_writer(writer)
        .with_max_level(most)
        .with_target(false)
        // Its report of a line that cannot be written would panic on the same stderr.
        .log_internal_errors(false);
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
    Logs { _thread: thread }
}
