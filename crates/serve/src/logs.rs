//! Structured logs on stderr: a JSON object a line, or text on a terminal.
//!
//! A thread of their own writes them, and a line is dropped where too many wait for it: a full disk, or a reader of
//! the logs that has stopped reading, holds up no request.

use std::{io::stderr, net::SocketAddr};

use tracing::Level;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt;

use crate::{
    models::Model,
    options::{Batching, Limits, Options},
};

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

/// Logs what a server serves, where, and its limits; and what is unsafe about its token.
pub(crate) fn log_start(address: SocketAddr, options: &Options, models: &[Model]) {
    if let Some(file) = options.token.as_ref().and_then(|it| it.open_file()) {
        let file = file.display();
        tracing::warn!(%file, "every user of this machine can read the token file: `chmod 600` it");
    }
    for model in models {
        let (worker, source) = (model.worker(), &model.setup().source);
        let dirs: Vec<String> = source.dirs.iter().map(|it| it.display().to_string()).collect();
        let (name, about) = (model.name(), &worker.about);
        let (version, classes) = (&about.version, about.task.n_classes());
        tracing::info!(model = name, version, classes, bundles = dirs.join(", "), "model");
    }
    let Batching { batch_size, max_wait, queue, num_workers } = options.batching;
    let Limits { max_body, max_memory, max_pixels, max_images, timeout, max_connections } =
        options.limits;
    tracing::info!(
        %address,
        models = models.len(),
        token = options.token.is_some(),
        public = options.is_public,
        batch_size,
        max_wait_ms = max_wait.as_secs_f64() * 1e3,
        queue,
        num_workers,
        max_body,
        max_memory,
        max_pixels,
        max_images,
        timeout_seconds = timeout.as_secs_f64(),
        max_connections,
        "started"
    );
}
