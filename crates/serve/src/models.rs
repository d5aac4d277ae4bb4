//! The models by name; the one behind a name is replaced when its files are.

use std::sync::{Arc, PoisonError, RwLock};

use crate::{
    batching::{Queue, Setup, Worker},
    metrics::Metrics,
    options::{Options, Source},
    server_error::ServeError,
};

/// A name, and the model that it stands for now.
pub(crate) struct Model {
    setup: Setup,
    current: RwLock<Arc<Worker>>,
}

impl Model {
    /// Opens a model; this takes seconds.
    ///
    /// # Errors
    /// A bundle that cannot be opened, or cannot predict.
    pub(crate) fn open(
        source: &Source,
        options: &Options,
        metrics: &Arc<Metrics>,
    ) -> Result<Model, ServeError> {
        let setup = Setup {
            source: source.clone(),
            batching: options.batching,
            max_pixels: options.limits.max_pixels,
            queue: Queue::new(options.batching.queue),
            metrics: Arc::clone(metrics),
        };
        let started = Worker::start(setup.clone());
        let worker = started.map_err(|reason| {
            let name = source.name.clone();
            ServeError::Model { name, reason }
        })?;
        Ok(Model { setup, current: RwLock::new(Arc::new(worker)) })
    }

    pub(crate) fn name(&self) -> &str {
        &self.setup.source.name
    }

    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The queue, which outlives the model behind the name.
    pub(crate) fn queue(&self) -> &Queue {
        &self.setup.queue
    }

    /// Returns the model as it is now; it stays open while the result is held.
    pub(crate) fn worker(&self) -> Arc<Worker> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the model for all later requests.
    pub(crate) fn replace(&self, worker: Worker) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(worker);
    }
}
