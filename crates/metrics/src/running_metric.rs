//! A running score: of each image, only what the score is computed from is kept.

use crate::{Basis, Metric, Prediction, Ranking, Sums, ranking::Kept};

/// The score of a metric over the images so far.
pub struct RunningMetric<'a> {
    state: State<'a>,
    /// Whether a probability was NaN.
    is_nan: bool,
}

/// What the score is computed from.
pub(crate) enum State<'a> {
    Sums(&'a dyn Sums, Vec<f64>),
    Ranking(&'a dyn Ranking, Kept),
}

impl<'a> RunningMetric<'a> {
    /// Creates a total over no images.
    pub fn new(metric: &'a dyn Metric, n_classes: usize) -> RunningMetric<'a> {
        RunningMetric::of(metric.basis(), n_classes)
    }

    pub(crate) fn of(basis: Basis<'a>, n_classes: usize) -> RunningMetric<'a> {
        let state = match basis {
            Basis::Sums(it) => State::Sums(it, vec![0.0; it.n_sums(n_classes)]),
            Basis::Ranking(it) => State::Ranking(it, Kept::new(n_classes)),
        };
        RunningMetric { state, is_nan: false }
    }

    /// Adds the prediction for one image.
    pub fn add(&mut self, it: &Prediction<'_>) {
        self.is_nan |= it.probabilities.iter().fold(false, |any, p| any | p.is_nan());
        match &mut self.state {
            State::Sums(of, sums) => of.add(it, &mut |at, x| sums[at] += x),
            State::Ranking(_, kept) => kept.add(it),
        }
    }

    /// Returns the score so far; NaN if a probability was NaN.
    pub fn score(&self) -> f64 {
        match &self.state {
            _ if self.is_nan => f64::NAN,
            State::Sums(of, sums) => of.of(sums),
            State::Ranking(of, kept) => kept.score(*of),
        }
    }

    pub(crate) fn state(&self) -> &State<'a> {
        &self.state
    }

    pub(crate) fn into_state(self) -> State<'a> {
        self.state
    }
}
