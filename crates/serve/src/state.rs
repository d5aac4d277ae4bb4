//! What all requests share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    body::Memory,
    decoding::Decoders,
    error::ApiError,
    metrics::Metrics,
    models::Model,
    options::{Limits, Options},
    server_error::ServeError,
    token::Token,
};

/// What all requests share.
pub(crate) struct Shared {
    /// At least one; the first is the default.
    models: Vec<Model>,
    pub(crate) token: Option<Token>,
    pub(crate) limits: Limits,
    pub(crate) memory: Memory,
    pub(crate) decoders: Decoders,
    pub(crate) metrics: Arc<Metrics>,
    is_stopping: AtomicBool,
}

impl Shared {
    /// Opens the models of a server.
    ///
    /// # Errors
    /// The first that cannot be opened.
    pub(crate) fn open(options: &Options) -> Result<Shared, ServeError> {
        let metrics = Arc::new(Metrics::new());
        let open = |source| Model::open(source, options, &metrics);
        Ok(Shared {
            models: options.models.iter().map(open).collect::<Result<_, _>>()?,
            token: options.token.clone(),
            limits: options.limits,
            memory: Memory::new(options.limits.max_memory),
            decoders: Decoders::new(options.batching.num_workers),
            metrics,
            is_stopping: AtomicBool::new(false),
        })
    }

    pub(crate) fn models(&self) -> &[Model] {
        &self.models
    }

    /// Returns the model of a name; without one, the default.
    ///
    /// # Errors
    /// 404.
    pub(crate) fn model(&self, name: Option<&str>) -> Result<&Model, ApiError> {
        let found = self.models.iter().find(|it| name.is_none_or(|name| it.name() == name));
        found.ok_or_else(|| {
            let known: Vec<&str> = self.models.iter().map(Model::name).collect();
            ApiError::no_model(name.unwrap_or_default(), &known)
        })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// From now on each response ends its connection, and the server is not ready.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}
