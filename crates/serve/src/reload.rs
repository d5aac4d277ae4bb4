//! Replaces a model when the description of its bundle changes.
//!
//! A bundle's description is written last, and has the checksums of its weights. The new model is opened, and has
//! predicted an image, before it takes the place of the old one, which predicts what it has accepted and then ends.
//! One that cannot be opened leaves the old one where it is; since its files may still be arriving, it is tried again,
//! less and less often, or when the server is asked to look (SIGHUP).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::spawn_blocking};

use crate::{
    batching::{Worker, version},
    models::Model,
    state::Shared,
};

/// The longest time between two attempts.
const LONGEST: Duration = Duration::from_secs(60);

/// A new version that could not be opened.
struct Failed {
    /// `None` if there is no description.
    version: Option<String>,
    reason: String,
    /// The wait before the next attempt.
    wait: Duration,
    next: Instant,
}

/// Looks at the models every `poll`, and when it is asked to, without end.
pub(crate) async fn reload(shared: Arc<Shared>, poll: Duration, asked: Arc<Notify>) {
    let mut failed: Vec<Option<Failed>> = shared.models().iter().map(|_| None).collect();
    loop {
        let is_asked = tokio::select! {
            () = tokio::time::sleep(poll) => false,
            () = asked.notified() => true,
        };
        if is_asked {
            tracing::info!("looking at the bundles, as asked");
            // Those that could not be opened are tried at once.
            failed.iter_mut().flatten().for_each(|it| it.next = Instant::now());
        }
        for (model, failed) in shared.models().iter().zip(&mut failed) {
            look(&shared, model, failed, poll).await;
        }
    }
}

async fn look(shared: &Shared, model: &Model, failed: &mut Option<Failed>, poll: Duration) {
    let name = model.name();
    let (source, current) = (model.setup().source.clone(), model.worker());
    let seen = spawn_blocking(move || version(&source)).await;
    let seen = seen.unwrap_or_else(|err| Err(err.to_string()));
    let version = seen.as_ref().ok().cloned();
    let opened = match seen {
        Ok(it) if it == current.about.version => {
            *failed = None;
            return;
        }
        Ok(_) => {
            let is_early = |it: &Failed| it.version == version && Instant::now() < it.next;
            if failed.as_ref().is_some_and(is_early) {
                return;
            }
            let setup = model.setup().clone();
            let started = spawn_blocking(move || Worker::start(setup)).await;
            started.unwrap_or_else(|err| Err(err.to_string()))
        }
        Err(reason) => Err(reason),
    };
    match opened {
        Ok(worker) => {
            let (from, to) = (&current.about.version, worker.about.version.clone());
            tracing::info!(model = name, from, to, "the model was replaced");
            model.replace(worker);
            shared.metrics.reload(name, true);
            *failed = None;
        }
        Err(reason) => {
            let same = failed.as_ref().filter(|it| it.version == version);
            let wait = same.map_or(poll, |it| (it.wait * 2).min(LONGEST));
            if failed.as_ref().is_none_or(|it| it.reason != reason) {
                tracing::error!(
                    model = name,
                    "its files have changed, and cannot be opened; the old model stays: {reason}"
                );
                shared.metrics.reload(name, false);
            }
            *failed = Some(Failed { version, reason, wait, next: Instant::now() + wait });
        }
    }
}
