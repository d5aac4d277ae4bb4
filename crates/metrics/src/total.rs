//! A score as predictions come: nothing of an image is kept but what it adds to sums.

use crate::{Metric, Prediction};

/// The sums of a metric over the images so far.
pub struct Total<'a> {
    metric: &'a dyn Metric,
    sums: Vec<f64>,
}

impl<'a> Total<'a> {
    /// No images yet.
    pub fn new(metric: &'a dyn Metric, n_classes: usize) -> Total<'a> {
        Total { metric, sums: vec![0.0; metric.n_sums(n_classes)] }
    }

    /// One more image.
    pub fn add(&mut self, it: &Prediction<'_>) {
        let Total { metric, sums } = self;
        metric.add(it, &mut |at, x| sums[at] += x);
    }

    /// The score so far.
    pub fn score(&self) -> f64 {
        self.metric.of(&self.sums)
    }
}
