//! A running metric: of each image, only what it adds to the sums is kept.

use crate::{Metric, Prediction};

/// The sums of a metric over the images so far.
pub struct RunningMetric<'a> {
    metric: &'a dyn Metric,
    sums: Vec<f64>,
}

impl<'a> RunningMetric<'a> {
    /// Creates a metric over no images.
    pub fn new(metric: &'a dyn Metric, n_classes: usize) -> RunningMetric<'a> {
        RunningMetric { metric, sums: vec![0.0; metric.n_sums(n_classes)] }
    }

    /// Adds the prediction for one image.
    pub fn add(&mut self, it: &Prediction<'_>) {
        let RunningMetric { metric, sums } = self;
        metric.add(it, &mut |at, x| sums[at] += x);
    }

    /// Returns the score so far.
    pub fn score(&self) -> f64 {
        self.metric.of(&self.sums)
    }
}
