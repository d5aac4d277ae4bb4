//! The metrics of `/metrics`, in the OpenMetrics text format.
//!
//! Labels have few values: routes are those of the router, models those that are served, never what a client sent.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// The content type of the text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The metrics of a server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Histograms<RouteLabels>,
    images: Family<ImageLabels, Counter>,
    queue: Family<ModelLabels, Gauge>,
    batch_size: Histograms<ModelLabels>,
    forward_seconds: Histograms<ModelLabels>,
    reloads: Family<ImageLabels, Counter>,
    connections: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

/// `result` is `ok` or `failed`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ImageLabels {
    model: String,
    result: &'static str,
}

fn result(is_ok: bool) -> &'static str {
    if is_ok { "ok" } else { "failed" }
}

fn of_model(model: &str) -> ModelLabels {
    ModelLabels { model: model.to_owned() }
}

/// 1 ms to 33 s, each twice the one before.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

/// 1 to 256 images.
fn sizes() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 9))
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("maskfit");
        let requests = Family::default();
        let request_seconds = Histograms::new_with_constructor(seconds as fn() -> Histogram);
        let images = Family::default();
        let queue = Family::default();
        let batch_size = Histograms::new_with_constructor(sizes as fn() -> Histogram);
        let forward_seconds = Histograms::new_with_constructor(seconds as fn() -> Histogram);
        let reloads = Family::default();
        let connections = Gauge::default();
        registry.register("requests", "Requests, by route and status", Family::clone(&requests));
        let what = "Time from a request's header to its response";
        registry.register("request_seconds", what, Histograms::clone(&request_seconds));
        registry.register("images", "Images of requests, by result", Family::clone(&images));
        let what = "Images that are accepted and not predicted yet";
        registry.register("queue_length", what, Family::clone(&queue));
        let what = "Images per forward pass";
        registry.register("batch_size", what, Histograms::clone(&batch_size));
        let what = "Time of a forward pass, of all members and views";
        registry.register("forward_seconds", what, Histograms::clone(&forward_seconds));
        let what = "Bundles that were opened because their files changed, by result";
        registry.register("reloads", what, Family::clone(&reloads));
        registry.register("connections", "Open connections", Gauge::clone(&connections));
        Metrics {
            registry,
            requests,
            request_seconds,
            images,
            queue,
            batch_size,
            forward_seconds,
            reloads,
            connections,
        }
    }

    /// Counts a response.
    pub(crate) fn responded(&self, route: &str, status: u16, after: Duration) {
        let route = route.to_owned();
        self.request_seconds
            .get_or_create(&RouteLabels { route: route.clone() })
            .observe(after.as_secs_f64());
        self.requests.get_or_create(&RequestLabels { route, status }).inc();
    }

    /// Counts an image.
    pub(crate) fn image(&self, model: &str, is_ok: bool) {
        let labels = ImageLabels { model: model.to_owned(), result: result(is_ok) };
        self.images.get_or_create(&labels).inc();
    }

    /// Counts a forward pass of `n` images.
    pub(crate) fn batch(&self, model: &str, n: usize, took: Duration) {
        self.batch_size.get_or_create(&of_model(model)).observe(n as f64);
        self.forward_seconds.get_or_create(&of_model(model)).observe(took.as_secs_f64());
    }

    /// Counts a reload.
    pub(crate) fn reload(&self, model: &str, is_ok: bool) {
        let labels = ImageLabels { model: model.to_owned(), result: result(is_ok) };
        self.reloads.get_or_create(&labels).inc();
    }

    /// The number of open connections.
    pub(crate) fn connections(&self) -> &Gauge {
        &self.connections
    }

    /// Returns the text of all metrics.
    ///
    /// - `queues`: the number of images in the queue of each model.
    pub(crate) fn text<'a>(
        &self,
        queues: impl Iterator<Item = (&'a str, usize)>,
    ) -> Result<String, fmt::Error> {
        for (model, n) in queues {
            self.queue.get_or_create(&of_model(model)).set(n as i64);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Metrics;

    #[test]
    fn everything_that_is_counted_is_in_the_text() {
        let metrics = Metrics::new();
        metrics.responded("/predict", 200, Duration::from_millis(3));
        metrics.responded("/predict", 429, Duration::from_millis(1));
        metrics.image("a", true);
        metrics.image("a", false);
        metrics.batch("a", 3, Duration::from_millis(20));
        metrics.reload("a", true);
        metrics.connections().inc();
        let text = metrics.text([("a", 7)].into_iter()).unwrap();
        for line in [
            "maskfit_requests_total{route=\"/predict\",status=\"200\"} 1",
            "maskfit_requests_total{route=\"/predict\",status=\"429\"} 1",
            "maskfit_request_seconds_count{route=\"/predict\"} 2",
            "maskfit_request_seconds_bucket{le=\"0.004\",route=\"/predict\"} 2",
            "maskfit_images_total{model=\"a\",result=\"ok\"} 1",
            "maskfit_images_total{model=\"a\",result=\"failed\"} 1",
            "maskfit_queue_length{model=\"a\"} 7",
            "maskfit_batch_size_sum{model=\"a\"} 3.0",
            "maskfit_forward_seconds_count{model=\"a\"} 1",
            "maskfit_reloads_total{model=\"a\",result=\"ok\"} 1",
            "maskfit_connections 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
    }
}
